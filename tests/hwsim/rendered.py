"""ptp4l and phc2sys in the guest, told what Chronovisor makes of settings; no visord in between."""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

from chronovisor.clock.catalogue import Release, catalogue
from chronovisor.clock.linuxptp import Paths, check_settings, render
from chronovisor.clock.profiles import ProfileName, PtpRole, profile
from chronovisor.clock.settings import SystemTime
from hwsim.devices import Namespace, Port, run
from hwsim.ptp import PATIENT

_LINE = re.compile(r"ptp4l\[(\d+\.\d+)\]: port (\d+)[^:]*: (\w+) to (\w+) on")


def follow(
    namespace: Namespace,
    ports: list[Port],
    directory: Path,
    *,
    port: dict[str, Any] | None = None,
    **config: Any,
) -> str:
    """Run the daemons that a host of these ports and `ptp_config` has; return ptp4l's file.

    What they say is in `ptp4l.log` and `phc2sys.log`.
    """
    listed = [
        {"index": index, "device": one.name, "time_stamping": "hardware", **(port or {})}
        for index, one in enumerate(ports)
    ]
    # Log lines tell the time of each state; a guest without KVM is late with transmit stamps.
    settings = SystemTime.model_validate(
        {
            "enabled": True,
            "ptp_config": {"port": listed, **config},
            "options": {"ptp4l": PATIENT, "phc2sys": {"sanity_freq_limit": 0}},
        }
    )
    release = Release.parse(run("ptp4l", "-v"))
    assert check_settings(settings, catalogue(release)) == []
    clocks = {one.name: one.phc_number for one in ports if one.phc_number is not None}
    daemons = render(settings, release, Paths(directory), clocks)
    for daemon in daemons:
        daemon.path.write_text(daemon.text)
        namespace.start(*daemon.argv, log=directory / f"{daemon.program}.log")
    return daemons[0].text


def serving(name: ProfileName) -> list[str]:
    """Return what a plain ptp4l is told on its command line to serve under a profile."""
    left_out = {"priority1", "priority2", "clientOnly", "gmCapable", "power_profile.version"}
    options = profile(name).options(PtpRole.BOUNDARY)
    return [f"--{one.name}={one.text}" for one in options if one.name not in left_out]


def states(directory: Path) -> list[tuple[float, int, str]]:
    """Return each change of a port's state: CLOCK_MONOTONIC in seconds, port, new state."""
    said = (directory / "ptp4l.log").read_text(errors="replace")
    return [(float(at), int(number), after) for at, number, _, after in _LINE.findall(said)]


def until_state(directory: Path, number: int, *wanted: str, deadline_s: float = 60.0) -> float:
    """Wait until a port is last said to be in one of these states; return since when."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        mine = [change for change in states(directory) if change[1] == number]
        if mine and mine[-1][2] in wanted:
            return mine[-1][0]
        time.sleep(0.05)
    raise AssertionError(f"port {number} is not {wanted}: {states(directory)}")


def first_state(
    directory: Path, number: int, since_s: float, *wanted: str, deadline_s: float = 60.0
) -> float:
    """Wait until a port has been in one of these states since then; return when it first was.

    What comes after is another matter: in a busy guest a master soon counts as lost again.
    """
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        for at_s, which, state in states(directory):
            if which == number and at_s >= since_s and state in wanted:
                return at_s
        time.sleep(0.05)
    raise AssertionError(f"port {number} was not {wanted} since {since_s}: {states(directory)}")


def end(process: "subprocess.Popen[bytes]") -> float:
    """Kill a process of the test's; return when, by CLOCK_MONOTONIC."""
    process.kill()
    now_s = time.monotonic()
    process.wait()
    return now_s
