"""Keys of set elements, as the kernel has them and as nftables writes them.

A concatenation stands field after field, each padded to a multiple of four bytes, in network byte
order; an interface name has 16 bytes (nf_tables_api.c, NFT_REG32_SIZE; IFNAMSIZ).
"""

from ipaddress import IPv4Address, IPv6Address

from chronovisor.errors import ProtocolError
from chronovisor.net.firewall.names import IFNAME, IPV4, IPV6, MAC, TARGET

_SIZES = {IFNAME: 16, MAC: 6, IPV4: 4, IPV6: 16, TARGET: 16}


def key(*values: str | IPv4Address | IPv6Address) -> bytes:
    """Return the key of an element; a text with colons is a MAC, another an interface name."""
    packed = b""
    for value in values:
        if not isinstance(value, str):
            packed += value.packed
        elif ":" in value:
            packed += bytes.fromhex(value.replace(":", "")) + b"\0\0"
        else:
            packed += value.encode().ljust(16, b"\0")
    return packed


def key_text(packed: bytes, types: tuple[str, ...]) -> str:
    """Return a key as nftables writes it.

    Raises:
        ProtocolError: the key has not the length that its types have together.
    """
    words: list[str] = []
    for kind in types:
        size = _SIZES[kind]
        field, packed = packed[:size], packed[size + -size % 4 :]
        if len(field) != size:
            raise ProtocolError(f"a set element of nftables is too short for {types}")
        words.append(_field_text(field, kind))
    return " . ".join(words)


def _field_text(field: bytes, kind: str) -> str:
    if kind == IFNAME:
        return '"' + field.rstrip(b"\0").decode("ascii", "backslashreplace") + '"'
    if kind == MAC:
        return field.hex(":")
    if kind == TARGET:
        return f"0x{field.hex()}"
    return str(IPv4Address(field) if kind == IPV4 else IPv6Address(field))
