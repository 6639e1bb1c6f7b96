"""A real chronyd that only measures: what it says, read by our own client; servers that lie."""

import asyncio
import contextlib
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ntp_server
from chronovisor.clock.arbiter.trust import doubt
from chronovisor.clock.chrony import daemon
from chronovisor.clock.chrony.client import ChronyClient
from chronovisor.clock.chrony.daemon import Paths
from chronovisor.clock.chrony.directives import ALLOWED, FLAGS
from chronovisor.clock.chrony.observe import NtpReading, evidence, read
from chronovisor.clock.chrony.protocol import SourceState
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import ChronovisorError, Unavailable

DEADLINE_S = 40.0
pytestmark = pytest.mark.skipif(not shutil.which("chronyd"), reason="chrony is not installed")


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a directory which chronyd's own user may pass through."""
    with tempfile.TemporaryDirectory(prefix="chrony-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def inside() -> Iterator[tuple[str, ...]]:
    """Yield the words that lead into a network namespace of the test's own."""
    name = f"chrony-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextlib.contextmanager
def measuring(
    place: Path, inside: tuple[str, ...], servers: list[str], *options: str
) -> Iterator[Paths]:
    """Have chronyd measure against servers, touching no clock."""
    place.mkdir(exist_ok=True)
    paths = Paths(place)
    # In a container its pid file would be in a /tmp of its own
    one = {"enabled": True, "discipline": "monitor", "protocol": "ntp", "sandbox": "none"}
    server = [{"address": address, "min_poll": 0, "max_poll": 1} for address in servers]
    settings = SystemTime.model_validate({**one, "ntp_config": {"server": server}})
    paths.config.write_text(daemon.config_text(settings, paths, steers=False, may_step=True))
    argv = daemon.argv(paths, steers=False)
    assert "-x" in argv
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen([*inside, *argv, *options], stdout=log, stderr=log) as process,
    ):
        try:
            yield paths
        finally:
            process.terminate()


def reading_once(paths: Paths, what: str, met: Callable[[NtpReading], object]) -> NtpReading:
    """Return what chronyd says as soon as it is so."""
    deadline = time.monotonic() + DEADLINE_S
    seen: object = None
    while time.monotonic() < deadline:
        try:
            reading = asyncio.run(read(paths.socket))
        except ChronovisorError as error:
            seen = error
        else:
            if met(reading):
                return reading
            seen = reading
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}; the last was {seen}")


def followed(reading: NtpReading) -> bool:
    """Return whether a source is selected."""
    return evidence(reading).available


def test_what_chronyd_says_is_what_is(place: Path, inside: tuple[str, ...]) -> None:
    ahead_s = 0.25
    with (
        ntp_server.running("127.0.0.1", offset_ns=int(ahead_s * 1e9), inside=inside),
        measuring(place, inside, ["127.0.0.1"]) as paths,
    ):
        reading = reading_once(paths, "the server is followed", followed)
    found = evidence(reading)
    assert found.offset_s == pytest.approx(-ahead_s, abs=0.01)
    assert reading.tracking.reference == "127.0.0.1"
    assert reading.tracking.correction_s == pytest.approx(ahead_s, abs=0.01)
    (source,) = reading.sources
    assert (source.name, source.address) == ("127.0.0.1", "127.0.0.1")
    assert source.source.state is SourceState.SELECTED
    assert source.source.stratum == 1
    assert source.source.reach
    assert source.statistics.samples >= 3


def test_a_chronyd_begins_with_what_another_measured(place: Path, inside: tuple[str, ...]) -> None:
    ahead_s = 0.25
    with (
        measuring(place, inside, ["127.0.0.1"]) as paths,
        ntp_server.running("127.0.0.1", offset_ns=int(ahead_s * 1e9), inside=inside),
    ):
        before = reading_once(paths, "the server is followed", followed)
    # No server answers the second one: all that it knows is what the first one had measured
    with measuring(place, inside, ["127.0.0.1"], daemon.RELOADS) as paths:
        after = reading_once(paths, "what was measured is followed", followed)
    samples = before.sources[0].statistics.samples
    assert after.sources[0].statistics.samples >= samples
    assert after.tracking.correction_s == pytest.approx(ahead_s, abs=0.01)
    assert after.tracking.correction_s == pytest.approx(before.tracking.correction_s, abs=0.001)


def test_measurements_of_long_ago_are_forgotten(place: Path) -> None:
    own = Paths(place).own
    daemon.forget_measurements(own)  # there is no such directory yet
    own.mkdir()
    for name in ("127.0.0.1.dat", "fd00::1.dat", "chronyd.drift"):
        (own / name).write_text("")
    daemon.forget_measurements(own)
    assert [path.name for path in own.iterdir()] == ["chronyd.drift"]


def test_chronyc_reads_the_same(place: Path, inside: tuple[str, ...]) -> None:
    with (
        ntp_server.running("127.0.0.1", offset_ns=3_000_000, inside=inside),
        measuring(place, inside, ["127.0.0.1"]) as paths,
    ):
        ours = reading_once(paths, "the server is followed", followed).tracking
        command = ["chronyc", "-h", str(paths.socket), "-c", "tracking"]
        theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = theirs.split(",")
    assert words[2] == str(ours.stratum)
    assert float(words[4]) == pytest.approx(ours.correction_s, abs=1e-4)
    assert float(words[10]) == pytest.approx(ours.root_delay_s, abs=1e-3)


def test_a_liar_among_three_is_outvoted(place: Path, inside: tuple[str, ...]) -> None:
    addresses = [f"127.0.0.{number}" for number in (1, 2, 3)]
    with contextlib.ExitStack() as stack:
        for address in addresses:
            lie_ns = 5 * 10**9 if address == "127.0.0.3" else 0
            stack.enter_context(ntp_server.running(address, offset_ns=lie_ns, inside=inside))
        paths = stack.enter_context(measuring(place, inside, addresses))

        def outvoted(reading: NtpReading) -> bool:
            states = {one.name: one.source.state for one in reading.sources}
            return followed(reading) and states["127.0.0.3"] is SourceState.FALSETICKER

        reading = reading_once(paths, "the liar is found", outvoted)
    assert abs(evidence(reading).offset_s) < 0.01


def test_two_that_contradict_each_other_are_both_not_followed(
    place: Path, inside: tuple[str, ...]
) -> None:
    with (
        ntp_server.running("127.0.0.1", inside=inside),
        ntp_server.running("127.0.0.2", offset_ns=5 * 10**9, inside=inside),
        measuring(place, inside, ["127.0.0.1", "127.0.0.2"]) as paths,
    ):

        def torn(reading: NtpReading) -> bool:
            return "majority" in evidence(reading).reason

        assert not evidence(reading_once(paths, "neither is followed", torn)).available


def test_the_only_server_that_lies_is_not_believed(place: Path, inside: tuple[str, ...]) -> None:
    with (
        ntp_server.running("127.0.0.1", offset_ns=10 * 10**9, inside=inside),
        measuring(place, inside, ["127.0.0.1"]) as paths,
    ):
        found = evidence(reading_once(paths, "the server is followed", followed))
    assert "NTP is not believed" in doubt(found, 1000.0, 1010.0)


def test_a_server_that_does_not_answer_is_named(place: Path, inside: tuple[str, ...]) -> None:
    with measuring(place, inside, ["127.0.0.9"]) as paths:
        reading = reading_once(paths, "chronyd answers", lambda reading: reading.sources)
    assert evidence(reading).reason == "no NTP server answers: 127.0.0.9"


def test_where_no_chronyd_is_nobody_answers(place: Path) -> None:
    async def ask() -> None:
        async with ChronyClient(place / "chronyd.sock"):
            raise AssertionError("somebody answered")

    with pytest.raises(Unavailable, match="does not answer"):
        asyncio.run(ask())
    assert not list(place.iterdir())


VALUES = {
    "allow": "10.0.0.0/8",
    "deny": "10.0.0.0/8",
    "authselectmode": "mix",
    "bindacqaddress": "127.0.0.1",
    "bindaddress": "127.0.0.1",
    "bindacqdevice": "lo",
    "binddevice": "lo",
    "broadcast": "60 10.255.255.255",
    "fallbackdrift": "16 19",
    "hwtimestamp": "*",
    "leapsecmode": "slew",
    "leapsectz": "right/UTC",
    "local": "stratum 10",
    "maxchange": "1 1 1",
    "ntsservercert": "/nowhere",
    "ntsserverkey": "/nowhere",
    "ntstrustedcerts": "/nowhere",
    "ratelimit": "interval 3",
    "refclock": "SHM 0",
    "smoothtime": "400 0.01",
    "tempcomp": "/nowhere 30 26 0 0 0",
}


def test_chronyd_knows_every_directive_that_may_be_passed(place: Path) -> None:
    given = {name: True if name in FLAGS else VALUES.get(name, 1) for name in ALLOWED}
    settings = SystemTime.model_validate(
        {"ntp_config": {"server": ["127.0.0.1"]}, "options": {"chrony": given}}
    )
    paths = Paths(place)
    paths.config.write_text(daemon.config_text(settings, paths, steers=False, may_step=False))
    command = ["chronyd", "-x", "-p", "-f", str(paths.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
