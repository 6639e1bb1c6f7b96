"""Learning who announces, from the packets of a real grandmaster."""

import asyncio
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.ptp import Announcers, AnnounceSource, MacAddress, ManagementClient
from chronovisor.clock.ptp.datasets import ParentDataSet
from chronovisor.errors import NotFound, Unavailable

DEADLINE_S = 30
ANNOUNCE = bytes.fromhex(
    "0b02004000000008000000000000000000000000eefcdffffe6930ee000100ff05fe"
    "000000000000000000000025006 4f8feffff80eefcdffffe6930ee0000a0".replace(" ", "")
)


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for a state; the caller has the deadline."""
    while not (found := condition()):  # noqa: ASYNC110  # the state is in the kernel
        await asyncio.sleep(0.02)
    return found


@pytest.fixture
def crowd(release: Any) -> None:
    """Needs no linuxptp: run once, whatever builds there are."""
    if release.is_3 is False:
        pytest.skip("does not depend on linuxptp")


async def learn(announcers: Announcers) -> AnnounceSource:
    async with asyncio.timeout(DEADLINE_S):
        await until(announcers.sources)
    return announcers.sources()[-1]


@pytest.mark.parametrize("transport", ["UDPv4", "UDPv6", "L2"])
async def test_the_grandmasters_address(site: Any, transport: str) -> None:
    site.start("master", "m1", priority1="100", network_transport=transport)
    site.start("slave", "s1", slaveOnly="1", network_transport=transport)
    mac = site.ip("master", "-br", "link", "show", "m1").split()[2]
    with site.inside("slave"):
        async with Announcers("s1") as announcers:
            source = await learn(announcers)
            async with (
                ManagementClient(site.socket("slave"), local_directory=site.directory) as client,
                asyncio.timeout(DEADLINE_S),
            ):
                parent = await client.get(ParentDataSet)
                while parent.parent_port_identity != source.port_identity:
                    await asyncio.sleep(0.05)
                    parent = await client.get(ParentDataSet)
            assert announcers.find(parent.parent_port_identity) is not None
            assert announcers.find(parent.parent_port_identity, 0) is not None
            assert announcers.find(parent.parent_port_identity, 1) is None
    assert str(source.link_address) == mac
    expected = {"UDPv4": "192.0.2.17", "UDPv6": "fe80::1:1", "L2": mac}[transport]
    assert str(source.address) == expected
    assert source.grandmaster_identity == parent.grandmaster_identity
    assert source.announce.grandmaster_priority1 == 100
    assert source.steps_removed == 0
    assert announcers.rejected == 0


def udp(address: str, target: str, data: bytes, port: int = 320) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.sendto(data, (target, port))


def received(announcers: Announcers) -> int:
    """Return what the filter has let through so far, wanted or not."""
    return announcers.rejected + len(announcers.sources())


@pytest.mark.usefixtures("crowd")
async def test_the_filter_passes_announces_alone(site: Any) -> None:
    sync = b"\x00" + ANNOUNCE[1:]
    long = bytearray(b"\x0b" * 4000)
    # What the second fragment begins with looks like a UDP header to port 320 and an Announce.
    long[1480 - 8 : 1480 + 1] = bytes.fromhex("0140 0140 0100 0000 0b")
    with site.inside("slave"):
        async with Announcers("s1") as announcers, asyncio.timeout(DEADLINE_S):
            with site.inside("master"):
                for port in (319, 320, 321):
                    udp("192.0.2.17", "192.0.2.18", sync, port)
                udp("192.0.2.17", "192.0.2.18", ANNOUNCE, 319)
                udp("192.0.2.17", "192.0.2.18", b"", 320)
                udp("192.0.2.17", "192.0.2.18", bytes(long), 320)
                with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as raw:
                    for ethertype, data in ((0x88F7, sync), (0x1234, ANNOUNCE), (0x0800, b"E")):
                        raw.sendto(data, ("m1", ethertype, 0, 0, b"\xff" * 6))
                udp("192.0.2.17", "192.0.2.18", ANNOUNCE)  # unicast
            udp("192.0.2.18", "192.0.2.17", ANNOUNCE)  # our own, going out
            await until(announcers.sources)
            (source,) = announcers.sources()
            assert source.address == ip_address("192.0.2.17")
            # Only the first fragment of the long one looks like an Announce, and is none.
            assert announcers.rejected == 1


@pytest.mark.usefixtures("crowd")
async def test_hostile_announces_and_a_bounded_table(site: Any) -> None:
    with site.inside("slave"):
        async with Announcers("s1", capacity=8) as announcers, asyncio.timeout(DEADLINE_S):
            with site.inside("master"):
                for cut in range(1, 64):
                    udp("192.0.2.17", "192.0.2.18", ANNOUNCE[:cut])
            await until(lambda: announcers.rejected == 63)
            with site.inside("master"):
                for port in range(100):
                    udp(
                        "192.0.2.17",
                        "192.0.2.18",
                        ANNOUNCE[:28] + struct.pack(">H", port) + ANNOUNCE[30:],
                    )
            await until(
                lambda: (
                    [s.port_identity.port_number for s in announcers.sources()]
                    == list(range(92, 100))
                )
            )


@pytest.mark.usefixtures("crowd")
async def test_down_up_gone_and_back(site: Any) -> None:
    with site.inside("slave"):
        async with Announcers("s1") as announcers, asyncio.timeout(DEADLINE_S):

            async def heard(port: int) -> None:
                data = ANNOUNCE[:28] + struct.pack(">H", port) + ANNOUNCE[30:]
                while port not in {s.port_identity.port_number for s in announcers.sources()}:
                    with site.inside("master"):
                        udp("192.0.2.17", "192.0.2.18", data)
                    await asyncio.sleep(0.02)

            await heard(1)
            site.ip("slave", "link", "set", "s1", "down")
            trouble = await until(lambda: announcers.trouble)
            assert isinstance(trouble, Unavailable)
            assert "s1: Network is down" in trouble.message
            site.ip("slave", "link", "set", "s1", "up")
            await heard(2)
            assert announcers.trouble is None
            site.ip("slave", "link", "del", "s1")
            await until(lambda: isinstance(announcers.trouble, NotFound))
            site.link(1)
            await until(lambda: not isinstance(announcers.trouble, NotFound))
            await heard(3)


async def test_a_device_that_does_not_exist() -> None:
    with pytest.raises(NotFound, match="network device nosuch0 does not exist"):
        async with Announcers("nosuch0"):
            pass


def test_addresses_are_written_as_people_write_them() -> None:
    assert str(MacAddress(b"\x02\0\x5e\0\x53\x01")) == "02:00:5e:00:53:01"
    assert Path("/proc/net/packet").exists(), "the kernel has packet sockets"
