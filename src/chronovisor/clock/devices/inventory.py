"""Every NIC of our network and of our containers, with all that decides whether it keeps time."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from chronovisor.clock.devices import links, netlink, pci
from chronovisor.clock.devices.drvinfo import DriverInfo, driver_info
from chronovisor.clock.devices.links import Link
from chronovisor.clock.devices.listing import DeviceList, Quirk, shipped
from chronovisor.clock.devices.management import Address, management
from chronovisor.clock.devices.netlink import Netlink
from chronovisor.clock.devices.pci import PciFunction
from chronovisor.clock.devices.places import places
from chronovisor.clock.devices.stamping import Stamping, stamping
from chronovisor.errors import ToolFailed

STACKED = ("bond", "bridge", "team", "vlan", "macvlan", "macvtap", "ipvlan")
"""Kinds of links that pass time stamping on, or not, to what they rest on."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC. Texts are empty, numbers None, where there is nothing to tell.

    `name` is empty for a PCI network controller without a network device: one that no driver has,
    or one that a VM or another namespace has. Ids are four hexadecimal digits. `function` is the
    PCI function of a physical function, `virtual_number` the number of a virtual one within that
    of `physical_function`. `management` says why the host's own management depends on it, `place`
    which container has it while the host itself has not.
    """

    name: str
    mac: str = ""
    kind: str = ""
    up: bool = False
    link_up: bool = False
    model: str = ""
    listed: bool = False
    driver: str = ""
    firmware: str = ""
    pci_address: str = ""
    vendor_id: str = ""
    device_id: str = ""
    subsystem_vendor_id: str = ""
    subsystem_device_id: str = ""
    function: int | None = None
    physical_function: str = ""
    virtual_number: int | None = None
    phc_index: int | None = None
    shares_phc_with: tuple[str, ...] = ()
    hardware_stamps: bool = False
    software_stamps: bool = False
    capabilities: tuple[str, ...] = ()
    tx_types: tuple[str, ...] = ()
    rx_filters: tuple[str, ...] = ()
    master: str = ""
    members: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    vlan_id: int | None = None
    management: str = ""
    place: str = ""
    notices: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Return `vid:did`, empty for what is no PCI device."""
        return f"{self.vendor_id}:{self.device_id}" if self.vendor_id else ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel says: links by index, and by device name what else is known."""

    links: Mapping[int, Link]
    drivers: Mapping[str, DriverInfo] = field(default_factory=dict)
    stamping: Mapping[str, Stamping] = field(default_factory=dict)
    functions: Mapping[str, PciFunction] = field(default_factory=dict)
    management: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


def observe(ours: Iterable[Address] = ()) -> Observed:
    """Return what the kernel says of all devices.

    `ours` are addresses that Chronovisor gives out itself. Raises `ToolFailed`.
    """
    with Netlink(netlink.ROUTE) as route, Netlink(netlink.GENERIC) as generic:
        known = {link.index: link for link in links.links(route)}
        return _looked_at(known, generic, management(known, route, ours))


def observe_some(names: Iterable[str]) -> Observed:
    """Return what the kernel says of these devices, without what rests on what and management.

    Cheap, however many other devices there are. Raises `ToolFailed`.
    """
    wanted = set(names)
    here = _some(wanted)
    missing = wanted - {link.name for link in here.links.values()}
    return _with_containers(here, missing) if missing else here


def _some(names: Iterable[str]) -> Observed:
    with Netlink(netlink.ROUTE) as route, Netlink(netlink.GENERIC) as generic:
        found = (links.link(route, name) for name in names)
        return _looked_at({link.index: link for link in found if link}, generic, {})


def _everything() -> Observed:
    with Netlink(netlink.ROUTE) as route, Netlink(netlink.GENERIC) as generic:
        return _looked_at({link.index: link for link in links.links(route)}, generic, {})


def _with_containers(here: Observed, names: Collection[str] | None = None) -> Observed:
    """Return what was observed with what is in containers: these devices, or all but `lo`."""
    for place in places():
        try:
            inside = place.ask(_everything if names is None else lambda: _some(names))
        except ToolFailed:  # its container has just ended
            continue
        here = _joined(here, inside, str(place))
    return here


def _joined(here: Observed, inside: Observed, place: str) -> Observed:
    """Return both; an index of another namespace means nothing here, so it is made one of nobody's.

    What is in a container rests on nothing else: hardware alone is moved there.
    """
    known = dict(here.links)
    moved = [one for one in inside.links.values() if not one.loopback]
    for at, link in enumerate(moved, 1 + sum(index < 0 for index in known)):
        known[-at] = replace(link, index=-at, lower=None, master=None)
    return Observed(
        known,
        {**inside.drivers, **here.drivers},
        {**inside.stamping, **here.stamping},
        {**inside.functions, **here.functions},
        here.management,
        {**here.places, **{link.name: place for link in moved}},
    )


def _looked_at(known: Mapping[int, Link], generic: Netlink, managed: Mapping[str, str]) -> Observed:
    drivers = {link.name: driver_info(link.name) for link in known.values()}
    stamps = {link.name: stamping(link.name, generic) for link in known.values()}
    functions = {
        link.name: found
        for link in known.values()
        if (found := pci.function(_address(link, drivers[link.name])))
    }
    return Observed(known, drivers, stamps, functions, managed)


def _address(link: Link, driver: DriverInfo) -> str:
    """Return a link's PCI address; virtio tells that of its bus, where the driver knows PCI's."""
    told = (driver.bus_address, link.parent)
    return next((address for address in told if pci.is_address(address)), "")


def nics(observed: Observed, listed: DeviceList) -> list[Nic]:
    """Return the NICs in what was observed, by name; the loopback device is none."""
    found = [
        _nic(link, observed, listed)
        for link in observed.links.values()
        if link.name in observed.drivers and not link.loopback
    ]
    return sorted(found, key=lambda nic: nic.name)


def _nic(link: Link, observed: Observed, listed: DeviceList) -> Nic:
    name = link.name
    driver = observed.drivers[name]
    stamps = observed.stamping.get(name, Stamping())
    function = observed.functions.get(name)
    master = observed.links.get(link.master) if link.master is not None else None
    nic = Nic(
        name,
        mac=link.mac,
        kind=link.kind,
        up=link.up,
        link_up=link.link_up,
        driver=driver.driver or link.kind,
        firmware=driver.firmware,
        phc_index=stamps.phc_index,
        shares_phc_with=_sharing(name, stamps.phc_index, observed.stamping),
        hardware_stamps=stamps.hardware,
        software_stamps=stamps.software,
        capabilities=stamps.capabilities,
        tx_types=stamps.tx_types,
        rx_filters=stamps.rx_filters,
        master=master.name if master else "",
        members=tuple(one.name for one in links.members(observed.links, link.index)),
        rests_on=tuple(one.name for one in links.grounds(observed.links, link.index)),
        vlan_id=link.vlan_id,
        management=observed.management.get(name, ""),
        place=observed.places.get(name, ""),
    )
    return _told(_with_pci(nic, function), listed)


def _sharing(name: str, phc: int | None, known: Mapping[str, Stamping]) -> tuple[str, ...]:
    if phc is None:
        return ()
    return tuple(sorted(o for o, one in known.items() if one.phc_index == phc and o != name))


def _with_pci(nic: Nic, function: PciFunction | None) -> Nic:
    if function is None:
        return nic
    return replace(
        nic,
        pci_address=function.address,
        vendor_id=function.vendor,
        device_id=function.device,
        subsystem_vendor_id=function.subsystem_vendor,
        subsystem_device_id=function.subsystem_device,
        function=None if function.virtual_of else function.function,
        physical_function=function.virtual_of,
        virtual_number=function.virtual_number,
    )


def _told(nic: Nic, listed: DeviceList) -> Nic:
    """Return a NIC with what the list has of it."""
    kind = listed.kind(nic.identity)
    quirks = listed.quirks(nic.identity, nic.driver) if not nic.kind else ()
    return replace(
        nic,
        model=kind.name if kind else "",
        listed=kind is not None,
        notices=(*_capable(nic, listed), *(_words(quirk) for quirk in quirks)),
    )


def _capable(nic: Nic, listed: DeviceList) -> Iterable[str]:
    driver = listed.driver(nic.identity, nic.driver)
    if nic.hardware_stamps and not nic.kind and listed.kind(nic.identity) is None:
        yield "not in the device list, but it has what hardware time stamps need: run a preflight"
    elif driver is not None and driver.mock:
        yield "a mock device: it has no clock of its own, for trying out only"
    elif driver is not None and driver.time_stamping == "hardware" and not nic.hardware_stamps:
        lacking = f": {driver.lacking}" if driver.lacking else ""
        yield f"listed with hardware time stamps, but it makes none here{lacking}"


def _words(quirk: Quirk) -> str:
    wanted = ", ".join(f"{name} {value}" for name, value in quirk.options.items())
    return f"{quirk.text}{f'; wants {wanted}' if wanted else ''} ({quirk.source})"


def without_device(
    known: Iterable[Nic], functions: Iterable[PciFunction], listed: DeviceList
) -> list[Nic]:
    """Return the PCI network controllers that none of the known NICs is."""
    taken = {nic.pci_address for nic in known}
    found = []
    for function in functions:
        if function.address in taken:
            continue
        kind = listed.kind(function.identity)
        nic = _with_pci(Nic("", driver=function.driver), function)
        found.append(_absent(nic, kind.name if kind else "", listed))
    return found


def _absent(nic: Nic, model: str, listed: DeviceList) -> Nic:
    driver = listed.driver(nic.identity)
    if nic.driver.startswith("vfio"):
        why = "given to a VM"
    elif nic.driver:
        why = "its network device is in another namespace, or its driver made none"
    elif driver:
        why = f"no driver: load {driver.module} with `visorctl clock devices --load`"
    else:
        why = "no driver, and the device list has none for it"
    return replace(nic, model=model, listed=bool(model), notices=(why,))


def inventory(
    listed: DeviceList | None = None,
    functions: Callable[[], list[PciFunction]] = pci.network_functions,
) -> list[Nic]:
    """Return every NIC of this namespace, then PCI network controllers that have no device in it.

    Raises `ToolFailed` where the kernel does not answer.
    """
    listed = listed or shipped()
    found = nics(_with_containers(observe()), listed)
    return found + without_device(found, functions(), listed)
