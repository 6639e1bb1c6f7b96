"""`visorctl esxcli system ptp port set` against a visord that others change too."""

from typing import Any

import pytest

from chronovisor.cli import esxcli
from chronovisor.errors import Conflict, InvalidInput

PATH = "host/system/system_time"


class Store:
    """A client of a visord that has nothing but ports; somebody may change them after a read."""

    def __init__(self, ports: list[dict[str, Any]]) -> None:
        self.ports = ports
        self.revision = 7
        self.meanwhile: list[dict[str, Any]] | None = None

    def get(self, path: str) -> Any:
        if path == "/v1/health":
            return {"store_revision": self.revision}
        assert path == "/v1/config"
        read = [{"path": PATH, "value": {"ptp_config": {"port": self.ports}}}]
        if self.meanwhile is not None:
            self.ports, self.revision = self.meanwhile, self.revision + 1
        return read

    def call(self, method: str, path: str, body: Any, query: dict[str, Any]) -> None:
        assert (method, path) == ("PATCH", f"/v1/config/{PATH}")
        if query["expected_revision"] != self.revision:
            raise Conflict("changed meanwhile")
        self.ports = body["ptp_config.port"]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store([{"index": 0, "device": "eth0", "time_stamping": "hardware"}])
    monkeypatch.setattr(esxcli, "Client", lambda: store)
    return store


def test_a_port_is_changed_and_keeps_the_rest(store: Store) -> None:
    esxcli.port_set(0, "eth9", "pci-passthru-nic")
    assert store.ports == [
        {
            "index": 0,
            "device": "eth9",
            "time_stamping": "hardware",
            "device_type": "pci_passthru_nic",
        }
    ]


def test_a_port_is_added_in_its_place(store: Store) -> None:
    store.ports[0]["index"] = 5
    esxcli.port_set(2, "eth2", None)
    assert [port["index"] for port in store.ports] == [2, 5]


def test_a_port_without_a_device_type_loses_its_device(store: Store) -> None:
    esxcli.port_set(0, None, "none")
    assert store.ports == [{"index": 0, "time_stamping": "hardware", "device_type": "none"}]


def test_a_change_between_read_and_write_is_not_lost(store: Store) -> None:
    store.meanwhile = [{"index": 0, "device": "eth0"}, {"index": 1, "device": "eth1"}]
    with pytest.raises(Conflict):
        esxcli.port_set(0, "eth9", None)
    assert store.ports == store.meanwhile


def test_a_device_type_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="'nic' is no device type"):
        esxcli.port_set(0, "eth9", "nic")
    assert store.revision == 7
