"""DHCP, router advertisements and DNS for VMs: one small file for each port, daemons that last.

The way in is `service.DhcpService`. `wanted` says what should be in which file, `plan` what must
be done in which order and why, `options` what IPv4 options look like to dnsmasq, `place` the
command lines; `v6` holds the process for IPv6 and why it is not dnsmasq. Nothing is imported here:
that process loads this package and is to stay small.
"""
