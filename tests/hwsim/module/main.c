// SPDX-License-Identifier: GPL-2.0-only
/*
 * Simulated network cards with PTP hardware clocks: what there is, and how it is told what to do.
 *
 * Parameters say what the cards are, one value a port. Files below /sys/kernel/debug/hwsim say what
 * they do, and may be written at any time. README.md lists both.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/timekeeping.h>

#include "hwsim.h"

#define FOR_EACH_PORT(initial) { [0 ... HWSIM_PORTS - 1] = initial }

struct hwsim_port hwsim_ports[HWSIM_PORTS];
int hwsim_port_count = 2;
static struct hwsim_phc phcs[HWSIM_PORTS];
static struct dentry *directory;

module_param_named(ports, hwsim_port_count, int, 0444);
MODULE_PARM_DESC(ports, "number of ports, even; 0 is cabled to 1, 2 to 3, ...");

static int phc[HWSIM_PORTS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
module_param_array(phc, int, NULL, 0444);
MODULE_PARM_DESC(phc, "clock of each port; ports of one number share it; -1: no hardware stamps");

static long error_ppb[HWSIM_PORTS];
module_param_array(error_ppb, long, NULL, 0444);
MODULE_PARM_DESC(error_ppb, "rate error of each clock");

static ushort vendor[HWSIM_PORTS] = FOR_EACH_PORT(0x8086);
module_param_array(vendor, ushort, NULL, 0444);
static ushort device[HWSIM_PORTS] = FOR_EACH_PORT(0x1533);
module_param_array(device, ushort, NULL, 0444);
static ushort subsystem_vendor[HWSIM_PORTS] = FOR_EACH_PORT(0x8086);
module_param_array(subsystem_vendor, ushort, NULL, 0444);
static ushort subsystem_device[HWSIM_PORTS] = FOR_EACH_PORT(0x0001);
module_param_array(subsystem_device, ushort, NULL, 0444);

static int devfn[HWSIM_PORTS] = FOR_EACH_PORT(-1);
module_param_array(devfn, int, NULL, 0444);
MODULE_PARM_DESC(devfn, "slot * 8 + function of each port on PCI bus 0001:00; -1: slot = port + 1");

static int vf_of[HWSIM_PORTS] = FOR_EACH_PORT(-1);
module_param_array(vf_of, int, NULL, 0444);
MODULE_PARM_DESC(vf_of, "port whose virtual function this one is; -1: a physical function");

static char *driver[HWSIM_PORTS] = FOR_EACH_PORT("hwsim");
module_param_array(driver, charp, NULL, 0444);
static char *firmware[HWSIM_PORTS] = FOR_EACH_PORT("1.0");
module_param_array(firmware, charp, NULL, 0444);

static int error_get(void *data, u64 *value)
{
	*value = ((struct hwsim_phc *)data)->error_ppb;
	return 0;
}

static int error_set(void *data, u64 value)
{
	hwsim_phc_set_error(data, (s64)value);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE_SIGNED(error_fops, error_get, error_set, "%lld\n");

/* Which of /dev/ptp* it is; it may be another after the card was plugged in again. */
static int name_show(struct seq_file *file, void *unused)
{
	struct hwsim_phc *phc = file->private;

	if (!phc->clock)
		return -ENODEV;
	seq_printf(file, "ptp%d\n", ptp_clock_index(phc->clock));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(name);

static int cable_get(void *data, u64 *value)
{
	*value = ((struct hwsim_port *)data)->cable;
	return 0;
}

static int cable_set(void *data, u64 value)
{
	hwsim_port_set_cable(data, value);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(cable_fops, cable_get, cable_set, "%llu\n");

/* What every clock shows at one and the same instant: the truth, with no reading error at all. */
static int clocks_show(struct seq_file *file, void *unused)
{
	struct system_time_snapshot now;
	int i;

	ktime_get_snapshot(&now);
	seq_printf(file, "raw %lld\nrealtime %lld\n", ktime_to_ns(now.raw), ktime_to_ns(now.real));
	for (i = 0; i < HWSIM_PORTS; i++)
		if (phcs[i].clock)
			seq_printf(file, "ptp%d %lld\n", ptp_clock_index(phcs[i].clock),
				   hwsim_phc_at(&phcs[i], ktime_to_ns(now.raw)));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(clocks);

static void make_files(void)
{
	struct dentry *own;
	char name[16];
	int i;

	directory = debugfs_create_dir("hwsim", NULL);
	debugfs_create_file("clocks", 0444, directory, NULL, &clocks_fops);
	for (i = 0; i < hwsim_port_count; i++) {
		struct hwsim_port *port = &hwsim_ports[i];

		snprintf(name, sizeof(name), "port%d", i);
		own = debugfs_create_dir(name, directory);
		debugfs_create_u64("delay_ns", 0644, own, &port->delay_ns);
		debugfs_create_u64("delay_variation_ns", 0644, own, &port->delay_variation_ns);
		debugfs_create_u32("tx_stamp_lost_every", 0644, own, &port->tx_stamp_lost_every);
		debugfs_create_u64("tx_stamp_late_ns", 0644, own, &port->tx_stamp_late_ns);
		debugfs_create_u32("rx_stamp_lost_every", 0644, own, &port->rx_stamp_lost_every);
		debugfs_create_u32("packet_lost_every", 0644, own, &port->packet_lost_every);
		debugfs_create_file_unsafe("cable", 0644, own, port, &cable_fops);

		snprintf(name, sizeof(name), "phc%d", i);
		own = debugfs_create_dir(name, directory);
		debugfs_create_file_unsafe("error_ppb", 0644, own, &phcs[i], &error_fops);
		debugfs_create_file("name", 0444, own, &phcs[i], &name_fops);
	}
}

static int check_parameters(void)
{
	int i;

	if (hwsim_port_count < 2 || hwsim_port_count > HWSIM_PORTS || hwsim_port_count % 2)
		return -EINVAL;
	for (i = 0; i < hwsim_port_count; i++)
		if (phc[i] < -1 || phc[i] >= HWSIM_PORTS || devfn[i] < -1 || devfn[i] > 255 ||
		    vf_of[i] < -1 || vf_of[i] >= hwsim_port_count || vf_of[i] == i)
			return -EINVAL;
	return 0;
}

static int __init start(void)
{
	int i, error = check_parameters();

	if (error) {
		pr_err("hwsim: a parameter is out of range\n");
		return error;
	}
	for (i = 0; i < HWSIM_PORTS; i++)
		hwsim_phc_init(&phcs[i], i, error_ppb[i]);
	for (i = 0; i < hwsim_port_count; i++) {
		struct hwsim_port *port = &hwsim_ports[i];

		hwsim_port_init(port, i);
		port->phc = phc[i] < 0 ? NULL : &phcs[phc[i]];
		port->vendor = vendor[i];
		port->device = device[i];
		port->subsystem_vendor = subsystem_vendor[i];
		port->subsystem_device = subsystem_device[i];
		port->devfn = devfn[i] < 0 ? PCI_DEVFN(i + 1, 0) : devfn[i];
		port->vf_of = vf_of[i];
		port->driver = driver[i];
		port->firmware = firmware[i];
	}
	error = hwsim_pci_start();
	if (!error)
		make_files();
	return error;
}

static void __exit stop(void)
{
	debugfs_remove(directory);
	hwsim_pci_stop();
}

module_init(start);
module_exit(stop);
MODULE_DESCRIPTION("Simulated network cards with PTP hardware clocks");
MODULE_LICENSE("GPL");
