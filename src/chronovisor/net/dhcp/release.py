"""Makes dnsmasq forget a lease: a DHCPRELEASE in the client's name, through the loopback device.

`dhcp_release` of dnsmasq's own tools must send through the VM's tap, which is mostly gone when a
lease has to go. dnsmasq listens on `lo` too, and takes the server identifier from the packet when a
relay's option 82 overrides it (RFC 5107), so any lease can be given back from here.
"""

import socket
import struct
from ipaddress import IPv4Address

from chronovisor.errors import Unavailable
from chronovisor.net.dhcp.leases import Lease

SERVER_PORT = 67
LOOPBACK = IPv4Address("127.0.0.1")

_COOKIE = bytes((99, 130, 83, 99))  # RFC 2131 section 3
_BOOTREQUEST, _ETHERNET, _RELEASE = 1, 1, 7
_MESSAGE_TYPE, _SERVER, _CLIENT, _RELAY, _END = 53, 54, 61, 82, 255  # RFC 2132, RFC 3046
_OVERRIDE = 11  # suboption of option 82, RFC 5107


def pack(lease: Lease) -> bytes:
    """Return the message that releases a lease (RFC 2131 section 4.4.6)."""
    head = struct.pack(
        "!BBBBIHH4s4s4s4s16s64x128x",
        _BOOTREQUEST, _ETHERNET, 6, 0, 0, 0, 0,
        lease.address.packed, bytes(4), bytes(4), bytes(4),
        bytes.fromhex(lease.mac.replace(":", "")),
    )  # fmt: skip
    server = LOOPBACK.packed
    options = _option(_MESSAGE_TYPE, bytes((_RELEASE,))) + _option(_SERVER, server)
    if lease.client_id:
        options += _option(_CLIENT, lease.client_id)
    options += _option(_RELAY, _option(_OVERRIDE, server))
    return head + _COOKIE + options + bytes((_END,))


def send(lease: Lease) -> None:
    """Release a lease; dnsmasq gives no answer. Raises `Unavailable`."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            wire.sendto(pack(lease), (str(LOOPBACK), SERVER_PORT))
    except OSError as error:
        raise Unavailable(
            f"cannot release the lease of {lease.address}: {error.strerror}",
            hint="the loopback device must be up and let UDP port 67 through",
        ) from error


def _option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value
