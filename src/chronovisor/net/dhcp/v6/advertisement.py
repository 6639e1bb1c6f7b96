"""Router solicitations and advertisements (RFC 4861 sections 4.1, 4.2 and 4.6)."""

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network

from chronovisor.net.dhcp.v6.names import encode_name
from chronovisor.net.dhcp.v6.record import Record

SOLICITATION, ADVERTISEMENT = 133, 134
HOP_LIMIT = 255
"""Of both messages: proves that no router forwarded them (RFC 4861 section 6.1)."""

INTERVAL_S = 600  # RFC 4861 section 6.2.1: MaxRtrAdvInterval's default
ROUTER_LIFETIME_S = 3 * INTERVAL_S
VALID_S, PREFERRED_S = 2_592_000, 604_800  # RFC 4861 section 6.2.1: AdvValid/PreferredLifetime
MOST_SERVERS, MOST_ROUTES = 16, 20
"""With these and the longest domain an advertisement fits the smallest MTU (RFC 8200 section 5)."""

_SOURCE_MAC, _PREFIX, _MTU, _ROUTE, _RDNSS, _DNSSL = 1, 3, 5, 24, 25, 31
_MANAGED, _OTHER, _AUTONOMOUS = 0x80, 0x40, 0x40


def is_solicitation(packet: bytes, hop_limit: int) -> bool:
    """Return whether an ICMPv6 packet is a valid router solicitation (RFC 4861 section 6.1.1)."""
    if len(packet) < 8 or packet[0] != SOLICITATION or packet[1] != 0 or hop_limit != HOP_LIMIT:
        return False
    rest = packet[8:]
    while rest:
        if len(rest) < 8 or rest[1] == 0 or rest[1] * 8 > len(rest):
            return False
        rest = rest[rest[1] * 8 :]
    return True


def pack(record: Record) -> bytes:
    """Return a port's advertisement from its ICMPv6 type on; the kernel fills in the checksum."""
    flags = (_MANAGED if record.managed else 0) | (_OTHER if record.other else 0)
    head = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, flags, ROUTER_LIFETIME_S, 0, 0)
    return head + b"".join(_options(record))


def _options(record: Record) -> Iterator[bytes]:
    mac = bytes.fromhex(record.router_mac.replace(":", ""))
    yield struct.pack("!BB6s", _SOURCE_MAC, 1, mac)
    yield struct.pack("!BBHI", _MTU, 1, 0, record.mtu)
    yield _prefix(record.prefix, record.autonomous)
    for destination in record.routes:
        yield _route(destination)
    if record.dns_servers:
        yield _name_servers(record.dns_servers)
    if record.domain:
        name = encode_name(record.domain)
        name += bytes(-len(name) % 8)
        yield struct.pack("!BBHI", _DNSSL, 1 + len(name) // 8, 0, ROUTER_LIFETIME_S) + name


def _prefix(prefix: IPv6Network, autonomous: bool) -> bytes:
    """Return the prefix, which is never on-link: all goes to the router, so it proxies nobody."""
    flags = _AUTONOMOUS if autonomous else 0
    return struct.pack(
        "!BBBBIII16s", _PREFIX, 4, prefix.prefixlen, flags, VALID_S, PREFERRED_S, 0,
        prefix.network_address.packed,
    )  # fmt: skip


def _route(destination: IPv6Network) -> bytes:
    """Return a route by this router (RFC 4191 section 2.3)."""
    return struct.pack(
        "!BBBBI16s", _ROUTE, 3, destination.prefixlen, 0, ROUTER_LIFETIME_S,
        destination.network_address.packed,
    )  # fmt: skip


def _name_servers(servers: tuple[IPv6Address, ...]) -> bytes:
    """Return the name servers (RFC 8106 section 5.1)."""
    head = struct.pack("!BBHI", _RDNSS, 1 + 2 * len(servers), 0, ROUTER_LIFETIME_S)
    return head + b"".join(server.packed for server in servers)
