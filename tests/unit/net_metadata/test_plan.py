"""From the intent to what the proxy reads: files, changes, the world."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError
from chronovisor.net.intent import Intent, changed
from chronovisor.net.metadata.plan import (
    Observed,
    RemoveFile,
    Rendered,
    RunProxy,
    StopProxy,
    Wanted,
    WriteFile,
    guests_after,
    plan,
    state_of,
    want,
    wanted_of,
    world,
)
from chronovisor.net.metadata.state import Guest, Nova, Service
from chronovisor.net.settings import PORTS, Metadata
from metadata_guests import guest, intent, port

JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)

NOVA = {"url": "http://controller:8775", "shared_secret": "s3cret"}


def test_guest_has_what_the_port_has() -> None:
    found = guest()
    assert (found.port, found.device, found.instance_id) == ("vm10", "tap10", "i-0010")
    assert found.sources == ("10.1.0.10", "2001:db8:1::a")
    assert found.full_name == "vm10.example.org"
    assert found.interfaces[0].mtu == 1450
    assert [one.kind for one in found.interfaces[0].assignments] == [
        "ipv4_dhcp",
        "ipv6_dhcpv6-stateful",
    ]


def test_port_without_instance_is_its_own() -> None:
    found = guest(instance=None, hostname=None)
    assert (found.instance_id, found.named, found.hostname) == ("vm10", False, "host-10-1-0-10")


def test_second_address_of_a_family_is_set_by_the_vm() -> None:
    found = guest(addresses=["10.1.0.10", "10.1.0.11"])
    assert [one.kind for one in found.interfaces[0].assignments] == ["ipv4_dhcp", "ipv4"]


def test_ports_of_one_instance_appear_together() -> None:
    pair = intent(port(10), port(11, instance={"id": "i-0010"}), port(12))
    state = state_of(pair, Metadata())
    assert state is not None
    for one in ("vm10", "vm11"):
        assert [each.port for each in state.guests[one].interfaces] == ["vm10", "vm11"]
    assert guests_after(pair, ["vm11", "gone"]) == {
        "vm10": state.guests["vm10"],
        "vm11": state.guests["vm11"],
        "gone": None,
    }


def test_files_kept_from_before_are_those_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def to_json(one: Guest, render: Callable[[Guest], str] = Guest.to_json) -> str:
        made.append(one.port)
        return render(one)

    monkeypatch.setattr(Guest, "to_json", to_json)
    kin = {"instance": {"id": "i-0010"}}
    start = intent(port(10), port(11, **kin), port(12))
    everybody = ["vm10", "vm11", "vm12"]
    wide = start.networks["blue"].model_copy(update={"mtu": 9000})
    spec, rendered = world(Path("/run/md")), Rendered()
    steps: list[tuple[Intent, list[str]]] = [
        (start, everybody),
        (start, []),
        (changed(start, {f"{PORTS}/vm12": port(12, hostname="new")}), ["vm12"]),
        (changed(start, {f"{PORTS}/vm11": port(11, **kin, hostname="x")}), everybody),
        (changed(start, {f"{PORTS}/vm11": None}), ["vm10"]),
        (start, ["vm10", "vm11"]),
        (replace(start, networks={"blue": wide}), everybody),
    ]
    for now, anew in steps:
        made.clear()
        found = want(now, Metadata(), spec, rendered)
        assert sorted(made) == anew
        assert found == wanted_of(state_of(now, Metadata()), spec)
    assert want(start, Metadata(enabled=False), spec, rendered) == Wanted()


def test_binary_user_data() -> None:
    found = guest(instance={"id": "i", "user_data_base64": "H4sIAAAA/w=="})
    assert found.user_data == b"\x1f\x8b\x08\x00\x00\x00\xff"
    assert Guest.from_json(found.to_json()) == found


def test_guest_and_service_go_to_json_and_back() -> None:
    two = state_of(
        intent(port(10), port(11, instance={"id": "i-0010", "tags": {"a": "b"}})), _nova()
    )
    assert two is not None
    for one in two.guests.values():
        assert Guest.from_json(one.to_json()) == one
    assert Service.from_json(two.service.to_json()) == two.service
    assert two.service == Service(Nova("http://controller:8775", "s3cret", 10.0))
    assert Service.from_json(Service().to_json()) == Service()


def _nova() -> Metadata:
    return Metadata.model_validate({"nova": NOVA})


@given(JSON)
def test_other_json_is_refused_as_such(document: object) -> None:
    with pytest.raises(ProtocolError):
        Guest.from_json(json.dumps(document))
    if document != {"nova": None}:
        with pytest.raises(ProtocolError):
            Service.from_json(json.dumps(document))


@given(st.binary())
def test_garbage_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Guest.from_json(data)


def test_nothing_to_do_when_all_is_there() -> None:
    wanted = _wanted()
    assert wanted.spec is not None
    assert plan(wanted, Observed(wanted.files, wanted.spec.generation)) == []


def test_one_change_writes_one_file() -> None:
    wanted = _wanted()
    assert wanted.spec is not None
    there = dict(wanted.files) | {"ports/vm10.json": "old"}
    actions = plan(wanted, Observed(there, wanted.spec.generation))
    assert actions == [WriteFile("ports/vm10.json", wanted.files["ports/vm10.json"], "it changed")]


def test_first_start_writes_before_it_runs() -> None:
    actions = plan(_wanted(), Observed())
    assert [type(one) for one in actions] == [WriteFile, WriteFile, WriteFile, RunProxy]
    assert [str(one) for one in actions][-1] == "run net-metadata"


@pytest.mark.parametrize("in_sync", [True, False])
def test_nothing_goes_before_the_first_full_sync(in_sync: bool) -> None:
    wanted = _wanted()
    assert wanted.spec is not None
    there = dict(wanted.files) | {"ports/other.json": "{}"}
    actions = plan(wanted, Observed(there, wanted.spec.generation), in_sync=in_sync)
    assert actions == ([RemoveFile("ports/other.json", "no port needs it")] if in_sync else [])


def test_switched_off() -> None:
    settings = Metadata(enabled=False)
    off = wanted_of(state_of(intent(port(10)), settings), world(Path("/run/md")))
    assert off == Wanted()
    actions = plan(off, Observed({"ports/vm10.json": ""}, "x"))
    assert [type(one) for one in actions] == [StopProxy, RemoveFile]
    assert plan(off, Observed({"ports/vm10.json": ""}, "x"), in_sync=False) == []


def test_world_of_another_directory_or_user_is_another() -> None:
    specs = [world(Path("/a")), world(Path("/b")), world(Path("/a"), uid=None)]
    assert len({spec.generation for spec in specs}) == 3


def test_secrets_do_not_show() -> None:
    state = state_of(intent(port(10)), _nova())
    assert "s3cret" not in repr(state)
    assert "cloud-config" not in repr(state)
    write = WriteFile("service.json", "s3cret", "it is new")
    assert "s3cret" not in f"{write} {write!r}"
    assert replace(write, reason="") != write


def _wanted() -> Wanted:
    return wanted_of(state_of(intent(port(10), port(11)), Metadata()), world(Path("/run/md")))
