"""What keeps devices from doing what settings ask of them, and what an operator should know.

Judged from two things: the cheap probe of every port's device, and the inventory of those devices
for which the question is about more than stamps. A NIC that is not listed but has what it takes
works, with a notice; a listed one that lacks it is refused with what is known of the reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from chronovisor.clock.devices import inventory, pci
from chronovisor.clock.devices.inventory import Nic
from chronovisor.clock.devices.listing import DeviceList, shipped
from chronovisor.clock.devices.probe import Device, device, names
from chronovisor.clock.settings import (
    DeviceRisk,
    DeviceType,
    OptionValue,
    PtpPort,
    SystemTime,
    TimeStamping,
)
from chronovisor.errors import ChronovisorError, Problem


def check(settings: SystemTime, listed: DeviceList | None = None) -> list[Problem]:
    """Return what keeps the devices of these settings from doing what is asked of them."""
    if not settings.enabled:
        return []
    listed = listed or shipped()
    ports = _ports(settings)
    seen = {port.device: device(port.device) for _, port in ports}
    if settings.own_network:  # a container brings its NICs up itself
        seen = {name: found and replace(found, up=True) for name, found in seen.items()}
    known = _looked_at(ports, listed)
    problems: list[Problem] = []
    for where, port in ports:
        problems += judge(where, port, seen[port.device], known.get(port.device), listed)
    return problems + list(one_clock(settings, seen))


def unfit(settings: SystemTime, listed: DeviceList | None = None) -> list[Problem]:
    """Return why a NIC should not be taken for a pci_passthru_nic of these settings.

    To be asked before a change alone: that somebody logs in later over a NIC makes no setting
    wrong, and must not keep a clock that runs from being looked after.
    """
    if not settings.enabled:
        return []
    listed = listed or shipped()
    passed = DeviceType.PCI_PASSTHRU_NIC
    ports = [one for one in _ports(settings) if one[1].device_type is passed]
    known = _looked_at(ports, listed, everything=True) if ports else {}
    return [
        problem
        for where, port in ports
        if port.device in known
        for problem in passed_through(where, port, known[port.device], listed)
    ]


def notices(settings: SystemTime, listed: DeviceList | None = None) -> list[str]:
    """Return what is to be known of the devices of these settings, though they work."""
    if not settings.enabled:
        return []
    listed = listed or shipped()
    ports = _ports(settings)
    known = _looked_at(ports, listed)
    return [
        f"PTP port {port.index} ({port.device}): {notice}"
        for _, port in ports
        if port.device in known
        for notice in remarks(port, known[port.device], settings.options.ptp4l, listed)
    ]


def _ports(settings: SystemTime) -> list[tuple[str, PtpPort]]:
    ports = enumerate(settings.ptp_config.port)
    return [(f"ptp_config.port[{at}]", port) for at, port in ports if port.device]


def _looked_at(
    ports: Iterable[tuple[str, PtpPort]], listed: DeviceList, *, everything: bool = False
) -> dict[str, Nic]:
    """Return the inventory of the ports' devices, empty where the kernel does not tell.

    What rests on what, and management, take a look at `everything`.
    """
    try:
        if everything:
            ours = [address.ip for _, port in ports for address in port.ip_config.interfaces()]
            observed = inventory.observe(ours)
        else:
            observed = inventory.observe_some({port.device for _, port in ports})
        return {nic.name: nic for nic in inventory.nics(observed, listed)}
    except ChronovisorError:  # the cheap probe's answer is enough to go on with
        return {}


def judge(
    where: str, port: PtpPort, seen: Device | None, nic: Nic | None, listed: DeviceList
) -> Iterator[Problem]:
    """Yield what keeps a port's device from doing what is asked of it."""
    label = f"PTP port {port.index} ({port.device})"
    if seen is None:
        text = f"{label}: there is no such device on this host{_driverless(listed)}"
        known = ", ".join(name for name in names() if name != "lo")
        yield Problem(f"{where}.device", text, port.device, known)
        return
    if not seen.up:
        hint = f"bring it up with `ip link set {port.device} up`"
        yield Problem(f"{where}.device", f"{label}: the device is down; {hint}", port.device)
        return
    if problem := _stamps(f"{where}.time_stamping", label, port, seen, nic, listed):
        yield problem


def _driverless(listed: DeviceList) -> str:
    """Return words about a listed NIC without a driver, which may be the one that is missing."""
    found = inventory.without_device((), pci.network_functions(), listed)
    without = [nic for nic in found if nic.listed and not nic.driver]
    return "".join(
        f"; PCI device {nic.pci_address} ({nic.model}) has no driver: "
        "load it with `visorctl clock devices --load`"
        for nic in without[:1]
    )


def _stamps(
    where: str, label: str, port: PtpPort, seen: Device, nic: Nic | None, listed: DeviceList
) -> Problem | None:
    asked = port.time_stamping.value
    if port.time_stamping is TimeStamping.HARDWARE and not seen.hardware_stamps:
        text = f"{label}: the device makes no hardware time stamps{_why(nic, listed)}; "
        text += "set time_stamping to software or pick another NIC"
        return Problem(where, text, asked, "software" if seen.software_stamps else "")
    if port.time_stamping is TimeStamping.SOFTWARE and not seen.software_stamps:
        text = f"{label}: the device's driver makes no software transmit stamps; pick another NIC"
        return Problem(where, text, asked)
    return None


def _why(nic: Nic | None, listed: DeviceList) -> str:
    driver = listed.driver(nic.identity, nic.driver) if nic else None
    if nic is None or driver is None:
        return ""
    if driver.mock:
        return f", for {nic.model or nic.driver} is a mock device without a clock of its own"
    what = f"{nic.model} (driver {nic.driver})" if nic.model else f"driver {nic.driver}"
    reason = f": {driver.lacking}" if driver.lacking else ""
    return f", although {what} is listed as one that does{reason}"


def passed_through(where: str, port: PtpPort, nic: Nic, listed: DeviceList) -> Iterator[Problem]:
    """Yield why a NIC should not be taken for a pci_passthru_nic; the port may accept it."""
    label, accept = f"PTP port {port.index} ({port.device})", f"{where}.accept"
    if nic.management and DeviceRisk.MANAGEMENT_NIC not in port.accept:
        yield Problem(
            f"{where}.device",
            f"{label}: the host's own management uses this NIC: {nic.management}; "
            f"pick another one, or set {accept} to [{DeviceRisk.MANAGEMENT_NIC.value}]",
            port.device,
        )
    driver = listed.driver(nic.identity, nic.driver)
    due = driver.clock_function if driver else None
    own = nic.function if not nic.physical_function else None
    if due is None or not nic.pci_address or own == due or DeviceRisk.OTHER_FUNCTION in port.accept:
        return
    found = f"function {own}" if own is not None else f"a virtual function of its {_last(nic)}"
    yield Problem(
        f"{where}.device",
        f"{label}: {nic.pci_address} is {found}, and driver {nic.driver} needs function {due}, "
        f"which owns the clock; pick that one, or set {accept} to "
        f"[{DeviceRisk.OTHER_FUNCTION.value}]",
        port.device,
    )


def _last(nic: Nic) -> str:
    return f"function {nic.physical_function.rpartition('.')[2]}"


def one_clock(settings: SystemTime, seen: Mapping[str, Device | None]) -> Iterator[Problem]:
    """Yield ports whose PHC is not the first port's where boundary_clock_jbod forbids that.

    ptp4l ends at its start then. It takes the clock of its first port for its own.
    """
    whole: OptionValue = settings.options.ptp4l.get("boundary_clock_jbod", 1)
    first: tuple[PtpPort, int] | None = None
    for port in settings.ptp_config.active_ports():
        device = seen.get(port.device)
        phc = device.phc_index if device else None
        if phc is None or port.time_stamping is not TimeStamping.HARDWARE:
            continue
        first = first or (port, phc)
        jbod = port.options.get("boundary_clock_jbod", whole)
        if phc == first[1] or str(jbod) not in ("0", "False") or "phc_index" in port.options:
            continue
        place = "options.ptp4l"
        if "boundary_clock_jbod" in port.options:
            place = f"ptp_config.port[{settings.ptp_config.port.index(port)}].options"
        yield Problem(
            f"{place}.boundary_clock_jbod",
            f"PTP port {port.index} ({port.device}) has clock /dev/ptp{phc}, port "
            f"{first[0].index} ({first[0].device}) /dev/ptp{first[1]}; ptp4l takes ports with "
            "different clocks only with boundary_clock_jbod 1: leave the option out",
            str(jbod),
            "1",
        )


def remarks(
    port: PtpPort, nic: Nic, options: Mapping[str, OptionValue], listed: DeviceList
) -> Iterator[str]:
    """Yield what is to be known of a port's device."""
    if port.time_stamping is TimeStamping.SOFTWARE:
        if nic.hardware_stamps:
            yield (
                f"stamps in software though the NIC has a clock (/dev/ptp{nic.phc_index}); "
                "time_stamping hardware is a hundred times as precise"
            )
        return
    if not nic.listed and not nic.kind and nic.hardware_stamps:
        what = nic.identity or nic.driver
        yield f"{what} is not in the device list; run `visorctl clock preflight {nic.name}`"
    for quirk in listed.quirks(nic.identity, nic.driver):
        for name, least in quirk.options.items():
            given = options.get(name)
            if given is None or not _reaches(given, least):
                yield f"{quirk.text}; set options.ptp4l.{name} to {least} ({quirk.source})"


def _reaches(given: OptionValue, least: int) -> bool:
    try:
        return int(str(given), 0) >= least
    except ValueError:  # judged elsewhere
        return True
