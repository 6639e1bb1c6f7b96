"""The installed ptp4l and phc2sys start with what we render, and refuse what we refuse.

In a network namespace of the test's own. ptp4l gets `--free_running=1` on its command line, which
locks it: no clock is ever touched, whatever the settings say. phc2sys has no NIC with a clock
here and ends, or waits for a ptp4l that is not there.
"""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chronovisor.clock.catalogue import Catalogue, Release, catalogue
from chronovisor.clock.linuxptp import (
    Paths,
    Rendered,
    check_settings,
    installed_release,
    render,
    render_ptp4l,
)
from chronovisor.clock.settings import (
    Discipline,
    Options,
    PassthroughOptions,
    PtpConfig,
    PtpPort,
    SystemTime,
    TimeStamping,
    Transport,
)
from chronovisor.errors import NotFound, ToolFailed

DEADLINE_S = 20
LINKS = """
ip link set lo up
ip link add pa type veth peer name pb && ip link set pa up && ip link set pb up
ip address add 192.0.2.1/24 dev pa && ip address add 192.0.2.2/24 dev pb
echo ready; read end
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[int]:
    """Give the pid of a process in a network namespace with a veth pair `pa`, `pb`."""
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-ec", LINKS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "ready\n"
        yield holder.pid
        holder.stdin.close()


@pytest.fixture
def paths() -> Iterator[Paths]:
    with TemporaryDirectory(prefix="cv-", dir="/tmp") as directory:  # short: it holds sockets
        yield Paths(Path(directory))


@pytest.fixture(scope="module")
def known() -> Catalogue:
    said = subprocess.run(["ptp4l", "-v"], capture_output=True, text=True, check=True)
    return catalogue(Release.parse(said.stdout))


@contextmanager
def running(namespace: int, argv: tuple[str, ...]) -> Iterator[Iterator[str]]:
    """Run a daemon in the namespace; give its lines, which end with it or at the deadline."""
    command = ["nsenter", f"--net=/proc/{namespace}/ns/net", *argv]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        deadline = threading.Timer(DEADLINE_S, process.kill)
        deadline.start()
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            deadline.cancel()
            process.kill()


def first_with(lines: Iterator[str], *words: str) -> str:
    """Return the first line with one of the words; fails with all lines when there is none."""
    seen = []
    for line in lines:
        seen.append(line)
        if any(word in line for word in words):
            return line
    raise AssertionError(f"no line with {words}:\n{''.join(seen)}")


def safe(rendered: Rendered) -> tuple[str, ...]:
    rendered.path.write_text(rendered.text)
    return (*rendered.argv, "--free_running=1")


def host(
    *ports: PtpPort,
    ptp4l: Options | None = None,
    phc2sys: Options | None = None,
    discipline: Discipline = Discipline.MONITOR,
    domain: int = 0,
    calibration_delay_ns: int = 0,
) -> SystemTime:
    return SystemTime(
        enabled=True,
        discipline=discipline,
        ptp_config=PtpConfig(domain=domain, port=ports or (port(0),)),
        calibration_delay_ns=calibration_delay_ns,
        options=PassthroughOptions(ptp4l=ptp4l or {}, phc2sys=phc2sys or {}),
    )


def port(
    index: int,
    stamping: TimeStamping = TimeStamping.SOFTWARE,
    transport: Transport = Transport.UDP_IPV4,
    **options: str,
) -> PtpPort:
    return PtpPort(
        index=index,
        device="pb" if index else "pa",
        time_stamping=stamping,
        network_transport=transport,
        options=dict(options),
    )


STARTS = {
    "default": host(),
    "steering": host(discipline=Discipline.SYSTEM_CLOCK),
    "domain": host(domain=127, calibration_delay_ns=-1_000_000_000),
    "two ports": host(port(0), port(1)),
    "L2 and P2P": host(port(0, transport=Transport.ETHERNET, delay_mechanism="p2p")),
    "UDPv6": host(port(0, transport=Transport.UDP_IPV6, udp6_scope="0x0E")),
    "fast": host(
        port(0, logSyncInterval="-3", logMinDelayReqInterval="-3", logAnnounceInterval="-2")
    ),
    "texts": host(ptp4l={"userDescription": "rack 4; ünit 7", "productDescription": "a;b;c"}),
    "identity": host(ptp4l={"clockIdentity": "001122.fffe.334455"}),
    "802.1AS": host(port(0, follow_up_info="1"), ptp4l={"gmCapable": 0, "transportSpecific": 1}),
    "fixed roles": host(port(0, BMCA="noop")),
    "servo": host(ptp4l={"clock_servo": "linreg", "step_threshold": 0.00001}),
    "may serve": host(ptp4l={"slaveOnly": 0, "priority1": "0x7f"}),
    "boundary": host(port(0), port(1), ptp4l={"clock_type": "BC"}),
    "transparent": host(
        port(0, delay_mechanism="P2P"),
        port(1, delay_mechanism="P2P"),
        ptp4l={"clock_type": "P2P_TC"},
    ),
    "no requests": host(port(0, inhibit_delay_req="1", asCapable="true")),
}


@pytest.mark.parametrize("wanted", STARTS.values(), ids=STARTS)
def test_ptp4l_starts(wanted: SystemTime, known: Catalogue, namespace: int, paths: Paths) -> None:
    assert check_settings(wanted, known) == []
    with running(namespace, safe(render_ptp4l(wanted, known.release, paths))) as lines:
        for number, _ in enumerate(wanted.ptp_config.port, start=1):
            started = first_with(lines, f"port {number}: ", f"port {number} (")
            assert "INITIALIZING to FAULTY" not in started
        socket = first_with(lines, "port 0: ", "port 0 (")
        assert "INITIALIZING to LISTENING" in socket
        assert paths.socket.is_socket()


REFUSED = {
    "client only and 802.1AS": host(ptp4l={"slaveOnly": 1, "gmCapable": 0}),
    "one step in software": host(ptp4l={"twoStepFlag": 0}),
    "boundary of one port": host(ptp4l={"clock_type": "BC"}),
    "transparent of one port": host(ptp4l={"clock_type": "E2E_TC"}),
    "transparent, wrong mechanism": host(port(0), port(1), ptp4l={"clock_type": "P2P_TC"}),
    "transparent, mixed mechanisms": host(
        port(0, delay_mechanism="P2P"), port(1), ptp4l={"clock_type": "P2P_TC"}
    ),
    "no role": host(port(0, BMCA="noop"), ptp4l={"slaveOnly": 0}),
    "no requests": host(port(0, inhibit_delay_req="1")),
    "no table": host(port(0, unicast_master_table="1")),
    "product": host(ptp4l={"productDescription": "a"}),
    "revision": host(ptp4l={"revisionData": "a;b;c" + "d" * 40}),
    "description": host(ptp4l={"userDescription": "d" * 129}),
    "manufacturer": host(ptp4l={"manufacturerIdentity": "00:11"}),
    "identity": host(ptp4l={"clockIdentity": "00112233"}),
    "address": host(port(0, transport=Transport.ETHERNET, ptp_dst_mac="01:1B:19")),
    "domain": host(domain=255, ptp4l={"priority1": 300}),
}


@pytest.mark.parametrize("wanted", REFUSED.values(), ids=REFUSED)
def test_ptp4l_refuses_what_we_refuse(
    wanted: SystemTime, known: Catalogue, namespace: int, paths: Paths
) -> None:
    assert check_settings(wanted, known) != []
    with running(namespace, safe(render_ptp4l(wanted, known.release, paths))) as lines:
        first = first_with(lines, "failed to ", "needs", "FAULTY")
        assert "LISTENING" not in first


def quick(index: int) -> PtpPort:
    """Return a port that exchanges eight messages of each kind in a second, over Ethernet."""
    return port(
        index,
        transport=Transport.ETHERNET,
        logSyncInterval="-3",
        logMinDelayReqInterval="-3",
        logAnnounceInterval="-2",
    )


@pytest.mark.parametrize("asymmetry_ns", [2_000_000, -2_000_000])
def test_calibration_delay_is_taken_off_the_measured_offset(
    asymmetry_ns: int, known: Catalogue, namespace: int, paths: Paths
) -> None:
    """Master and host share one clock, so the true offset is 0 and what is measured is ours."""
    serving = host(quick(0), ptp4l={"slaveOnly": 0, "priority1": 1})
    wanted = host(quick(1), calibration_delay_ns=asymmetry_ns)
    with TemporaryDirectory(prefix="cv-", dir="/tmp") as directory:
        master = render_ptp4l(serving, known.release, Paths(Path(directory)))
        own = render_ptp4l(wanted, known.release, paths)
        each = "--summary_interval=-3"  # a line for each Sync
        with (
            running(namespace, safe(master)),
            running(namespace, (*safe(own), each)) as lines,
        ):
            said = first_with(lines, "master offset")
    offset_ns = int(said.split("master offset")[1].split()[0])
    assert -asymmetry_ns - 1_000_000 < offset_ns < -asymmetry_ns + 1_000_000


HARDWARE = TimeStamping.HARDWARE
FOLLOWED = {
    "one port": host(port(0, HARDWARE), discipline=Discipline.SYSTEM_CLOCK),
    "tuned": host(
        port(0, HARDWARE),
        discipline=Discipline.SYSTEM_CLOCK,
        domain=127,
        ptp4l={"transportSpecific": 1},
        phc2sys={
            "R": 8,
            "N": 7,
            "O": -37,
            "u": 1,
            "pi_proportional_const": "0.7",
            "pi_integral_const": 0,
            "step_threshold": 1,
            "clock_servo": "linreg",
            "kernel_leap": False,
        },
    ),
    "several ports": host(port(0, HARDWARE), port(1, HARDWARE), discipline=Discipline.SYSTEM_CLOCK),
}


@pytest.mark.parametrize("wanted", FOLLOWED.values(), ids=FOLLOWED)
def test_phc2sys_takes_ours(
    wanted: SystemTime, known: Catalogue, namespace: int, paths: Paths
) -> None:
    assert check_settings(wanted, known) == []
    _, phc2sys = render(wanted, known.release, paths)
    with running(namespace, safe(phc2sys)) as lines:
        # Past its parser it looks for the source's clock, or for ptp4l.
        first = first_with(lines, "does not have a PHC", "aiting for ptp4l", "usage:", "failed to")
        assert "PHC" in first or "aiting for ptp4l" in first


def test_phc2sys_refuses_a_letter_out_of_range(
    known: Catalogue, namespace: int, paths: Paths
) -> None:
    wanted = host(port(0, HARDWARE), discipline=Discipline.SYSTEM_CLOCK, phc2sys={"N": 0})
    assert check_settings(wanted, known) != []
    _, phc2sys = render(wanted, known.release, paths)
    with running(namespace, safe(phc2sys)) as lines:
        assert "-N: 0 is out of range" in first_with(lines, "-N")


async def test_the_installed_release_is_found(known: Catalogue) -> None:
    assert await installed_release() == known.release


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(NotFound, match="no-such-ptp4l is not installed") as caught:
        await installed_release("no-such-ptp4l")
    assert "apt-get install linuxptp" in (caught.value.hint or "")


async def test_a_program_that_is_no_ptp4l_is_named(tmp_path: Path) -> None:
    hangs = _script(tmp_path / "hangs", "exec sleep 1000")
    with pytest.raises(ToolFailed, match="did not end within"):
        await installed_release(str(hangs), timeout_s=0.2)
    with pytest.raises(ToolFailed, match="printed no version: 'hello'"):
        await installed_release(str(_script(tmp_path / "hello", "echo hello")))
    unusable = tmp_path / "unusable"
    unusable.touch(mode=0o644)
    with pytest.raises(ToolFailed, match="cannot be run: Permission denied"):
        await installed_release(str(unusable))


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
