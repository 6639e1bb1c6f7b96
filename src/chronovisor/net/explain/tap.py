"""Judges a port's tap: device, switches, the host's addresses on it, and the guest behind it."""

from collections.abc import Iterator

from chronovisor.net.explain.concern import Concern
from chronovisor.net.explain.findings import Finding, judged, unknown
from chronovisor.net.explain.observed import Answers, Device, Observed
from chronovisor.net.intent import Intent
from chronovisor.net.marks import GATEWAY_LINK_LOCAL, METADATA_IPV4
from chronovisor.net.settings import Address
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.observed import IPV4_FORWARDING, IPV6_FORWARDING, proxy_delay
from chronovisor.net.wiring.observed import Observed as Wiring
from chronovisor.net.wiring.plan import plan
from chronovisor.net.wiring.taps import FORWARDING, OFF, PROXY_ARP, RP_FILTER

RP_FILTER_OF_ALL = "ipv4/conf/all/rp_filter"
MENDED = "visord mends this within seconds while it runs; who changed it may do so again"
_STRICT = 1
_MOST_SHOWN = 5
_DISABLE_IPV6, _IPV6_FORWARDING = 26, 0  # DEVCONF_* of linux/ipv6.h
_INCOMPLETE, _FAILED = 0x01, 0x20  # NUD_*

Fault = tuple[str, str]


def findings(one: Concern, intent: Intent, seen: Observed) -> Iterator[Finding]:
    """Yield the links from the device to the guest, in their order."""
    device = seen.devices[one.device]
    yield judged("device", one.identifier, _device(one, device), _fine_device(one, device))
    if device.link is None:
        for link in ("switches", "gateway", "guest"):
            yield unknown(link, one.identifier, f"not judged: there is no device {one.device}")
        return
    versions: set[int] = {address.version for address in one.end.addresses}
    faults = _switches(one, device.link, versions, seen)
    yield judged("switches", one.identifier, faults, _fine_switches(one, seen))
    yield judged("gateway", one.identifier, _gateway(one, intent, device), _fine_gateway(device))
    yield from _guest(one, device, seen)


def _device(one: Concern, seen: Device) -> Iterator[Fault]:
    name = one.device
    if seen.link is None:
        if seen.elsewhere:
            shown = seen.elsewhere[:_MOST_SHOWN]
            more = len(seen.elsewhere) - len(shown)
            there = ", ".join(shown) + (f" and {more} more" if more else "")
            yield (
                f"there is no {name} in this host's network namespace; "
                f"{there} has a device of that name",
                f"if it is the VM's, move it back: `ip link set {name} netns …` over there",
            )
        yield f"there is no device {name} (RTM_GETLINK)", "start the VM, or make its tap"
        return
    link = seen.link
    links = {link.name: link}
    if link.master:
        links[seen.master] = Link(link.master, seen.master or f"device {link.master}")
    found = plan({one.device: one.tap}, Wiring(links=links), clean=False).problems
    if words := found.get(one.identifier):
        yield words, f"`ip link set {name} nomaster`" if link.master else "name the VM's tap"
    if not link.up:
        yield f"{name} is down", f"`ip link set {name} up`; {MENDED}"
    if not seen.carrier:
        yield (
            f"{name} has no carrier: nobody holds its other end",
            "is the VM running, and is its interface up?",
        )
    if link.mtu < one.tap.mtu:
        yield (
            f"the MTU of {name} is {link.mtu}, its network's is {one.tap.mtu}: "
            "large packets are lost",
            f"`ip link set {name} mtu {one.tap.mtu}`; {MENDED}",
        )


def _fine_device(one: Concern, seen: Device) -> str:
    mtu = seen.link.mtu if seen.link else 0
    return f"{one.device} is up, has a carrier, is in no bridge, MTU {mtu}"


def _switches(one: Concern, link: Link, versions: set[int], seen: Observed) -> Iterator[Fault]:
    name = one.device
    if 4 in versions:
        yield from _ipv4_switches(one, link, seen)
    if 6 in versions:
        if seen.switches.get(IPV6_FORWARDING, "1") != "1":
            yield f"{IPV6_FORWARDING} is 0", f"`sysctl -w net.ipv6.conf.all.forwarding=1`; {MENDED}"
        if link.ipv6_setting(_DISABLE_IPV6) == 1:
            yield f"IPv6 is switched off on {name} (disable_ipv6)", MENDED
        if link.ipv6_setting(_IPV6_FORWARDING) == 0:
            yield f"{name} does not forward IPv6 (forwarding is 0)", MENDED


def _ipv4_switches(one: Concern, link: Link, seen: Observed) -> Iterator[Fault]:
    name = one.device
    if seen.switches.get(IPV4_FORWARDING, "1") != "1":
        yield f"{IPV4_FORWARDING} is 0", f"`sysctl -w net.ipv4.ip_forward=1`; {MENDED}"
    if link.ipv4_setting(FORWARDING) == 0:
        yield f"{name} does not forward IPv4 (forwarding is 0)", MENDED
    if link.ipv4_setting(PROXY_ARP) == 0:
        yield (
            f"proxy_arp of {name} is 0: the VM's ARP requests for others get no answer",
            f"`sysctl -w net.ipv4.conf.{name}.proxy_arp=1`; {MENDED}",
        )
    wanted = dict(one.tap.ipv4).get(RP_FILTER)
    of_all = int(seen.switches.get(RP_FILTER_OF_ALL, "0") or 0)
    own = link.ipv4_setting(RP_FILTER) or 0
    if wanted == OFF and max(own, of_all) == _STRICT:  # the larger one holds (ip-sysctl)
        where = RP_FILTER_OF_ALL if of_all else f"rp_filter of {name}"
        yield (
            f"{where} is {_STRICT}: what the port may send from other addresses is dropped",
            "set net.ipv4.conf.all.rp_filter to 0 or 2, where the host sets its sysctls",
        )


def _fine_switches(one: Concern, seen: Observed) -> str:
    delay = seen.switches.get(proxy_delay(one.device), "0")
    slow = "" if delay == "0" else f"; proxy_delay is {delay}: first answers to ARP come late"
    return f"forwarding and proxy_arp are on, rp_filter is as the port needs it{slow}"


def _gateway(one: Concern, intent: Intent, device: Device) -> Iterator[Fault]:
    there = {found.address for found in device.addresses}
    for address in one.end.addresses:
        subnet = one.subnet(intent, address)
        wanted: list[Address] = [subnet.gateway] if subnet else []
        if address.version == 6:
            wanted.append(GATEWAY_LINK_LOCAL)
        for gateway in wanted:
            if gateway not in there:
                yield (
                    f"{one.device} has no address {gateway}, the VM's gateway (RTM_GETADDR)",
                    MENDED,
                )


def _fine_gateway(device: Device) -> str:
    shown = [str(one.address) for one in device.addresses if one.address != METADATA_IPV4]
    return f"the host has {', '.join(sorted(set(shown)))} there"


def _guest(one: Concern, device: Device, seen: Observed) -> Iterator[Finding]:
    """Yield what answers behind the tap, and whether the host's neighbour entry says the same."""
    faults: list[Fault] = []
    fine: list[str] = []
    for address in one.end.addresses:
        faults += _entry(one, address, device)
        answers = seen.answers.get(address)
        if answers is None:
            continue
        if answers.problem:
            yield unknown("guest", one.identifier, answers.problem)
            return
        faults += _answer(one, address, answers)
        fine.append(f"{address} answers from {answers.mac}")
    if not faults and not fine:
        yield unknown("guest", one.identifier, "not asked: its tap is not usable")
        return
    yield judged("guest", one.identifier, faults, "; ".join(fine))


def _entry(one: Concern, address: Address, device: Device) -> Iterator[Fault]:
    for found in device.neighbours:
        if found.address != address or found.flags & 0x08:  # NTF_PROXY
            continue
        if found.state & (_FAILED | _INCOMPLETE):
            yield f"the host's neighbour entry of {address} on {one.device} has failed", MENDED
        elif found.mac != one.port.mac and address in one.port.addresses:
            yield (
                f"the host's neighbour entry says {address} is at {found.mac}, "
                f"the port's MAC address is {one.port.mac}",
                f"`ip neighbour del {address} dev {one.device}`; {MENDED}",
            )


def _answer(one: Concern, address: Address, answers: Answers) -> Iterator[Fault]:
    kind = "ARP" if address.version == 4 else "neighbour discovery"
    allowed = {one.port.mac} | {pair.mac for pair in one.port.allowed_address_pairs if pair.mac}
    if answers.mac:
        if answers.mac not in allowed and one.port.port_security:
            yield (
                f"{address} answers {kind} from {answers.mac}, the port's MAC address is "
                f"{one.port.mac}: the firewall drops all that it sends",
                "give the VM's interface the port's MAC address, or the port the VM's",
            )
        return
    if answers.others:
        yield (
            f"nobody behind {one.device} answers {kind} for {address} within "
            f"{answers.waited_s:.1f} s, but {', '.join(sorted(answers.others))} is there",
            "the VM has another address, or none: look at its own settings and its DHCP client",
        )
        return
    yield (
        f"nobody behind {one.device} answers {kind} for {address}, "
        f"nor anything else within {answers.waited_s:.1f} s",
        "has the VM booted, and is its interface up?",
    )
