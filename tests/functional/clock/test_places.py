"""Devices in a container's network are found from outside; one that ended is no harm."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chronovisor.clock.devices import inventory, places
from chronovisor.clock.devices.places import anywhere
from chronovisor.clock.devices.probe import device
from chronovisor.errors import ToolFailed

DEVICE = "cvinside0"


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Yield the pinned network of container `w`, with a device in it."""
    known = {"w": tmp_path / "netns"}
    known["w"].touch()
    make = f"ip link add {DEVICE} type veth peer name cvpeer0; ip link set {DEVICE} up"
    subprocess.run(["unshare", f"--net={known['w']}", "sh", "-ec", make], check=True)
    before = places._networks
    places.look_into(lambda: known)
    try:
        yield known
    finally:
        places.look_into(before)
        device("nosuch")  # lets go of the network
        subprocess.run(["umount", tmp_path / "netns"], capture_output=True, check=False)


def _index() -> int | None:
    """Return the device's index in the network of the thread that asks."""
    return {name: index for index, name in socket.if_nameindex()}.get(DEVICE)


def test_a_device_in_there_is_found(pins: dict[str, Path]) -> None:
    found = device(DEVICE)
    assert found is not None
    assert (found.up, found.software_stamps) == (True, True)
    index, place = anywhere(_index)
    assert index
    assert str(place) == "container w"
    assert _index() is None
    (nic,) = [nic for nic in inventory.inventory(functions=list) if nic.name == DEVICE]
    assert (nic.place, nic.kind, nic.master, nic.rests_on) == ("container w", "veth", "", ())
    assert [*inventory.observe_some({DEVICE, "lo"}).places] == [DEVICE]
    assert set(pins) == {"w"}


def test_our_own_devices_come_first(pins: dict[str, Path]) -> None:
    del pins
    assert anywhere(lambda: "here") == ("here", None)
    assert not [
        nic for nic in inventory.inventory(functions=list) if nic.place and nic.name == "lo"
    ]


def test_a_network_that_ended_is_no_harm(pins: dict[str, Path]) -> None:
    assert device(DEVICE)
    subprocess.run(["umount", pins["w"]], check=True)
    assert device(DEVICE) is None  # the pin is a plain file now
    with pytest.raises(ToolFailed, match="cannot enter the network of"):
        places.places()[0].ask(lambda: 1)
    pins["w"].unlink()
    assert device(DEVICE) is None
    with pytest.raises(ToolFailed, match="cannot open"):
        places.places()[0].ask(lambda: 1)


def test_what_a_question_raises_is_raised(pins: dict[str, Path]) -> None:
    del pins
    with pytest.raises(OSError, match=r"[Nn]o (such|interface)"):
        places.places()[0].ask(lambda: socket.if_nametoindex("nosuch"))
