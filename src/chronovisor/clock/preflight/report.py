"""What a preflight's figures mean: findings with reasons, and the options to set.

Pure: the same figures give the same findings.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from chronovisor.clock.devices.inventory import Nic
from chronovisor.clock.devices.listing import DeviceList
from chronovisor.clock.preflight.measure import LinkMode, Receive, Transmit
from chronovisor.clock.preflight.phc import Capabilities, ReadCost

LEAST_TIMEOUT_MS = 10
"""ptp4l's own default from 4.0 on; a shorter one gains nothing."""

MARGIN = 2
"""The time-out is so many times the worst that was seen: a preflight sees a quiet moment."""

OSCILLATOR_PPB = 100_000
"""What an Ethernet clock may be off by (IEEE 802.3 allows 100 ppm)."""

SLOW_READ_NS = 20_000
"""A window this wide hides the microsecond that a clock with hardware stamps is good for."""


class Verdict(StrEnum):
    """How one finding, or the whole, came out; `not_seen` is neither good nor bad."""

    OK = "ok"
    NOT_SEEN = "not_seen"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was measured on one device."""

    nic: Nic
    transmit: Transmit
    receive: Receive
    link: LinkMode
    capabilities: Capabilities
    frequency_ppb: float | None
    costs: tuple[ReadCost, ...]
    stamping: str
    put_back: str


@dataclass(frozen=True, slots=True)
class Report:
    """A preflight's outcome; `options` are those of ptp4l that it found."""

    device: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    options: dict[str, int] = field(default_factory=dict)
    figures: Figures | None = None


def report(figures: Figures, listed: DeviceList) -> Report:
    """Return what the figures mean."""
    findings = (
        *_transmitted(figures.transmit),
        _belongs(figures),
        *_readable(figures.costs),
        _adjustable(figures),
        *_received(figures.receive),
        *_partner(figures),
    )
    order = list(Verdict)
    worst = max((one.verdict for one in findings), key=order.index)
    verdict = Verdict.OK if worst is Verdict.NOT_SEEN else worst
    return Report(figures.nic.name, verdict, findings, options(figures, listed), figures)


def options(figures: Figures, listed: DeviceList) -> dict[str, int]:
    """Return the options of ptp4l that the figures and the device list ask for.

    None for a NIC without stamps, which no option mends.
    """
    if figures.transmit.max_us is None:
        return {}
    worst_ms = math.ceil(figures.transmit.max_us * MARGIN / 1000)
    found = {"tx_timestamp_timeout": max(worst_ms, LEAST_TIMEOUT_MS)}
    for quirk in listed.quirks(figures.nic.identity, figures.nic.driver):
        for name, least in quirk.options.items():
            found[name] = max(found.get(name, least), least)
    return found


def _transmitted(seen: Transmit) -> Iterator[Finding]:
    if not seen.stamped:
        text = f"none of {seen.sent} event messages got a stamp: the NIC makes no transmit stamps"
        yield Finding("transmit", Verdict.FAILED, text)
        return
    figures = f"p50 {seen.p50_us:.0f} µs, p99 {seen.p99_us:.0f} µs, worst {seen.max_us:.0f} µs"
    if seen.lost:
        text = f"{seen.lost} of {seen.sent} event messages got no stamp ({figures}); "
        text += "each makes ptp4l's port faulty"
        yield Finding("transmit", Verdict.FAILED, text)
    else:
        text = f"{seen.stamped} of {seen.sent} event messages stamped: {figures}"
        yield Finding("transmit", Verdict.OK, text)


def _belongs(figures: Figures) -> Finding:
    clock, seen = f"/dev/ptp{figures.nic.phc_index}", figures.transmit
    outside = seen.outside + figures.receive.outside
    total = seen.stamped + figures.receive.stamped
    if not total:
        return Finding("phc", Verdict.NOT_SEEN, f"no stamps to compare with {clock}")
    if outside:
        text = f"{outside} of {total} stamps are not of {clock}, which the driver names as theirs"
        return Finding("phc", Verdict.FAILED, text)
    shared = ", ".join(figures.nic.shares_phc_with)
    text = f"all {total} stamps lie between two readings of {clock}"
    return Finding("phc", Verdict.OK, text + (f", which {shared} shares" if shared else ""))


def _readable(costs: tuple[ReadCost, ...]) -> Iterator[Finding]:
    if not costs:
        yield Finding("phc_read", Verdict.FAILED, "no way to compare the PHC with the system clock")
        return
    best = costs[0]
    text = f"{best.method} within {best.median_ns} ns ({best.min_ns} to {best.max_ns})"
    slow = best.median_ns > SLOW_READ_NS
    verdict = Verdict.WARNING if slow else Verdict.OK
    more = "; the system clock cannot follow more closely than that" if slow else ""
    yield Finding("phc_read", verdict, text + more)


def _adjustable(figures: Figures) -> Finding:
    most, now = figures.capabilities.max_frequency_ppb, figures.frequency_ppb
    text = f"the rate can be changed by {most} ppb"
    text += f", {now:+.0f} in force" if now is not None else ""
    if most < OSCILLATOR_PPB:
        text += f"; an oscillator may need {OSCILLATOR_PPB}"
        return Finding("frequency", Verdict.WARNING, text)
    return Finding("frequency", Verdict.OK, text)


def _received(seen: Receive) -> Iterator[Finding]:
    total = seen.stamped + seen.unstamped
    if not total:
        text = f"no event message came within {seen.listened_s:g} s: nobody sends PTP on this link"
        yield Finding("receive", Verdict.NOT_SEEN, text)
    elif seen.unstamped:
        text = f"{seen.unstamped} of {total} event messages came without a stamp"
        yield Finding("receive", Verdict.FAILED, text)
    else:
        yield Finding("receive", Verdict.OK, f"all {total} event messages came with a stamp")


def _partner(figures: Figures) -> Iterator[Finding]:
    if not figures.nic.link_up:
        yield Finding("link", Verdict.WARNING, "there is no carrier")
        return
    link = figures.link
    speed = f"{link.speed_mbps} Mb/s {link.duplex}".strip() if link.speed_mbps else "carrier"
    verdict = Verdict.WARNING if link.duplex == "half" else Verdict.OK
    yield Finding("link", verdict, speed)
    seen = figures.receive
    if seen.neighbour:
        who = seen.neighbour
        text = f"{who.system or who.chassis}, port {who.port}"
        yield Finding("neighbour", Verdict.OK, text)
    else:
        text = f"no LLDP within {seen.listened_s:g} s"
        yield Finding("neighbour", Verdict.NOT_SEEN, text)
    if seen.sources:
        yield Finding("ptp", Verdict.OK, f"heard {'; '.join(seen.sources)}")
    else:
        yield Finding("ptp", Verdict.NOT_SEEN, "no PTP heard")
