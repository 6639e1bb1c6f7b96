"""The plan as a table: what is wanted, what is, what must be done."""

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from chronovisor.clock.plan import Observed, Wanted, WantedDaemon, changes, plan
from chronovisor.worlds import WorldSpec

FILE = Path("/run/x/ptp4l.conf")
PTP4L = WantedDaemon(
    WorldSpec("ptp4l", ("ptp4l",), generation="g1"), FILE, "[global]\n", {"priority1": 128}
)
PHC2SYS = WantedDaemon(
    WorldSpec("phc2sys", ("phc2sys",), generation="p1"), Path("/run/x/phc2sys.conf"), "", {}
)
RELOADING = replace(PTP4L, reloads=True)
FOLLOWER = replace(PHC2SYS, follows="ptp4l")
WANTED = Wanted((PTP4L,))
AGREED = Observed({"ptp4l": "g1"}, {FILE: "[global]\n"}, {"priority1": 128}, frozenset())
NOTHING = Observed({}, {}, {}, frozenset())
ADDRESS = ("eth1", ip_interface("10.0.0.2/24"))


@pytest.mark.parametrize(
    ("wanted", "observed", "actions"),
    [
        pytest.param(Wanted(), NOTHING, [], id="nothing-wanted"),
        pytest.param(WANTED, AGREED, [], id="agreed"),
        pytest.param(WANTED, NOTHING, ["write /run/x/ptp4l.conf", "start ptp4l"], id="cold-start"),
        pytest.param(
            WANTED,
            replace(AGREED, daemons={"ptp4l": "g0"}, files={FILE: "old"}),
            ["write /run/x/ptp4l.conf", "restart ptp4l"],
            id="other-generation",
        ),
        pytest.param(
            WANTED,
            replace(AGREED, files={FILE: "priority1 1"}, live={"priority1": 1}),
            ["write /run/x/ptp4l.conf", "set priority1 128 in the running ptp4l"],
            id="live",
        ),
        pytest.param(
            WANTED,
            replace(AGREED, stuck={"ptp4l": "/dev/ptp0, which it sets, was unplugged"}),
            ["restart ptp4l"],
            id="its-clock-is-gone",
        ),
        pytest.param(WANTED, replace(AGREED, live={}), [], id="silent-ptp4l-is-not-set"),
        pytest.param(
            WANTED, replace(AGREED, files={}), ["write /run/x/ptp4l.conf"], id="file-gone"
        ),
        pytest.param(
            Wanted((RELOADING,)),
            replace(AGREED, files={FILE: "old"}),
            ["write /run/x/ptp4l.conf", "have ptp4l read its file again"],
            id="reloads",
        ),
        pytest.param(
            Wanted((RELOADING,)),
            replace(AGREED, daemons={"ptp4l": "g0"}, files={FILE: "old"}),
            ["write /run/x/ptp4l.conf", "restart ptp4l"],
            id="restarted-it-need-not-reload",
        ),
        pytest.param(Wanted((RELOADING,)), AGREED, [], id="nothing-to-reload"),
        pytest.param(Wanted(), AGREED, ["stop ptp4l"], id="disabled"),
        pytest.param(
            Wanted(),
            replace(AGREED, daemons={"ptp4l": "g1", "phc2sys": "p1"}),
            ["stop phc2sys", "stop ptp4l"],
            id="both-end",
        ),
        pytest.param(
            Wanted((PTP4L, PHC2SYS), (ADDRESS,)),
            NOTHING,
            [
                "assign 10.0.0.2/24 to eth1",
                "write /run/x/ptp4l.conf",
                "start ptp4l",
                "write /run/x/phc2sys.conf",
                "start phc2sys",
            ],
            id="everything",
        ),
        pytest.param(
            Wanted((PTP4L,), (ADDRESS,)),
            replace(AGREED, addresses=frozenset({ADDRESS})),
            [],
            id="address-is-there",
        ),
    ],
)
def test_plan(wanted: Wanted, observed: Observed, actions: list[str]) -> None:
    found = plan(wanted, observed)
    assert [str(action) for action in found] == actions
    assert all(action.reason for action in found)


FOLLOWED = Observed(
    {"ptp4l": "g1", "phc2sys": "p1"},
    {FILE: "[global]\n", PHC2SYS.file: ""},
    {"priority1": 128},
    frozenset(),
)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(
    ("observed", "without", "with_master"),
    [
        pytest.param(
            NOTHING,
            ["write /run/x/ptp4l.conf", "start ptp4l"],
            ["write /run/x/ptp4l.conf", "start ptp4l"],
            id="ptp4l-begins-without-a-master",
        ),
        pytest.param(
            AGREED, [], ["write /run/x/phc2sys.conf", "start phc2sys"], id="it-does-not-run"
        ),
        pytest.param(FOLLOWED, [], [], id="it-runs-on"),
        pytest.param(
            replace(FOLLOWED, files={FILE: "[global]\n"}),
            ["write /run/x/phc2sys.conf"],
            ["write /run/x/phc2sys.conf"],
            id="it-runs-on-and-its-file-is-gone",
        ),
        pytest.param(
            replace(FOLLOWED, daemons={"ptp4l": "g1", "phc2sys": "p0"}),
            ["hold phc2sys"],
            ["restart phc2sys"],
            id="other-generation",
        ),
        pytest.param(
            replace(FOLLOWED, stuck={"phc2sys": "unplugged"}),
            ["hold phc2sys"],
            ["restart phc2sys"],
            id="stuck",
        ),
        pytest.param(
            replace(FOLLOWED, stuck={"ptp4l": "unplugged", "phc2sys": "unplugged"}),
            ["restart ptp4l", "hold phc2sys"],
            ["restart ptp4l", "hold phc2sys"],
            id="both-stuck",
        ),
        pytest.param(
            replace(FOLLOWED, daemons={"ptp4l": "g0", "phc2sys": "p1"}),
            ["restart ptp4l"],
            ["restart ptp4l"],
            id="ptp4l-alone-is-restarted",
        ),
    ],
)
def test_what_follows_starts_with_a_master_alone(
    observed: Observed, without: list[str], with_master: list[str], *, calibrated: bool
) -> None:
    """A NIC's clock that nobody has set yet must not become the system clock's."""
    found = plan(Wanted((PTP4L, FOLLOWER)), replace(observed, calibrated=calibrated))
    assert [str(action) for action in found] == (with_master if calibrated else without)


def test_every_master_of_a_table_counts() -> None:
    table = "[unicast_master_table]\ntable_id 1\nUDPv4 192.0.2.{}\nUDPv4 192.0.2.9\n"
    new = replace(PTP4L, text=table.format(2))
    said = "UDPv4 192.0.2.1, 192.0.2.9 -> 192.0.2.2, 192.0.2.9 on unicast_master_table"
    assert changes(table.format(1), new) == said
