"""PTP profiles through `visorctl` and the API of a running visord."""

import json
from pathlib import Path
from typing import Any

import pytest

from visords import KEY, MONITORED, Visord

WORDS = ("-c", "host", "-g", "system", "-k", "system_time")


def document(profile: str, **port: Any) -> dict[str, Any]:
    ports = [{"index": 0, "device": "lo", **port}]
    return MONITORED | {"ptp_config": {"profile": profile, "port": ports}}


def shown(visord: Visord, *words: str) -> Any:
    return json.loads(visord.do("clock", "profile", *words, "--format", "json"))


def test_profiles_are_listed_and_shown_with_their_clauses(shared: Visord) -> None:
    assert "ITU-T G.8275.1" in shared.do("clock", "profile", "list")
    text = shared.do("clock", "profile", "show", "g.8275.1")
    assert "network_transport" in text
    assert "24..43" in text
    boundary = shown(shared, "show", "G.8275.1", "--role", "boundary")
    (priority,) = [one for one in boundary["options"] if one["option"] == "priority2"]
    assert (priority["value"], priority["allowed"]) == ("128", "anything")


def test_profiles_are_compared(shared: Visord) -> None:
    found = shown(shared, "diff", "AES67", "ST2059-2")
    (domain,) = [one for one in found["differences"] if one["option"] == "domainNumber"]
    assert (domain["value"], domain["other"], domain["allowed"]) == ("0", "127", True)
    shared.client.call("PUT", KEY, MONITORED)
    assert "E2E" in shared.do("clock", "profile", "diff", "default-p2p")
    shared.client.call("PUT", KEY, document("default-p2p"))
    assert "nothing differs" in shared.do("clock", "profile", "diff", "default-p2p")


def test_an_unknown_profile_names_the_known_ones(shared: Visord) -> None:
    code, _, errors = shared.ctl("clock", "profile", "show", "G.8275.9")
    assert (code, "C37.238" in errors) == (4, True), errors


def test_every_value_shows_that_it_is_the_profiles(shared: Visord) -> None:
    value = document("ST2059-2", options={"logAnnounceInterval": -1})
    shared.client.call("PUT", KEY, value)
    rows = shared.client.get(f"{KEY}/effective")
    origins = {row["field"]: (row["value"], row["origin"]) for row in rows}
    assert origins["ptp_config.domain"] == (127, "profile:ST2059-2")
    assert origins["options.ptp4l.logSyncInterval"] == (-3, "profile:ST2059-2")
    assert origins["ptp_config.port[0].network_transport"] == ("UDPv4", "profile:ST2059-2")
    assert origins["ptp_config.port[0].options.logAnnounceInterval"] == (-1, "store")
    assert origins["log_level"] == (6, "default")
    assert "profile:ST2059-2" in shared.do("config", "current", "get", *WORDS, "--effective")
    # What was stored is what was given, and the file to export has only that, too
    assert shared.client.get(KEY)["value"] == value
    assert shared.do("clock", "trx-conf", "export") == "ptp4l:port0:logAnnounceInterval -1\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            document("802.1AS", delay_mechanism="E2E"),
            "delay_mechanism E2E contradicts profile 802.1AS, which has P2P",
        ),
        (
            document("G.8275.1", options={"network_transport": "UDPv4"}),
            "network_transport UDPv4 contradicts profile G.8275.1, which has L2",
        ),
        (document("G.8275.2"), "name the port's masters"),
    ],
)
def test_a_contradiction_is_refused_and_what_runs_goes_on(
    shared: Visord, value: dict[str, Any], said: str
) -> None:
    shared.client.call("PUT", KEY, MONITORED)
    code, _, errors = shared.ctl("config", "current", "set", *WORDS, "--value", json.dumps(value))
    assert (code, said in errors) == (3, True), errors
    assert shared.client.get(KEY)["value"] == MONITORED


def test_a_line_of_trx_conf_that_contradicts_is_named(shared: Visord, tmp_path: Path) -> None:
    shared.client.call("PUT", KEY, document("AES67"))
    file = tmp_path / "my.conf"
    file.write_text("\nptp4l:logSyncInterval 5\n")
    code, _, errors = shared.ctl("clock", "trx-conf", "check", str(file))
    said = "my.conf:2:7: logSyncInterval 5 contradicts profile AES67, which has -4..1"
    assert (code, said in errors) == (3, True), errors


def test_ptp4l_runs_with_the_profile(shared: Visord) -> None:
    plan = shared.client.call("POST", "/v1/clock/plan", {"value": document("default-p2p")})
    assert [one["kind"] for one in plan][:1] == ["WriteFile"]
    shared.client.call("PUT", KEY, document("ST2059-2"))
    shared.until_status("ptp4l answers for the domain", lambda now: now["clock_identity"])
    assert shared.status()["domain"] == 127
    file = shared.run / "clock" / "ptp4l.conf"
    assert "domainNumber 127\n" in file.read_text()
