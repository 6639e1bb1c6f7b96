// SPDX-License-Identifier: GPL-2.0-only
/*
 * Network devices that are cabled in pairs and stamp packets in "hardware".
 *
 * A transmit stamp is what the sender's clock shows at the instant of transmission; a receive stamp
 * is what the receiver's clock shows the path delay later. Both are computed, so that a guest that
 * is late in delivering a packet changes neither.
 *
 * Kernel: Documentation/networking/timestamping.rst
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/timekeeping.h>

#include "hwsim.h"

#define QUEUE_MAX	4096

/*
 * A packet that arrives so soon is handed on at once. In an emulated guest a timer is late by far
 * more, and by as much would stamps of the receiver's software be wrong.
 */
#define AT_ONCE_NS	10000

struct priv {
	struct hwsim_port *port;
	struct kernel_hwtstamp_config config;
};

static struct hwsim_fate *fate(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct hwsim_fate) > sizeof(skb->cb));
	return (struct hwsim_fate *)skb->cb;
}

static struct hwsim_port *other_end(const struct hwsim_port *port)
{
	return &hwsim_ports[port->number ^ 1];
}

static bool nth(atomic_t *count, u32 every)
{
	u32 now = atomic_inc_return(count);

	return every && now % every == 0;
}

/* --- packets that wait for their time ----------------------------------------------------- */

static void arm(struct hwsim_queue *queue, const struct sk_buff *first)
{
	u64 due_ns = ((const struct hwsim_fate *)first->cb)->due_ns;
	u64 now_ns = ktime_get_raw_ns();

	hrtimer_start(&queue->timer, ns_to_ktime(due_ns > now_ns ? due_ns - now_ns : 0),
		      HRTIMER_MODE_REL_SOFT);
}

static enum hrtimer_restart serve(struct hrtimer *timer)
{
	struct hwsim_queue *queue = container_of(timer, struct hwsim_queue, timer);
	struct sk_buff_head due;
	struct sk_buff *skb;

	__skb_queue_head_init(&due);
	spin_lock_bh(&queue->packets.lock);
	while ((skb = skb_peek(&queue->packets)) && fate(skb)->due_ns <= ktime_get_raw_ns()) {
		__skb_unlink(skb, &queue->packets);
		__skb_queue_tail(&due, skb);
	}
	if (skb)
		arm(queue, skb);
	queue->serving = true;
	spin_unlock_bh(&queue->packets.lock);

	while ((skb = __skb_dequeue(&due)))
		queue->due(queue, skb);
	spin_lock_bh(&queue->packets.lock);
	queue->serving = false;
	spin_unlock_bh(&queue->packets.lock);
	return HRTIMER_NORESTART;
}

/* Takes the packet over. No packet overtakes another: a cable is a line. */
static u64 enqueue(struct hwsim_queue *queue, struct sk_buff *skb, u64 due_ns)
{
	bool at_once;

	spin_lock_bh(&queue->packets.lock);
	if (!queue->open || skb_queue_len(&queue->packets) >= QUEUE_MAX) {
		spin_unlock_bh(&queue->packets.lock);
		kfree_skb(skb);
		return 0;
	}
	due_ns = max(due_ns, queue->last_ns + 1);
	queue->last_ns = due_ns;
	fate(skb)->due_ns = due_ns;
	at_once = queue->early_ns && !queue->serving && skb_queue_empty(&queue->packets) &&
		  due_ns <= ktime_get_raw_ns() + queue->early_ns;
	if (!at_once) {
		__skb_queue_tail(&queue->packets, skb);
		if (skb_queue_len(&queue->packets) == 1)
			arm(queue, skb);
	}
	spin_unlock_bh(&queue->packets.lock);
	if (at_once)
		queue->due(queue, skb);
	return due_ns;
}

static void open_queue(struct hwsim_queue *queue)
{
	spin_lock_bh(&queue->packets.lock);
	queue->open = true;
	spin_unlock_bh(&queue->packets.lock);
}

static void close_queue(struct hwsim_queue *queue)
{
	spin_lock_bh(&queue->packets.lock);
	queue->open = false;
	spin_unlock_bh(&queue->packets.lock);
	hrtimer_cancel(&queue->timer);
	skb_queue_purge(&queue->packets);
}

/* --- transmission and reception ------------------------------------------------------------ */

static void receive(struct hwsim_queue *queue, struct sk_buff *skb)
{
	struct hwsim_port *port = container_of(queue, struct hwsim_port, arrivals);
	u64 stamp_ns = fate(skb)->stamp_ns;
	struct net_device *dev;

	rcu_read_lock();
	dev = rcu_dereference(port->dev);
	if (!dev) {
		kfree_skb(skb);
		goto out;
	}
	memset(skb->cb, 0, sizeof(skb->cb));
	skb->protocol = eth_type_trans(skb, dev);
	if (stamp_ns)
		skb_hwtstamps(skb)->hwtstamp = ns_to_ktime(stamp_ns);
	DEV_STATS_INC(dev, rx_packets);
	DEV_STATS_ADD(dev, rx_bytes, skb->len + ETH_HLEN);
	netif_rx(skb);
out:
	rcu_read_unlock();
}

static void tell_transmit_stamp(struct hwsim_queue *queue, struct sk_buff *skb)
{
	struct skb_shared_hwtstamps stamps = { .hwtstamp = ns_to_ktime(fate(skb)->stamp_ns) };

	memset(skb->cb, 0, sizeof(skb->cb));
	skb_tstamp_tx(skb, &stamps);
	consume_skb(skb);
}

static bool wants_stamp(struct sk_buff *skb, const struct priv *priv)
{
	return priv->port->phc && priv->config.tx_type == HWTSTAMP_TX_ON &&
	       skb_shinfo(skb)->tx_flags & SKBTX_HW_TSTAMP;
}

static u64 delay(const struct hwsim_port *port)
{
	u64 variation_ns = READ_ONCE(port->delay_variation_ns);

	if (variation_ns)
		variation_ns = get_random_u64() % (variation_ns + 1);
	return READ_ONCE(port->delay_ns) + variation_ns;
}

static void send(struct hwsim_port *port, struct sk_buff *skb, u64 sent_ns)
{
	struct hwsim_port *to = other_end(port);
	struct net_device *dev = rcu_dereference_bh(to->dev);
	u64 due_ns = sent_ns + delay(port);
	struct priv *priv;

	if (!dev || !netif_carrier_ok(dev)) {
		kfree_skb(skb);
		return;
	}
	priv = netdev_priv(dev);
	skb_scrub_packet(skb, true);
	fate(skb)->stamp_ns = 0;
	due_ns = max(due_ns, to->arrivals.last_ns + 1);
	if (to->phc && priv->config.rx_filter != HWTSTAMP_FILTER_NONE &&
	    !nth(&to->stamps_received, READ_ONCE(to->rx_stamp_lost_every)))
		fate(skb)->stamp_ns = hwsim_phc_at(to->phc, due_ns);
	enqueue(&to->arrivals, skb, due_ns);
}

static netdev_tx_t start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct priv *priv = netdev_priv(dev);
	struct hwsim_port *port = priv->port;
	struct sk_buff *copy;
	u64 sent_ns;

	DEV_STATS_INC(dev, tx_packets);
	DEV_STATS_ADD(dev, tx_bytes, skb->len);
	/*
	 * A copy of data and all, never a clone: a clone shares skb_shared_info, and with it the one
	 * place for a hardware stamp. The receiver would overwrite the sender's, both would agree
	 * for ever, and a servo would see no offset however far the clocks are apart.
	 */
	copy = skb_copy(skb, GFP_ATOMIC);
	if (wants_stamp(skb, priv))
		skb_shinfo(skb)->tx_flags |= SKBTX_IN_PROGRESS;
	skb_tx_timestamp(skb);

	sent_ns = ktime_get_raw_ns();
	if (copy && nth(&port->packets_sent, READ_ONCE(port->packet_lost_every)))
		consume_skb(copy);
	else if (copy)
		send(port, copy, sent_ns);

	if (!wants_stamp(skb, priv)) {
		consume_skb(skb);
		return NETDEV_TX_OK;
	}
	if (nth(&port->stamps_asked, READ_ONCE(port->tx_stamp_lost_every))) {
		atomic_inc(&port->stamps_lost);
		consume_skb(skb);
		return NETDEV_TX_OK;
	}
	fate(skb)->stamp_ns = hwsim_phc_at(port->phc, sent_ns);
	if (READ_ONCE(port->tx_stamp_late_ns))
		enqueue(&port->stamps, skb, sent_ns + READ_ONCE(port->tx_stamp_late_ns));
	else
		tell_transmit_stamp(&port->stamps, skb);
	return NETDEV_TX_OK;
}

/* --- the link ------------------------------------------------------------------------------ */

/* Both ends have a carrier while both are up and the cable is plugged in; below RTNL. */
static void update_carrier(struct hwsim_port *port)
{
	struct hwsim_port *ends[] = { port, other_end(port) };
	struct net_device *dev;
	bool up = true;
	int i;

	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		dev = rtnl_dereference(ends[i]->dev);
		up = up && dev && netif_running(dev) && ends[i]->cable;
	}
	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		dev = rtnl_dereference(ends[i]->dev);
		if (dev && up)
			netif_carrier_on(dev);
		else if (dev)
			netif_carrier_off(dev);
	}
}

void hwsim_port_set_cable(struct hwsim_port *port, bool plugged)
{
	rtnl_lock();
	port->cable = plugged;
	other_end(port)->cable = plugged;
	update_carrier(port);
	rtnl_unlock();
}

static int open_device(struct net_device *dev)
{
	struct priv *priv = netdev_priv(dev);

	open_queue(&priv->port->arrivals);
	open_queue(&priv->port->stamps);
	netif_start_queue(dev);
	update_carrier(priv->port);
	return 0;
}

static int stop_device(struct net_device *dev)
{
	struct priv *priv = netdev_priv(dev);

	netif_stop_queue(dev);
	update_carrier(priv->port);
	close_queue(&priv->port->arrivals);
	close_queue(&priv->port->stamps);
	return 0;
}

/* --- what it can do ------------------------------------------------------------------------ */

static void set_rx_mode(struct net_device *dev)
{
	/* Every packet comes in; having this lets multicast addresses be added. */
}

static int get_stamping(struct net_device *dev, struct kernel_hwtstamp_config *config)
{
	struct priv *priv = netdev_priv(dev);

	if (!priv->port->phc)
		return -EOPNOTSUPP;
	*config = priv->config;
	return 0;
}

static int set_stamping(struct net_device *dev, struct kernel_hwtstamp_config *config,
			struct netlink_ext_ack *extack)
{
	struct priv *priv = netdev_priv(dev);

	if (!priv->port->phc)
		return -EOPNOTSUPP;
	if (config->tx_type != HWTSTAMP_TX_OFF && config->tx_type != HWTSTAMP_TX_ON)
		return -ERANGE;
	if (config->rx_filter != HWTSTAMP_FILTER_NONE)
		config->rx_filter = HWTSTAMP_FILTER_ALL;
	priv->config = *config;
	return 0;
}

static const struct net_device_ops device_ops = {
	.ndo_open = open_device,
	.ndo_stop = stop_device,
	.ndo_start_xmit = start_xmit,
	.ndo_set_rx_mode = set_rx_mode,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_hwtstamp_get = get_stamping,
	.ndo_hwtstamp_set = set_stamping,
};

static int get_ts_info(struct net_device *dev, struct kernel_ethtool_ts_info *info)
{
	struct priv *priv = netdev_priv(dev);

	info->so_timestamping = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE |
				SOF_TIMESTAMPING_SOFTWARE;
	info->phc_index = -1;
	if (!priv->port->phc)
		return 0;
	info->so_timestamping |= SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RX_HARDWARE |
				 SOF_TIMESTAMPING_RAW_HARDWARE;
	info->phc_index = ptp_clock_index(priv->port->phc->clock);
	info->tx_types = BIT(HWTSTAMP_TX_OFF) | BIT(HWTSTAMP_TX_ON);
	info->rx_filters = BIT(HWTSTAMP_FILTER_NONE) | BIT(HWTSTAMP_FILTER_ALL);
	return 0;
}

/* Name and bus address are the core's to fill in, from the driver that is bound. */
static void get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	struct priv *priv = netdev_priv(dev);

	strscpy(info->driver, priv->port->driver, sizeof(info->driver));
	strscpy(info->fw_version, priv->port->firmware, sizeof(info->fw_version));
}

static int get_link_ksettings(struct net_device *dev, struct ethtool_link_ksettings *settings)
{
	bool up = netif_carrier_ok(dev);

	settings->base.speed = up ? SPEED_10000 : SPEED_UNKNOWN;
	settings->base.duplex = up ? DUPLEX_FULL : DUPLEX_UNKNOWN;
	settings->base.port = PORT_FIBRE;
	return 0;
}

/* One counter of its own, called as Intel's drivers call it. */
static const char statistics[][ETH_GSTRING_LEN] = { "tx_hwtstamp_timeouts" };

static int get_sset_count(struct net_device *dev, int set)
{
	return set == ETH_SS_STATS ? ARRAY_SIZE(statistics) : -EOPNOTSUPP;
}

static void get_strings(struct net_device *dev, u32 set, u8 *data)
{
	if (set == ETH_SS_STATS)
		memcpy(data, statistics, sizeof(statistics));
}

static void get_ethtool_stats(struct net_device *dev, struct ethtool_stats *stats, u64 *data)
{
	struct priv *priv = netdev_priv(dev);

	data[0] = atomic_read(&priv->port->stamps_lost);
}

static const struct ethtool_ops ethtool_ops = {
	.get_sset_count = get_sset_count,
	.get_strings = get_strings,
	.get_ethtool_stats = get_ethtool_stats,
	.get_drvinfo = get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = get_link_ksettings,
	.get_ts_info = get_ts_info,
};

/* --- plugged in and out --------------------------------------------------------------------- */

static void init_queue(struct hwsim_queue *queue,
		       void (*due)(struct hwsim_queue *queue, struct sk_buff *skb))
{
	skb_queue_head_init(&queue->packets);
	hrtimer_init(&queue->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	queue->timer.function = serve;
	queue->due = due;
}

void hwsim_port_init(struct hwsim_port *port, int number)
{
	port->number = number;
	port->cable = true;
	init_queue(&port->arrivals, receive);
	port->arrivals.early_ns = AT_ONCE_NS;
	init_queue(&port->stamps, tell_transmit_stamp);
}

int hwsim_port_plug(struct hwsim_port *port, struct pci_dev *pdev)
{
	/* Locally administered, and the same whenever the card comes back. */
	u8 address[ETH_ALEN] = { 0x02, 0xc7, 0x68, 0, 0, port->number };
	struct net_device *dev;
	struct priv *priv;
	int error;

	dev = alloc_etherdev(sizeof(struct priv));
	if (!dev)
		return -ENOMEM;
	snprintf(dev->name, sizeof(dev->name), "hw%d", port->number);
	SET_NETDEV_DEV(dev, &pdev->dev);
	dev->netdev_ops = &device_ops;
	dev->ethtool_ops = &ethtool_ops;
	dev->dev_port = PCI_FUNC(pdev->devfn);
	dev->max_mtu = ETH_MAX_MTU;
	eth_hw_addr_set(dev, address);
	netif_carrier_off(dev);
	priv = netdev_priv(dev);
	priv->port = port;

	rtnl_lock();
	error = port->phc ? hwsim_phc_get(port->phc, &pdev->dev) : 0;
	if (error)
		goto no_clock;
	error = register_netdevice(dev);
	if (error)
		goto no_device;
	rcu_assign_pointer(port->dev, dev);
	rtnl_unlock();
	return 0;

no_device:
	if (port->phc)
		hwsim_phc_put(port->phc);
no_clock:
	rtnl_unlock();
	free_netdev(dev);
	return error;
}

void hwsim_port_unplug(struct hwsim_port *port)
{
	struct net_device *dev;

	rtnl_lock();
	dev = rtnl_dereference(port->dev);
	RCU_INIT_POINTER(port->dev, NULL);	/* nothing arrives any more */
	synchronize_net();
	unregister_netdevice(dev);
	update_carrier(port);
	rtnl_unlock();
	free_netdev(dev);
	rtnl_lock();
	if (port->phc)
		hwsim_phc_put(port->phc);
	rtnl_unlock();
}
