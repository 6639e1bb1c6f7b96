"""Settings changed while the clock runs: what they do, and that it can be undone."""

import json
import os
import signal

from chronovisor.errors import Unavailable
from labs import DEADLINE_S, Host, Lab, until


def test_a_wrong_domain_and_back(host: Host) -> None:
    plan = json.loads(host.do("clock", "plan", "ptp_config.domain=9", "--format", "json"))
    assert "domainNumber" in json.dumps(plan)
    assert host.clock()["domain"] == 0, "a plan touches nothing"
    host.do("clock", "set", "ptp_config.domain=9", "--comment", "a mistake")
    lost = host.until(
        "the reason names both domains",
        lambda now: (
            "no Announce message of domain 9 arrives on eth0" in now["reason"]
            and "of domain 0 from 10.0.0.1" in now["reason"]
        ),
    )
    assert lost["state"] == "holdover"  # it was tracking a moment ago
    code, said, _ = host.run("host", "health")
    assert code == 1
    assert "no Announce message of domain 9" in said
    assert "a mistake" in host.do("config", "history")
    host.do("clock", "set", "ptp_config.domain=0")
    assert host.until_tracking()["domain"] == 0


def test_p2p_for_one_port_by_trx_conf_and_back(host: Host) -> None:
    host.trx_conf.write_text("# this port only\nptp4l:port0:delay_mechanism P2P\n")
    now = host.until_measured_by("P2P")
    assert now["ports"][0]["sent"]["delay_req"] == 0
    assert now["ports"][0]["peer_mean_path_delay_ns"] > 0
    effective = host.do("config", "current", "get", "-c", "esx", "-g", "system",
                        "-k", "system_time", "--effective")  # fmt: skip
    (line,) = (line for line in effective.splitlines() if "options.delay_mechanism" in line)
    assert line.split()[1:] == ['"P2P"', "file:trx.conf:2"]
    assert "ptp4l:port0:delay_mechanism P2P" in host.do("clock", "trx-conf", "export")
    host.trx_conf.unlink()
    host.until_measured_by("E2E")


def test_trx_conf_is_imported_into_the_store(host: Host) -> None:
    host.do("clock", "trx-conf", "import", "-", text="ptp4l=port0:delay_mechanism P2P\r\n")
    host.until_measured_by("P2P")
    history = json.loads(host.do("config", "history", "--format", "json"))
    host.do("config", "rollback", str(history[0]["revision"] - 1))
    host.until_measured_by("E2E")


def test_a_live_change_restarts_nothing(host: Host) -> None:
    pid = host.clock()["engine"]["pid"]
    said = host.do("clock", "plan", "log_level=7")
    host.do("clock", "set", "log_level=7")
    until("nothing is left to do", lambda: host.run("clock", "drift")[0] == 0)
    restarted = host.clock()["engine"]["pid"] != pid
    assert restarted is ("restart of a daemon" in said), "the plan told it beforehand"


def _domain(host: Host) -> int | None:
    try:
        return int(
            host.api.get("/v1/config/host/system/system_time")["value"]["ptp_config"]["domain"]
        )
    except Unavailable:
        return None


def test_a_trial_that_nobody_confirms_goes_back(host: Host) -> None:
    said = host.do("clock", "set", "--try", "1s", "ptp_config.domain=9")
    assert "visorctl config confirm" in said
    until("the old domain is back", lambda: _domain(host) == 0)
    host.until_tracking()


def test_a_trial_goes_back_although_visord_is_killed(host: Host, lab: Lab) -> None:
    # Long enough for visord to be dead and alive again before it ends.
    host.do("config", "current", "set", "-c", "host", "-g", "system", "-k", "system_time",
            "--try", "8s", "ptp_config.domain=9")  # fmt: skip
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    lab.do("up")
    assert "is on trial" in host.do("config", "trial")
    assert _domain(host) == 9
    until("the old domain is back", lambda: _domain(host) == 0, 8 + DEADLINE_S)
    host.until_tracking()


def test_a_trial_that_is_over_while_visord_is_dead_goes_back_at_its_start(
    host: Host, lab: Lab
) -> None:
    host.do("clock", "set", "--try", "100ms", "ptp_config.domain=9")
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    lab.do("up")
    until("the old domain is back", lambda: _domain(host) == 0)
    assert host.do("config", "trial").strip() == "none"


def test_a_confirmed_trial_stays(host: Host) -> None:
    host.do("clock", "set", "--try", "30s", "calibration_delay_ns=1000")
    host.do("config", "confirm")
    assert host.do("config", "trial").strip() == "none"
    entry = host.api.get("/v1/config/host/system/system_time")
    assert entry["value"]["calibration_delay_ns"] == 1000
