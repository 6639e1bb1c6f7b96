"""How this host knows its own work again after a restart, and what every tap has in common.

Whatever carries none of these marks belongs to somebody else and is never changed or removed.
"""

from ipaddress import IPv4Address, IPv6Address

ROUTE_PROTOCOL = 86
"""Protocol number (rtm_protocol, IFA_PROTO, NDA_PROTOCOL) of our routes, addresses, neighbours.

Free in /usr/include/linux/rtnetlink.h and in iproute2's rt_protos.
"""

TABLE = "chronovisor"
"""Name of the nftables tables that are ours."""

GATEWAY_MAC = "02:63:76:00:00:01"
"""MAC address of the host's end of every tap, the same on all hosts.

A VM that moves to another host keeps its gateway's MAC in its neighbour cache; with one address
everywhere that entry stays true. Locally administered (IEEE 802-2014 section 8.4).
"""

METADATA_IPV4 = IPv4Address("169.254.169.254")
METADATA_IPV6 = IPv6Address("fe80::a9fe:a9fe")

GATEWAY_LINK_LOCAL = METADATA_IPV6
"""The router that VMs see by IPv6, on every tap of every host; for the same reason.

One address for both: what an address costs the kernel grows with the number of taps that have one.
"""

FORMER_LINK_LOCAL = IPv6Address("fe80::1")
"""The router of development versions of 0.1.0; stays on a tap that has it, for its running VM."""
