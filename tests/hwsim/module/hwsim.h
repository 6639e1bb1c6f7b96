/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Simulated network cards with PTP hardware clocks.
 *
 * main.c	parameters, and the order in which all comes and goes
 * phc.c	the clocks
 * port.c	the network devices, cabled in pairs: 0-1, 2-3, ...
 * pci.c	a PCI bus of our own, whose functions the ports are
 */
#ifndef HWSIM_H
#define HWSIM_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/net_tstamp.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>

#define HWSIM_PORTS	16

/*
 * A PTP hardware clock: reads the guest's raw clock, which nothing steers, through a rate of its own.
 * Rates are kept as what they differ from 1, in units of 2^-48.
 */
struct hwsim_phc {
	int number;
	int users;			/* ports that are bound; below RTNL */
	struct ptp_clock *clock;
	struct ptp_clock_info info;

	spinlock_t lock;		/* of all below */
	u64 raw_ns;			/* when the rate or the time was last set */
	s64 ns;				/* what the clock showed then, */
	u64 fraction;			/* and what is left of a nanosecond */
	s64 error_ppb;			/* of the oscillator */
	s64 scaled_ppm;			/* what the servo asked for */
};

/* Packets, each with the raw time at which something is to happen to it. */
struct hwsim_queue {
	struct sk_buff_head packets;	/* its lock is that of all here */
	struct hrtimer timer;
	bool open;
	bool serving;			/* packets that were due are on their way out */
	u64 early_ns;			/* by how much a packet may be let out too early */
	void (*due)(struct hwsim_queue *queue, struct sk_buff *skb);
	u64 last_ns;
};

struct hwsim_fate {
	u64 due_ns;
	u64 stamp_ns;			/* 0: none */
};

/* One end of a cable. It outlives its network device, which can be unplugged. */
struct hwsim_port {
	int number;
	struct net_device __rcu *dev;
	struct hwsim_phc *phc;		/* NULL: cannot stamp in hardware */
	struct pci_dev *pdev;		/* NULL: not bound */
	struct hwsim_queue arrivals;	/* on their way to this port */
	struct hwsim_queue stamps;	/* transmit stamps on their way to who waits for them */
	atomic_t stamps_asked;
	atomic_t stamps_lost;
	atomic_t stamps_received;

	/* What it is made to do: files in debugfs. Delays are those of what it sends. */
	u64 delay_ns;
	u64 delay_variation_ns;
	u32 tx_stamp_lost_every;
	u64 tx_stamp_late_ns;
	u32 rx_stamp_lost_every;
	u32 packet_lost_every;
	atomic_t packets_sent;
	bool cable;

	/* What it is: parameters of the module. */
	u16 vendor, device, subsystem_vendor, subsystem_device;
	unsigned int devfn;
	int vf_of;			/* port number of the physical function; -1: it is one */
	const char *driver;
	const char *firmware;
};

extern struct hwsim_port hwsim_ports[HWSIM_PORTS];
extern int hwsim_port_count;

void hwsim_phc_init(struct hwsim_phc *phc, int number, s64 error_ppb);
int hwsim_phc_get(struct hwsim_phc *phc, struct device *parent);
void hwsim_phc_put(struct hwsim_phc *phc);
s64 hwsim_phc_at(struct hwsim_phc *phc, u64 raw_ns);
void hwsim_phc_set_error(struct hwsim_phc *phc, s64 error_ppb);

void hwsim_port_init(struct hwsim_port *port, int number);
int hwsim_port_plug(struct hwsim_port *port, struct pci_dev *pdev);
void hwsim_port_unplug(struct hwsim_port *port);
void hwsim_port_set_cable(struct hwsim_port *port, bool plugged);

int hwsim_pci_start(void);
void hwsim_pci_stop(void);

#endif
