"""Text options whose value has a form that ptp4l checks only after its parser, at its start."""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address

_OCTET = "[0-9a-fA-F]{1,2}"
_MAC = re.compile(rf"{_OCTET}(?::{_OCTET}){{5}}")
_OUI = re.compile(rf"{_OCTET}(?::{_OCTET}){{2}}")
_IDENTITY = re.compile(r"[0-9a-fA-F]{6}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{6}")
_OCTETS = 255  # PTPText, IEEE 1588-2019 clause 5.3.9


def _texts(symbols: int, parts: int = 0) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        fits = len(value) <= symbols and len(value.encode()) <= _OCTETS
        return fits and (not parts or value.count(";") == parts - 1)

    return check


def _group(kind: type[IPv4Address] | type[IPv6Address]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return kind(value).is_multicast
        except AddressValueError:
            return False

    return check


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.fullmatch(value) is not None


_IPV4 = (_group(IPv4Address), "an IPv4 multicast address")
_IPV6 = (_group(IPv6Address), "an IPv6 multicast address")
_MAC_FORM = (_matches(_MAC), "six hex octets, 01:1B:19:00:00:00")
_FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "clockIdentity": (_matches(_IDENTITY), "6.4.6 hex digits, 001122.fffe.334455"),
    "manufacturerIdentity": (_matches(_OUI), "three hex octets, 00:11:22"),
    "p2p_dst_ipv4": _IPV4,
    "p2p_dst_ipv6": _IPV6,
    "p2p_dst_mac": _MAC_FORM,
    # IEEE 1588-2019 table 41: 64, 32 and 128 symbols
    "productDescription": (_texts(64, 3), "manufacturer;model;instance, at most 64 characters"),
    "profileIdentity": (_matches(_MAC), "six hex octets, 00:1B:19:00:01:00"),
    "ptp_dst_ipv4": _IPV4,
    "ptp_dst_ipv6": _IPV6,
    "ptp_dst_mac": _MAC_FORM,
    "revisionData": (_texts(32, 3), "hardware;firmware;software, at most 32 characters"),
    "userDescription": (_texts(128), "at most 128 characters"),
}


def expected_form(name: str, value: str) -> str:
    """Return the form that the value of this option should have, empty if it has it."""
    check, form = _FORMATS.get(name, (None, ""))
    return form if check is not None and not check(value) else ""
