"""Gives PTP devices the addresses of their settings, by netlink (rtnetlink(7)).

Only what is missing is added; addresses of others, and addresses that were ours before a change,
stay: to take one away could cut the operator off.

To be called in a thread: pyroute2 runs an event loop of its own.
"""

from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from chronovisor.clock.plan import AssignAddress
from chronovisor.errors import ToolFailed

Address = IPv4Interface | IPv6Interface


def observe(devices: Iterable[str]) -> frozenset[tuple[str, Address]]:
    """Return the addresses of these devices."""
    wanted = set(devices)
    if not wanted:
        return frozenset()
    from pyroute2 import IPRoute  # half of visord's start-up time, and most hosts never need it

    found: set[tuple[str, Address]] = set()
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        for message in netlink.get_addr():
            device = names.get(message["index"])
            address = message.get("local") or message.get("address")
            if device in wanted and address:
                found.add((device, ip_interface(f"{address}/{message['prefixlen']}")))
    return frozenset(found)


def apply(action: AssignAddress) -> None:
    """Add an address; one that is there already is fine. Raises `ToolFailed`."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as netlink:
        try:
            found = netlink.link_lookup(ifname=action.device)
            if not found:
                raise ToolFailed(f"cannot {action}: no such device")
            netlink.addr(
                "replace",
                index=found[0],
                address=str(action.address.ip),
                prefixlen=action.address.network.prefixlen,
            )
        except NetlinkError as error:
            raise ToolFailed(f"cannot {action}: {error}") from error
