"""Several ports, on clocks of their own or on one: the time handed on, and one port taking over.

And that a clock which nobody has set yet is no source of time, whatever ptp4l's ports are called.
"""

from pathlib import Path

import pytest

from chronovisor.clock.profiles import ProfileName
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import OWN, Nic, Port
from hwsim.hosts import Host, host_in, settings
from hwsim.ptp import UDP_E2E, grandmaster, ptp4l
from hwsim.rendered import end, first_state, follow, serving, until_state
from visords import short_directory, until

pytestmark = pytest.mark.long

LIMIT_NS = 10_000
TELECOM = ProfileName.G_8275_1
GOAL_S = 0.6
"""What a takeover is to take at telecom rates; printed beside what it took, not asserted."""

FAR_NS = 100 * 10**9
"""How far a clock is off that nobody has set."""

NOTHING_NS = 10_000_000
"""What the system clock may move against the raw clock by its own rate: far less than a step."""

PATIENCE = 10
"""Announce messages that may be late in a busy guest; the most that the profile allows."""


def cabled(*ports: Port) -> None:
    for port in ports:
        port.do(delay_ns=300)


@pytest.mark.parametrize("clock", [OWN, 1], ids=["a clock for each port", "one clock"])
def test_a_boundary_clock_hands_the_time_on(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path, clock: int
) -> None:
    master, upper, lower, client = simulate(
        Nic(), Nic(15_000, phc=clock), Nic(-8_000, phc=clock), Nic(5_000)
    )
    top, middle, bottom = namespace(), namespace(), namespace()
    top.take(master)
    middle.take(upper)
    middle.take(lower)
    bottom.take(client)
    cabled(master, upper, lower, client)
    truth.step(master.clock, truth.UTC_OFFSET_NS)
    grandmaster(top, master, tmp_path, *serving(TELECOM), "--clockClass=6")
    text = follow(
        middle,
        [upper, lower],
        tmp_path,
        port={"options": {"announceReceiptTimeout": PATIENCE}},
        profile=TELECOM.value,
        role="boundary",
    )
    assert ("boundary_clock_jbod 1" in text) == (clock == OWN)
    for port in (upper, lower):
        taken_s = truth.until_within(LIMIT_NS, port.clock, master.clock)
        print(f"{port.name} agrees after {taken_s:.1f} s more")
    # Only now: a clock that followed before would have to walk the first step of those above.
    words = ("--slaveOnly=1", *serving(TELECOM), f"--announceReceiptTimeout={PATIENCE}")
    ptp4l(bottom, [client], tmp_path, *words, name="client")
    taken_s = truth.until_within(LIMIT_NS, client.clock, master.clock)
    print(f"{client.name} agrees after {taken_s:.1f} s more")
    truth.until_within(2 * LIMIT_NS, "realtime", master.clock, -truth.UTC_OFFSET_NS)
    until_state(tmp_path, 1, "SLAVE")
    until_state(tmp_path, 2, "MASTER", "GRAND_MASTER")
    worst = {port.name: truth.worst(port.clock, master.clock) for port in (upper, lower, client)}
    print(f"from the grandmaster at most, in ns: {worst}")
    assert max(worst.values()) <= LIMIT_NS


def test_the_other_port_takes_over(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    first, one, other, second = simulate(Nic(), Nic(15_000), Nic(-8_000), Nic())
    left, ours, right = namespace(), namespace(), namespace()
    left.take(first)
    ours.take(one)
    ours.take(other)
    right.take(second)
    cabled(first, one, other, second)
    truth.step(first.clock, truth.UTC_OFFSET_NS)
    truth.step(second.clock, truth.exact(first.clock, second.clock))
    # By clockClass: the alternate BMCA knows no priority1.
    grandmaster(left, first, tmp_path, *serving(TELECOM), "--clockClass=6", name="gm1")
    grandmaster(right, second, tmp_path, *serving(TELECOM), "--clockClass=7", name="gm2")
    follow(ours, [one, other], tmp_path, profile=TELECOM.value)
    for port in (one, other):
        truth.until_within(LIMIT_NS, port.clock, first.clock)
    truth.until_within(2 * LIMIT_NS, "realtime", first.clock, -truth.UTC_OFFSET_NS)
    until_state(tmp_path, 1, "SLAVE")
    killed_s = end(left.processes[0])
    taken_s = first_state(tmp_path, 2, killed_s, "UNCALIBRATED", "SLAVE") - killed_s
    worst_ns = truth.worst("realtime", second.clock, -truth.UTC_OFFSET_NS, for_s=10.0)
    locked_s = first_state(tmp_path, 2, killed_s, "SLAVE") - killed_s
    for port in (one, other):
        truth.until_within(LIMIT_NS, port.clock, second.clock)
    print(
        f"the other grandmaster chosen after {taken_s:.3f} s (goal {GOAL_S} s), "
        f"followed after {locked_s:.3f} s; the system clock at most {worst_ns} ns off meanwhile"
    )
    assert worst_ns < 1_000_000


def port_states(host: Host) -> list[str]:
    """Return the state of each port of a host."""
    return [port["state"] for port in host.clock()["ports"]]


@pytest.mark.parametrize(
    ("role", "clock", "lonely"),
    [("boundary", 1, "MASTER"), ("client", OWN, "LISTENING")],
    ids=["boundary clock", "client with two clocks"],
)
def test_a_clock_that_nobody_has_set_is_not_followed(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path, role: str, clock: int, lonely: str
) -> None:
    """phc2sys takes a port in state MASTER for a source, and with `-a` any clock if none is."""
    master, upper, lower, lowest = simulate(
        Nic(), Nic(15_000, phc=clock), Nic(-8_000, phc=clock), Nic()
    )
    top, ours = namespace(), namespace()
    top.take(master, "10.0.0.1/24")
    ours.take(upper, "10.0.0.2/24")
    ours.take(lower, "10.0.1.2/24")
    cabled(master, upper, lower, lowest)
    truth.step(master.clock, truth.UTC_OFFSET_NS)
    for name in {upper.clock, lower.clock}:
        truth.step(name, truth.UTC_OFFSET_NS + FAR_NS)
    with short_directory() as base, host_in(base, ours) as host:
        wanted = settings(upper, lower)
        wanted["ptp_config"]["role"] = role
        before_ns = truth.exact("realtime", "raw")
        host.set_clock(wanted)
        until("no port has a master", lambda: lonely in port_states(host))
        moved_ns = truth.worst("realtime", "raw", before_ns, for_s=5.0)
        assert moved_ns < NOTHING_NS, "a clock that nobody has set was followed"
        assert "phc2sys" not in host.do("world", "list")
        grandmaster(top, master, tmp_path, *UDP_E2E)
        host.until_locked()
        for port in (upper, lower):
            truth.until_within(LIMIT_NS, port.clock, master.clock)
        truth.until_within(2 * LIMIT_NS, "realtime", master.clock, -truth.UTC_OFFSET_NS)
