"""Time from NIC clocks: visord's ptp4l and phc2sys beside the same two started by hand.

There are NIC clocks only in the test bed: this boots a guest of QEMU and measures in it, with the
simulation's own comparison of clocks. Stamps are exact there, programs ten times slower: figures
in ns are the servos' work, figures in s have the emulation in them, and ratios are what to compare.
What visord costs is measured outside, see `bench.cost`.
"""

import json
import statistics

from bench import cost
from bench.clock_hardware_guest import (
    LOCKED_NS,
    MARK,
    PATIENCE,
    RUNS,
    STEADY_S,
    Figures,
)
from bench.guest import said_in_guest
from bench.result import Row, progress, row


def measure() -> list[Row]:
    """Return what a guest measured, and visord's cost on this machine."""
    progress(f"a guest with simulated NICs, {RUNS} runs of each kind by turns (some minutes)")
    figures = json.loads(said_in_guest("bench.clock_hardware_guest", MARK))
    ours, plain = ([Figures(*one) for one in figures[kind]] for kind in ("ours", "plain"))
    return [*_rows(ours, plain), *_native()]


def _native() -> list[Row]:
    """Return what visord costs on this machine, where nothing is emulated."""
    watching, memory = cost.watching_rows()
    millicores = 10 * watching["ours"]
    note = f"this machine, software stamps; {watching['note']}"
    return [
        row("CPU of visord at 16 Hz", millicores, "millicores", goal="< 20", note=note),
        row("visord resident memory", memory["ours"], "MiB", goal="< 80 MiB", note="this machine"),
    ]


def _rows(ours: list[Figures], plain: list[Figures]) -> list[Row]:
    rows = []
    for clock in LOCKED_NS:
        note = f"emulated; from ptp4l's start to within {LOCKED_NS[clock]} ns for good"
        taken_s = [statistics.median(one.lock_s[clock] for one in each) for each in (ours, plain)]
        rows.append(row(f"time to lock, {clock}", taken_s[0], "s", peer=taken_s[1], note=note))
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            ns = [_quantile(each, clock, share) for each in (ours, plain)]
            note = f"emulated; true offset in {RUNS} x {STEADY_S:g} s at 16 Hz"
            rows.append(row(f"{clock} to grandmaster, {name}", ns[0], "ns", peer=ns[1], note=note))
    for name, what, goal in (
        ("failover: the other grandmaster chosen", "chosen_s", "< 0.6 s"),
        ("failover: its offsets steer the clock", "followed_s", ""),
    ):
        s = [statistics.median(getattr(one, what) for one in each) for each in (ours, plain)]
        note = f"emulated; G.8275.1, announceReceiptTimeout {PATIENCE}"
        rows.append(row(name, s[0], "s", goal=goal, peer=s[1], note=note))
    ns = [max(one.transient_ns for one in each) for each in (ours, plain)]
    note = "emulated; system clock, worst of 10 s after the grandmaster died"
    rows.append(row("failover: transient", ns[0], "ns", peer=ns[1], note=note))
    cpu = {name: statistics.median(one.cpu[name] for one in ours) for name in ours[0].cpu}
    note = f"emulated, at 16 Hz; ptp4l {cpu['ptp4l']:.3g} %, phc2sys {cpu['phc2sys']:.3g} %"
    rows.append(
        row("CPU of visord beside ptp4l's", cpu["visord"], "%", peer=cpu["ptp4l"], note=note)
    )
    return rows


def _quantile(each: list[Figures], clock: str, share: float) -> float:
    ordered = sorted(offset for one in each for offset in one.offsets_ns[clock])
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])
