"""Addresses of a PTP device, given by netlink in a namespace of the test's own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

SCRIPT = """
import asyncio
from ipaddress import ip_interface
from chronovisor.clock import addresses
from chronovisor.clock.plan import AssignAddress

wanted = [ip_interface("192.0.2.7/24"), ip_interface("2001:db8::7/64")]

async def give():  # in a thread below a running loop, as visord does it
    for address in wanted:
        await asyncio.to_thread(addresses.apply, AssignAddress("ptp0", address, "test"))
        await asyncio.to_thread(addresses.apply, AssignAddress("ptp0", address, "again"))
    return await asyncio.to_thread(addresses.observe, ["ptp0"])

assert {("ptp0", address) for address in wanted} <= asyncio.run(give())
try:
    addresses.apply(AssignAddress("ptp9", wanted[0], "no such device"))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"cv-address-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        link = ["link", "add", "ptp0", "type", "veth", "peer", "name", "far0"]
        subprocess.run(["ip", "-n", name, *link], check=True)
        subprocess.run(
            ["ip", "-n", name, "address", "add", "192.0.2.1/24", "dev", "ptp0"], check=True
        )
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_missing_addresses_are_added_and_those_of_others_stay(namespace: str) -> None:
    run = ["ip", "netns", "exec", namespace, sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ToolFailed cannot assign 192.0.2.7/24 to ptp9: no such device\n"
    show = ["ip", "-n", namespace, "-json", "address", "show", "dev", "ptp0"]
    found = json.loads(subprocess.run(show, capture_output=True, check=True).stdout)
    local = {one["local"] for one in found[0]["addr_info"]}
    assert {"192.0.2.1", "192.0.2.7", "2001:db8::7"} <= local
