"""dnsmasq's lease file, read."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class Lease:
    """An IPv4 lease. `client_id` is the client's identifier (option 61), empty for none."""

    address: IPv4Address
    mac: str
    expires_s: int
    client_id: bytes = b""


def parse(text: str) -> tuple[Lease, ...]:
    """Return the IPv4 leases of a lease file; lines that are none, or cut off, are passed over.

    A line reads `expiry MAC address hostname client-id`, `*` for what there is not. dnsmasq writes
    the file in place, so one read meanwhile may lack lines; whoever asks asks again.
    """
    return tuple(lease for line in text.splitlines() if (lease := _lease(line)))


@lru_cache(maxsize=1 << 14)  # the file is read at every change, and mostly as it was
def _lease(line: str) -> Lease | None:
    words = line.split()
    if len(words) != 5:
        return None
    expires, mac, address, _, client_id = words
    try:
        return Lease(
            IPv4Address(address),
            mac.lower(),
            int(expires),
            b"" if client_id == "*" else bytes.fromhex(client_id.replace(":", "")),
        )
    except ValueError:
        return None
