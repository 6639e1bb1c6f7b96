"""IPv6 for VMs: router advertisements and DHCPv6 from a small process of our own.

dnsmasq 2.90 serves IPv4 here, and could not serve this (each seen, the last two measured):

- whether hosts configure themselves (SLAAC) or ask (managed) belongs to a `dhcp-range`, which it
  reads at its start only; so networks could not differ, or every new one would restart it;
- a range for all of IPv6 works only as `::`, and gives addresses with a preferred lifetime of 0,
  which a VM treats as deprecated (RFC 4862 section 5.5.4); other ranges end at /64;
- it finds a DHCPv6 client by MAC address and waits up to half a second, holding up everybody,
  for a neighbour advertisement that a hostile VM need not send.

Here a VM is known by its tap, which nobody can forge, and its addresses are those of its port: no
lease is kept, so none is lost or stale. `record` is what the process reads (one file a port),
`advertisement` and `message` the wire formats, `answer` pure behaviour, `responder` the process.
"""
