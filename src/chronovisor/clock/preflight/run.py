"""One preflight: refuses what is in use, exercises the NIC, and leaves it as it was found."""

import time
from pathlib import Path

from chronovisor.clock.devices import inventory, probe
from chronovisor.clock.devices.inventory import Nic
from chronovisor.clock.devices.listing import DeviceList
from chronovisor.clock.preflight import hwtstamp, measure
from chronovisor.clock.preflight.measure import Progress
from chronovisor.clock.preflight.phc import Phc
from chronovisor.clock.preflight.report import Figures, Report, report
from chronovisor.errors import Conflict, InvalidInput, NotFound, ToolFailed, Unavailable

CARRIER_S = 10.0
"""How long a link may take to come back: some NICs reset it when stamping is turned on."""


def examined(device: str, listed: DeviceList, *, force: bool) -> Nic:
    """Return the NIC to exercise.

    Raises `NotFound`, `InvalidInput` for one that cannot be exercised, and `Conflict` for one that
    management depends on, unless forced.
    """
    nics = {nic.name: nic for nic in inventory.nics(inventory.observe(), listed)}
    nic = nics.get(device)
    if nic is None:
        hint = f"devices here: {', '.join(nics) or 'none'}"
        raise NotFound(f"there is no network device {device} on this host", hint=hint)
    if not nic.up:
        hint = f"bring it up with `ip link set {device} up`"
        raise InvalidInput(f"{device} is down", hint=hint)
    if not nic.hardware_stamps or nic.phc_index is None:
        why = f": {'; '.join(nic.notices)}" if nic.notices else ""
        text = f"{device} makes no hardware time stamps, so there is nothing to exercise{why}"
        raise InvalidInput(text, hint="`visorctl clock devices` shows what each NIC can do")
    if nic.management and not force:
        hint = "pick another NIC, or use --force: some NICs lose their link for a moment"
        text = f"{device}: the host's own management uses this NIC: {nic.management}"
        raise Conflict(text, hint=hint)
    return nic


def preflight(
    device: str,
    listed: DeviceList,
    records: Path,
    progress: Progress,
    *,
    count: int = 100,
    listen_s: float = 5.0,
    force: bool = False,
) -> Report:
    """Exercise a NIC and return what was found; `records` is where hwtstamp keeps its own.

    Takes `listen_s` seconds and about 20 ms for each of `count` messages. Raises what `examined`
    and the kernel have against it.
    """
    nic = examined(device, listed, force=force)
    try:
        return _exercised(nic, listed, records, progress, count, listen_s, force=force)
    except BrokenPipeError:  # whoever asked has gone
        raise
    except OSError as error:  # unplugged, or brought down meanwhile
        text = f"{device} went away during the preflight: {error.strerror}"
        raise ToolFailed(text) from error


def _exercised(
    nic: Nic,
    listed: DeviceList,
    records: Path,
    progress: Progress,
    count: int,
    listen_s: float,
    *,
    force: bool,
) -> Report:
    device = nic.name
    assert nic.phc_index is not None
    wanted = hwtstamp.wanted(nic.rx_filters)
    with Phc(nic.phc_index) as phc:
        found = hwtstamp.read(device)
        with hwtstamp.turned_on(device, wanted, records, force=force) as config:
            _wait_for_carrier(nic)
            mac = bytes.fromhex(nic.mac.replace(":", ""))
            progress("read", 0, 1)
            costs = tuple(phc.costs())
            capabilities, frequency_ppb = phc.capabilities(), phc.frequency_ppb()
            sent = measure.transmit(device, mac, phc, count, progress)
            received = measure.receive(device, phc, listen_s, progress)
        after = hwtstamp.read(device)
    return report(
        Figures(
            nic,
            sent,
            received,
            measure.link_mode(device),
            capabilities,
            frequency_ppb,
            costs,
            stamping=str(config),
            put_back=str(after if after is not None else found or "off"),
        ),
        listed,
    )


def _wait_for_carrier(nic: Nic) -> None:
    """Return when the link that was there is there again."""
    deadline_s = time.monotonic() + CARRIER_S
    while nic.link_up:
        seen = probe.device(nic.name)
        if seen is not None and seen.link_up:
            return
        if seen is None or time.monotonic() > deadline_s:
            raise Unavailable(f"{nic.name}: the link went away when stamping was turned on")
        time.sleep(0.05)
