"""Hardware stamps, a NIC's clock and the system clock, all from containers: judged by the truth."""

from pathlib import Path

from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Nic
from hwsim.hosts import host_in, settings
from hwsim.ptp import UDP_E2E, grandmaster
from visords import short_directory

LIMIT_NS = 10_000
"""System clock to grandmaster: what ptp4l and phc2sys reach under TCG together, with room."""

ADDRESS = "10.0.0.2/24"


def test_ptp4l_and_phc2sys_lock_from_their_containers(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    master, port = simulate(Nic(), Nic(error_ppb=15_000, driver="ice", device=0x1593))
    left, right = namespace(), namespace()
    left.take(master, "10.0.0.1/24")
    right.take(port, ADDRESS)
    for end in (master, port):
        end.do(delay_ns=2_000)
    truth.step(master.clock, truth.UTC_OFFSET_NS + 7 * 10**9)
    grandmaster(left, master, tmp_path, *UDP_E2E)
    with short_directory() as base, host_in(base, right) as host:
        host.set_clock(settings(port, sandbox="crx"))
        host.until_locked(600)
        for clock, expected_ns in ((port.clock, 0), ("realtime", -truth.UTC_OFFSET_NS)):
            truth.until_within(LIMIT_NS, clock, master.clock, expected_ns)
            worst_ns = truth.worst(clock, master.clock, expected_ns)
            print(f"{clock} is within {worst_ns} ns of the grandmaster")
            assert worst_ns <= LIMIT_NS
        found = {one["name"]: one for one in host.client.get("/v1/crx")}
        rights = {name: set(one["capabilities"]) for name, one in found.items()}
        assert rights == {
            "ptp4l": {"CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN"},
            "phc2sys": {"CAP_SYS_TIME"},
        }
        assert "net" in found["ptp4l"]["namespaces"]
        (row,) = [one for one in host.client.get("/v1/clock/devices") if one["name"] == port.name]
        assert row["place"] == "container ptp4l"
