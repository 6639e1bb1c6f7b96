"""A host of Chronovisor in the guest: visord with all its rights, on a simulated card."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import visords
from chronovisor.errors import ChronovisorError
from hwsim.devices import Namespace, Port
from hwsim.ptp import PATIENT
from visords import Visord


def settings(*ports: Port, **more: Any) -> dict[str, Any]:
    """Return settings of the system clock's time from these ports, stamped in hardware."""
    config = [
        {
            "index": index,
            "device": port.name,
            "device_type": "pci_passthru_nic",
            "time_stamping": "hardware",
            "accept": ["management_nic"],  # the one address of this small host is on it
        }
        for index, port in enumerate(ports)
    ]
    return {
        "enabled": True,
        "discipline": "system_clock",
        "sandbox": "none",  # the emulated machine takes seconds for each container
        "ptp_config": {"port": config},
        "options": {"ptp4l": PATIENT},
        **more,
    }


class Host(Visord):
    """A visord in a namespace of the guest, which may set the system clock."""

    rights = ()

    def __init__(self, base: Path, namespace: Namespace) -> None:
        super().__init__(base)
        self.place = namespace.argv()

    def set_clock(self, values: dict[str, Any]) -> None:
        """Put the time settings through `visorctl clock set`."""
        self.do("clock", "set", *(f"{name}={json.dumps(value)}" for name, value in values.items()))

    def clock(self) -> dict[str, Any]:
        """Return what `visorctl clock status` knows."""
        found: dict[str, Any] = json.loads(self.do("clock", "status", "--format", "json"))
        return found

    def until_locked(self, deadline_s: float = 120.0) -> None:
        """Wait as an operator does: `visorctl clock status --wait locked`."""
        self.do("clock", "status", "--wait", "locked", "--timeout", f"{deadline_s:g}s")

    def world(self, name: str) -> dict[str, Any]:
        """Return a world of visord."""
        found: dict[str, Any] = self.client.get(f"/v1/worlds/{name}")
        return found

    def until_restarted(self, name: str, pid: int) -> dict[str, Any]:
        """Return a world once it runs as another process."""

        def another() -> dict[str, Any] | None:
            with contextlib.suppress(ChronovisorError):
                world = self.world(name)
                if world["state"] == "running" and world["pid"] not in (None, pid):
                    return world
            return None

        return visords.until(f"{name} is back", another)


@contextlib.contextmanager
def host_in(base: Path, namespace: Namespace) -> Iterator[Host]:
    """Run a host; whatever it leaves is ended."""
    host = Host(base, namespace)
    try:
        host.start()
        yield host
    finally:
        host.clear()


def kill(pid: int) -> None:
    """End a process of the test's as a crash does."""
    os.kill(pid, 9)
