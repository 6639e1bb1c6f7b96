"""A host follows a grandmaster under a profile with hardware time stamps, as the truth says."""

from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.profiles import ProfileName
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Nic
from hwsim.ptp import grandmaster
from hwsim.rendered import follow, serving

pytestmark = pytest.mark.long

LIMIT_NS = 5_000
CABLE_NS = 300
"""60 m; 802.1AS takes more than 800 ns for something else than a cable."""


@pytest.mark.parametrize(
    ("name", "port"),
    [
        (ProfileName.G_8275_1, {}),
        (ProfileName.IEEE_802_1AS, {}),
        (ProfileName.G_8275_2, {"unicast_master_table": {"masters": ["10.0.0.1"]}}),
    ],
    ids=str,
)
def test_a_host_locks_under_a_profile(
    simulate: Simulate,
    namespace: MakeNamespace,
    tmp_path: Path,
    name: ProfileName,
    port: dict[str, Any],
) -> None:
    master, ours = simulate(Nic(), Nic(error_ppb=15_000))
    left, right = namespace(), namespace()
    left.take(master, "10.0.0.1/24")
    right.take(ours, "10.0.0.2/24")
    for one in (master, ours):
        one.do(delay_ns=CABLE_NS)
    truth.step(master.clock, truth.UTC_OFFSET_NS)
    grandmaster(left, master, tmp_path, *serving(name), "--clockClass=6")
    follow(right, [ours], tmp_path, port=port, profile=name.value)
    taken_s = truth.until_within(LIMIT_NS, ours.clock, master.clock)
    truth.until_within(2 * LIMIT_NS, "realtime", master.clock, -truth.UTC_OFFSET_NS)
    worst_ns = truth.worst(ours.clock, master.clock)
    print(f"{name}: locked after {taken_s:.1f} s, then within {worst_ns} ns")
    assert worst_ns <= LIMIT_NS


def test_a_path_that_is_no_cable_keeps_802_1as_from_following(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    """The profile's threshold is in force: the same as above, but for 1.2 us of delay."""
    master, ours = simulate(Nic(), Nic(error_ppb=15_000))
    left, right = namespace(), namespace()
    left.take(master)
    right.take(ours)
    for one in (master, ours):
        one.do(delay_ns=4 * CABLE_NS)
    truth.step(master.clock, truth.UTC_OFFSET_NS)
    grandmaster(left, master, tmp_path, *serving(ProfileName.IEEE_802_1AS), "--clockClass=6")
    follow(right, [ours], tmp_path, profile=ProfileName.IEEE_802_1AS.value)
    with pytest.raises(AssertionError, match="do not agree"):
        truth.until_within(LIMIT_NS, ours.clock, master.clock, deadline_s=20)
