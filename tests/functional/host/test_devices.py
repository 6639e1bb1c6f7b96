"""NICs of a namespace under a real visord: inventory, the operator's list, refusals, preflight."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from visords import KEY, Visord, until

ADD = """
ip link add clock0 type veth peer name clock1
ip link add mac0 link clock0 type macvlan
ip link add way0 type veth peer name way1
ip link add bridge0 type bridge
ip link set way1 master bridge0
for name in clock0 clock1 mac0 way0 way1; do ip link set $name up; done
ip address add 192.0.2.2/24 dev mac0
ip address add 198.51.100.2/24 dev way0
ip route add default via 192.0.2.1
"""
REMOVE = "ip link delete clock0; ip link delete way0; ip link delete bridge0"


def inside(visord: Visord, script: str) -> None:
    assert visord.process is not None
    place = ("nsenter", f"--net=/proc/{visord.process.pid}/ns/net", "--", "sh", "-ec", script)
    subprocess.run(place, check=True)


@pytest.fixture
def nics(shared: Visord) -> Iterator[Visord]:
    inside(shared, ADD)
    try:
        yield shared
    finally:
        inside(shared, REMOVE)


def port(device: str, **more: Any) -> dict[str, Any]:
    one = {"index": 0, "device": device, "device_type": "pci_passthru_nic", **more}
    return {"enabled": True, "discipline": "monitor", "ptp_config": {"port": [one]}}


def test_the_inventory_shows_our_namespace_and_what_rests_on_what(nics: Visord) -> None:
    rows = {row["name"]: row for row in json.loads(nics.do("clock", "devices", "--format", "json"))}
    assert {"clock0", "clock1", "mac0", "way0", "way1", "bridge0"} <= set(rows)
    assert not {"lo", "eth0"} & set(rows), "sysfs of another namespace was read"
    assert rows["mac0"]["rests_on"] == ["clock0"]
    assert (rows["bridge0"]["members"], rows["way1"]["master"]) == (["way1"], "bridge0")
    assert rows["clock0"]["driver"] == "veth"
    assert (rows["clock0"]["software_stamps"], rows["clock0"]["phc_index"]) == (True, None)
    assert "default route" in rows["mac0"]["management"]
    assert rows["clock0"]["management"].startswith("mac0 rests on it")
    assert rows["way0"]["management"] == ""
    text = nics.do("clock", "devices")
    assert "clock0" in text
    for form, part in (("yaml", "name: clock0"), ("csv", "\nclock0,"), ("keyvalue", "=clock0")):
        assert part in nics.do("clock", "devices", "--format", form)
    assert "rests_on: clock0" in nics.do("clock", "devices", "mac0")
    assert nics.ctl("clock", "devices", "nosuch0")[0] == 4


def test_a_nic_of_management_is_not_passed_through_unless_accepted(nics: Visord) -> None:
    for device, why in (("mac0", "the default route leaves"), ("clock0", "mac0 rests on it")):
        code, _, answer = nics.ask("PUT", KEY, json.dumps(port(device)).encode())
        assert code == 422
        assert why in answer["detail"]
        assert "accept" in answer["detail"]
    value = port("clock0", accept=["management_nic"])
    assert nics.ask("PUT", KEY, json.dumps(value).encode())[0] == 200


def test_a_wrong_device_list_is_told_and_the_shipped_one_holds(shared: Visord) -> None:
    file = shared.etc / "devices.yaml"
    file.write_text("chronovisor_devices: 1\ndevices:\n  8086:15: {driver: ice, name: X}\n")
    try:

        def told() -> str | None:
            parts = {one["name"]: one for one in shared.client.get("/v1/health")["parts"]}
            reason: str = parts["clock"]["reason"]
            return reason if "devices.yaml" in reason else None

        reason = until("health tells of the list", told)
        assert "devices.yaml: line 3: '8086:15' is no VID:DID" in reason
        assert "the shipped list holds" in reason
        assert shared.ctl("clock", "devices")[0] == 0
    finally:
        file.unlink()
    until("the file is forgotten", lambda: not told())


def test_a_preflight_says_at_once_why_it_cannot_be(nics: Visord) -> None:
    for device, code, said in (
        ("nosuch0", 4, "there is no network device nosuch0 on this host"),
        ("clock0", 3, "clock0 makes no hardware time stamps"),
        ("bridge0", 3, "bridge0 is down"),
    ):
        seen, _, errors = nics.ctl("clock", "preflight", device)
        assert (seen, said in errors) == (code, True), errors
    assert nics.ask("GET", "/v1/clock/devices/clock0/preflight")[0] == 404
    body = b'{"count": 0, "listen_s": -1}'
    assert nics.ask("POST", "/v1/clock/devices/clock0/preflight", body)[0] == 422


def test_a_preflight_leaves_the_devices_of_the_clock_alone(nics: Visord) -> None:
    value = port("clock0", device_type="virtual_nic")
    assert nics.ask("PUT", KEY, json.dumps(value).encode())[0] == 200
    code, _, errors = nics.ctl("clock", "preflight", "clock0")
    assert (code, "the clock of this host uses it" in errors) == (5, True), errors


def test_who_may_only_read_exercises_and_loads_nothing(nics: Visord) -> None:
    for words in (("clock", "preflight", "clock0"), ("clock", "devices", "--load")):
        assert nics.ctl(*words, user=65534)[0] == 6
    assert nics.ctl("clock", "devices", user=65534)[0] == 0
