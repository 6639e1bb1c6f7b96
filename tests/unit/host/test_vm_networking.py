"""How the store's values come to the net plane, and which are refused before they are stored."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.engine import Engine
from chronovisor.config import Change, Commit, ConfigStore, KeyChange, KeyPath, SqliteBackend
from chronovisor.errors import InvalidInput
from chronovisor.host.schema import registry
from chronovisor.host.vm_networking import ClashGate, NetChange, VmNetworkingSource
from chronovisor.net.plane import NetPlane
from chronovisor.net.settings import Metadata, Port, VmNetworking
from chronovisor.worlds import Supervisor

NET, ENABLED = "host/net/networks/net", "host/net/vm_networking"
NETWORK = {"subnets": [{"prefix": "10.5.0.0/16", "gateway": "10.5.0.1"}]}


def port(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "network": "net",
        "addresses": [f"10.5.0.{number + 1}"],
    } | changes


class Host:
    """A store and the plane that follows it."""

    def __init__(self, base: Path) -> None:
        self.store = ConfigStore(
            SqliteBackend(base / "config.db"), registry(Engine(base)), gate=ClashGate()
        )
        self.plane = NetPlane(Supervisor(base / "worlds"), base, base, lambda _, __: None)
        self.source = VmNetworkingSource(self.store, self.plane)

    def commit(self, **values: Any) -> Commit:
        """Commit values by the ends of their paths, as `ports__vm1`."""
        changes = [
            Change(f"host/net/{name.replace('__', '/')}", value) for name, value in values.items()
        ]
        commit = self.store.commit(changes, author="test")
        self.source.committed(NetChange.of(commit))
        return commit

    def refusal(self, name: str, value: Any) -> list[str]:
        return self.refused(lambda: self.commit(**{name.replace("/", "__"): value}))

    def refused(self, change: Callable[[], object]) -> list[str]:
        """Return the problems of a change, which leaves everything as it is."""
        before = self.store.revision
        with pytest.raises(InvalidInput) as caught:
            change()
        assert self.store.revision == before
        return [str(problem) for problem in caught.value.problems]

    def load(self, **values: Any) -> Commit:
        """Import a document with more values."""
        settings = {f"host/net/{name.replace('__', '/')}": value for name, value in values.items()}
        text = json.dumps({"chronovisor_config": 1, "settings": settings})
        return self.store.import_document(text, author="test", replace=False)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    made.commit(networks__net=NETWORK, ports__vm1=port(1), vm_networking={"enabled": True})
    yield made
    made.store.close()


def test_commits_are_followed(host: Host) -> None:
    assert host.plane.enabled
    assert [*host.plane.intent.ports] == ["vm1"]
    host.commit(ports__vm2=port(2), ports__vm1=None)
    assert [*host.plane.intent.ports] == ["vm2"]
    host.commit(vm_networking={"enabled": False}, ports__vm3=port(3))
    assert not host.plane.enabled
    assert [*host.plane.intent.ports] == ["vm2", "vm3"]


def test_a_commit_is_read_before_the_event_loop_has_it(host: Host) -> None:
    commit = host.commit(ports__vm2=port(2), metadata={"enabled": False})
    found = NetChange.of(commit)
    assert isinstance(found.values["host/net/ports/vm2"], Port)
    assert (found.settings, found.metadata) == (None, Metadata(enabled=False))
    gone = NetChange.of(host.commit(ports__vm2=None, metadata=None, vm_networking=None))
    assert gone == NetChange({"host/net/ports/vm2": None}, VmNetworking(), Metadata())
    assert not host.plane.enabled


def test_a_value_that_is_none_any_more_is_refused_and_not_lost(host: Host) -> None:
    change = KeyChange(KeyPath.parse("host/net/ports/old"), None, {"device": "tap9"})
    commit = replace(host.commit(ports__vm2=port(2)), changes=(change,))
    host.source.committed(NetChange.of(commit))
    assert "host/net/ports/old" in host.plane.intent.refused


def test_a_restart_knows_the_same(host: Host) -> None:
    host.commit(networks__other=NETWORK)
    host.commit(ports__vm2=port(2, enabled=False), ports__vm3=port(3, network="other"))
    host.commit(networks__other=None)
    again = NetPlane(Supervisor(Path("worlds")), Path(), Path(), lambda _, __: None)
    VmNetworkingSource(host.store, again).apply()
    assert again.intent == host.plane.intent
    assert again.enabled


def test_a_rollback_is_followed(host: Host) -> None:
    revision = host.store.revision
    host.commit(ports__vm1=port(1, addresses=["10.5.0.99"]), networks__other=NETWORK)
    host.source.committed(NetChange.of(host.store.rollback(revision, author="test")))
    assert [str(one) for one in host.plane.intent.ports["vm1"].addresses] == ["10.5.0.2"]
    assert [*host.plane.intent.networks] == ["net"]


def test_a_clash_is_refused_with_its_field(host: Host) -> None:
    assert host.refusal("ports/vm2", port(1)) == [
        "device: port vm1 has device tap1 already",
        "mac: port vm1 has mac 02:00:00:00:00:01 already",
        "addresses[0]: port vm1 has address 10.5.0.2 already",
    ]
    assert host.refusal("ports/vm2", port(2, network="nowhere", security_groups=["no"])) == [
        "security_groups[0]: there is no security group no that holds",
        "network: there is no network nowhere that holds",
    ]
    network = {"subnets": [{"prefix": "10.5.0.0/16", "gateway": "10.5.0.0"}]}
    assert host.refusal("networks/net", network) == [
        "subnets[0].gateway: gateway 10.5.0.0 is the network address of 10.5.0.0/16"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ports/vm1", port(1, addresses=["10.5.0.7"])),
        ("ports/vm2", port(2)),
        ("ports/vm1", None),
        ("networks/net", None),  # health names the port that this leaves without a network
        ("networks/net", {"subnets": [{"prefix": "10.6.0.0/16", "gateway": "10.6.0.1"}]}),
        ("vm_networking", {"enabled": False}),
        ("metadata", {"enabled": False}),
    ],
)
def test_what_clashes_with_nothing_is_fine(host: Host, name: str, value: Any) -> None:
    host.commit(**{name.replace("/", "__"): value})


def test_a_clash_is_refused_on_every_way_into_the_store(host: Host) -> None:
    revision = host.store.revision
    assert host.refused(
        lambda: host.load(ports__vm2=port(2), ports__vm3=port(3, device="tap2"))
    ) == ["host/net/ports/vm3: device: port vm2 has device tap2 already"]
    both = {"ports__vm2": port(2, mac=port(1)["mac"]), "ports__vm3": port(3, network="no")}
    assert [one.split(": ")[0] for one in host.refused(lambda: host.commit(**both))] == [
        "host/net/ports/vm2",
        "host/net/ports/vm3",
    ]
    host.commit(ports__vm1=None)
    host.commit(ports__vm2=port(2, addresses=port(1)["addresses"]))
    path = "host/net/ports/vm1"
    back = partial(host.store.rollback, revision, author="test", path=path)
    assert host.refused(back) == [f"{path}: addresses[0]: port vm2 has address 10.5.0.2 already"]
    host.store.rollback(revision, author="test")  # as a whole it fits


def test_ports_may_swap_what_they_have_in_one_change(host: Host) -> None:
    host.commit(ports__vm2=port(2))
    host.commit(ports__vm1=port(2), ports__vm2=port(1))
    assert host.plane.intent.ports["vm1"].device == "tap2"


def test_commits_of_other_processes_count(host: Host) -> None:
    database = host.store
    rival = ConfigStore(SqliteBackend(Path(database._backend.name)), registry(Engine(Path("/"))))
    rival.commit([Change("host/net/ports/vm2", port(2))], author="another process")
    rival.close()
    said = host.refusal("ports/vm3", port(3, device="tap2"))
    assert said == ["device: port vm2 has device tap2 already"]
