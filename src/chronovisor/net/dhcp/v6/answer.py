"""What a DHCPv6 client behind a tap is answered; pure, from the port's record alone."""

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address

from chronovisor.net.dhcp.v6 import message as wire
from chronovisor.net.dhcp.v6.message import Association, Code, Kind, Message, Option, Status
from chronovisor.net.dhcp.v6.names import encode_name
from chronovisor.net.dhcp.v6.record import Record

SERVER_ID = struct.pack("!H", 4) + bytes.fromhex("6c1d6a4e0d6f5d8b9a2f2b0c1e7d4a53")
"""DUID-UUID (RFC 6355), the same on all hosts: a VM that moved renews where it is now."""

_FOR_US = {Kind.REQUEST, Kind.RENEW, Kind.RELEASE, Kind.DECLINE}  # RFC 8415 section 16
_FOR_ALL = {Kind.SOLICIT, Kind.CONFIRM, Kind.REBIND}
_BOUND = {Kind.SOLICIT, Kind.REQUEST, Kind.RENEW, Kind.REBIND}
_NTP_ADDRESS = 1  # suboption NTP_SUBOPTION_SRV_ADDR, RFC 5908 section 4.1
_NO_UPDATE = 0x04  # flag N: the server does not update DNS, RFC 4704 section 4.1


def answer(request: Message, record: Record) -> Message | None:
    """Return the answer to a message, None where RFC 8415 section 16 wants it discarded.

    Raises `ProtocolError` where an option inside is broken.
    """
    server, client = request.first(Code.SERVER_ID), request.first(Code.CLIENT_ID)
    if request.kind in _FOR_US and (server != SERVER_ID or client is None):
        return None
    if request.kind in _FOR_ALL and (server is not None or client is None):
        return None
    if request.kind is Kind.INFORMATION_REQUEST and (
        server not in (None, SERVER_ID) or request.all(Code.IA_NA)
    ):
        return None
    if request.kind not in _FOR_US | _FOR_ALL | {Kind.INFORMATION_REQUEST}:
        return None
    options = _options(request, record)
    if options is None:
        return None
    ids = [] if client is None else [(int(Code.CLIENT_ID), client)]
    ids.append((int(Code.SERVER_ID), SERVER_ID))
    return Message(_kind(request), request.transaction, (*ids, *options))


def _kind(request: Message) -> Kind:
    quick = request.first(Code.RAPID_COMMIT) is not None
    return Kind.ADVERTISE if request.kind is Kind.SOLICIT and not quick else Kind.REPLY


def _options(request: Message, record: Record) -> list[Option] | None:
    if request.kind in (Kind.RELEASE, Kind.DECLINE):
        return [wire.status(Status.SUCCESS)]  # addresses belong to the port, whatever it says
    if request.kind is Kind.CONFIRM:
        return _confirm(request, record)
    options: list[Option] = []
    if request.kind in _BOUND:
        options += _associations(request, record)
        if request.kind is Kind.SOLICIT and request.first(Code.RAPID_COMMIT) is not None:
            options.append((Code.RAPID_COMMIT, b""))
    return [*options, *_configuration(request, record)]


def _confirm(request: Message, record: Record) -> list[Option] | None:
    claimed = [
        one for value in request.all(Code.IA_NA) for one in wire.unpack_association(value).addresses
    ]
    if not claimed:
        return None  # RFC 8415 section 18.3.3
    good = all(one in record.addresses for one in claimed)
    return [wire.status(Status.SUCCESS if good else Status.NOT_ON_LINK)]


def _associations(request: Message, record: Record) -> Iterator[Option]:
    addresses = record.addresses
    for value in request.all(Code.IA_NA):
        yield Code.IA_NA, _association(wire.unpack_association(value), addresses, record.lifetime_s)
        addresses = ()  # a second association of the same interface gets none
    for value in request.all(Code.IA_TA):
        yield Code.IA_TA, value[:4] + wire.pack_options([_none_left()])
    for value in request.all(Code.IA_PD):
        refusal = wire.status(Status.NO_PREFIX, "no prefixes are delegated here")
        yield Code.IA_PD, value[:4] + bytes(8) + wire.pack_options([refusal])


def _association(asked: Association, addresses: tuple[IPv6Address, ...], lifetime_s: int) -> bytes:
    """Return an IA_NA: the port's addresses, and the end of others that the client has."""
    if not addresses:
        return asked.iaid + bytes(8) + wire.pack_options([_none_left()])
    options = [wire.address(one, lifetime_s) for one in addresses]
    options += [wire.address(one, 0) for one in asked.addresses if one not in addresses]
    times = struct.pack("!II", lifetime_s // 2, lifetime_s * 4 // 5)  # RFC 8415 section 21.4
    return asked.iaid + times + wire.pack_options(options)


def _none_left() -> Option:
    return wire.status(Status.NO_ADDRESSES, "this port has no more addresses")


def _configuration(request: Message, record: Record) -> Iterator[Option]:
    """Yield what the client asked to know and the port has."""
    if record.dns_servers and _wants(request, Code.DNS_SERVERS):
        yield Code.DNS_SERVERS, b"".join(one.packed for one in record.dns_servers)
    if record.domain and _wants(request, Code.DOMAINS):
        yield Code.DOMAINS, encode_name(record.domain)
    if record.ntp_servers and _wants(request, Code.SNTP_SERVERS):
        yield Code.SNTP_SERVERS, b"".join(one.packed for one in record.ntp_servers)
    if record.ntp_servers and _wants(request, Code.NTP_SERVER):
        yield (
            Code.NTP_SERVER,
            wire.pack_options([(_NTP_ADDRESS, one.packed) for one in record.ntp_servers]),
        )
    if record.hostname and request.first(Code.FQDN) is not None:
        full = f"{record.hostname}.{record.domain}" if record.domain else record.hostname
        yield Code.FQDN, bytes((_NO_UPDATE,)) + encode_name(full)
    if request.kind is Kind.INFORMATION_REQUEST:
        yield Code.REFRESH_TIME, struct.pack("!I", max(record.lifetime_s, 600))  # RFC 8415 21.23


def _wants(request: Message, code: Code) -> bool:
    asked = request.first(Code.REQUESTED) or b""
    return any(asked[at : at + 2] == struct.pack("!H", code) for at in range(0, len(asked), 2))
