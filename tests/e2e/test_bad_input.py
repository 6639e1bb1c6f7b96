"""Bad input: one clear message that names the thing and the way out; what ran keeps running."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labs import DEADLINE_S, VISORCTL, Host, until
from visords import NOBODY, as_user

KEY = ("config", "current", "set", "-c", "host", "-g", "system", "-k", "system_time")
PORT = {"index": 0, "device": "eth0"}


@pytest.fixture
def steady(host: Host) -> Iterator[Host]:
    """Return the host; afterwards nothing stored may have changed and the same ptp4l must run."""
    pid = until("ptp4l runs", lambda: host.clock()["engine"]["pid"])
    stored = host.do("config", "export")
    revision = host.api.get("/v1/health")["store_revision"]
    yield host
    host.trx_conf.unlink(missing_ok=True)
    assert host.do("config", "export") == stored
    assert host.api.get("/v1/health")["store_revision"] == revision
    now = host.until_tracking()
    assert now["engine"]["pid"] == pid


def ports(*several: dict[str, object]) -> str:
    return json.dumps({"ptp_config": {"port": list(several)}})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["ptp_config.port[0].device=eth7"],
            3,
            ["PTP port 0 (eth7): there is no such device on this host", "eth0"],
        ),
        (
            ["ptp_config.port[0].time_stamping=hardware"],
            3,
            ["PTP port 0 (eth0): the device makes no hardware time stamps", "software"],
        ),
        (
            ["--value", ports(PORT, {"index": 1, "device": "eth0"})],
            3,
            ["port device eth0 is used by more than one port"],
        ),
        (["ptp_config.domain=300"], 3, ["ptp_config.domain", "255"]),
        (["ptp_config.domian=3"], 3, ["domian", "domain"]),
        (["options.ptp4l.leapfile=/tmp/x"], 3, ["options.ptp4l.leapfile"]),
        (["options.phc2sys.logSyncInterval=0"], 3, ["options.phc2sys.logSyncInterval"]),
        (["options.ptp4l.nosuch=0"], 3, ["options.ptp4l.nosuch"]),
        (["options.ptp4l.uds_address=/tmp/x"], 3, ["options.ptp4l.uds_address"]),
        (["ptp_config.domain"], 3, ["field=value"]),
        (["--try", "soon", "ptp_config.domain=1"], 3, ["'soon' is not a time", "60s"]),
        (["--revision", "999999", "log_level=5"], 5, ["revision"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, list) else None,
)
def test_a_bad_setting_is_named(steady: Host, words: list[str], code: int, said: list[str]) -> None:
    got, output, errors = steady.run(*KEY, *words)
    assert (got, output) == (code, ""), errors
    for word in said:
        assert word in errors
    assert "Traceback" not in errors


def test_every_problem_of_a_setting_at_once(steady: Host) -> None:
    code, _, errors = steady.run(*KEY, "ptp_config.domain=300", "log_level=9", "protocol=gps")
    assert code == 3
    for word in ("ptp_config.domain", "log_level", "protocol"):
        assert word in errors


def test_a_device_that_is_down(steady: Host) -> None:
    steady.lab.on("host1", "ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1")
    try:
        code, _, errors = steady.run(*KEY, "ptp_config.port[0].device=spare0")
        assert code == 3
        assert "PTP port 0 (spare0): the device is down" in errors
        assert "ip link set spare0 up" in errors
    finally:
        steady.lab.on("host1", "ip", "link", "delete", "spare0")


TRX = """\
# three good lines and three bad ones
ptp4l:announceReceiptTimeout 3
ptp4l:nosuch 1
ptp4l:port0:logSyncInterval 500
sys2vmw:anything 1

ptp4l:udp_ttl 1
"""


def test_every_error_of_a_trx_conf_has_its_line(steady: Host, tmp_path: Path) -> None:
    file = tmp_path / "trx.conf"
    file.write_text(TRX)
    code, output, errors = steady.run("clock", "trx-conf", "check", str(file))
    assert (code, output) == (3, "")
    places = [word for word in errors.split() if word.startswith("trx.conf:")]
    assert [place.split(":")[1] for place in places if place.count(":") == 3] == ["3", "4", "5"]
    for word in ("nosuch", "logSyncInterval", "sys2vmw"):
        assert word in errors
    assert steady.run("clock", "trx-conf", "import", str(file))[0] == 3


def test_a_trx_conf_with_an_error_is_not_applied(steady: Host) -> None:
    steady.trx_conf.write_text(TRX)
    reason = until("it is said", lambda: _health_reason(steady, "trx.conf"))
    assert "is not applied" in reason
    assert "trx.conf:3" in reason
    assert "nosuch" not in steady.do("clock", "trx-conf", "export")


def _health_reason(host: Host, word: str) -> str | None:
    parts = host.api.get("/v1/health")["parts"]
    return next((part["reason"] for part in parts if word in part["reason"]), None)


def test_a_trx_conf_of_10_mb(steady: Host, tmp_path: Path) -> None:
    file = tmp_path / "big.conf"
    file.write_bytes(b"ptp4l:udp_ttl 1\n" * 700_000)
    code, output, errors = steady.run("clock", "trx-conf", "check", str(file))
    assert code in (3, 7)
    assert output == ""
    assert len(errors.splitlines()) < 10
    assert "Traceback" not in errors
    steady.trx_conf.write_bytes(file.read_bytes())
    until("it is said", lambda: _health_reason(steady, "trx.conf"))


def test_a_file_that_is_not_there(steady: Host) -> None:
    code, _, errors = steady.run("clock", "trx-conf", "check", "/nonexistent/trx.conf")
    assert code == 7
    assert errors.startswith("visorctl: cannot read /nonexistent/trx.conf: No such file")


def test_a_user_without_the_right_may_read_and_not_write(steady: Host) -> None:
    def as_nobody(*words: str) -> "subprocess.CompletedProcess[str]":
        argv = [*as_user(NOBODY), VISORCTL, "--socket", str(steady.socket), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert as_nobody("clock", "status").stdout.startswith("tracking")
    refused = as_nobody("clock", "set", "log_level=7")
    assert refused.returncode == 6
    assert "Traceback" not in refused.stderr


def test_no_visord(short_directory: Path) -> None:
    path = short_directory / "nobody.sock"
    done = subprocess.run(
        [VISORCTL, "--socket", str(path), "clock", "status"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    assert done.stderr.startswith(f"visorctl: visord is not running: nothing answers on {path}")
    assert "hint: start it with" in done.stderr


# A visord of its own, without a lab: it is never told to keep time on a real device.
WITHOUT_CLOCK = ("setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "--")


class Alone:
    """A visord outside of any lab, in a network namespace of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "run" / "visord.sock"

    def start(self, *before: str) -> "subprocess.Popen[str]":
        words = [sys.executable, "-m", "chronovisor.host.main", "--stop-worlds"]
        for name in ("etc", "var", "run"):
            words += [f"--{name}", str(self.directory / name)]
        argv = ["unshare", "--net", *WITHOUT_CLOCK, *before, *words]
        return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)

    def visorctl(self, *words: str) -> str:
        argv = [VISORCTL, "--socket", str(self.socket), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory, short_directory: Path) -> Alone:
    directory = short_directory / f"alone{os.getpid()}-{tmp_path_factory.mktemp('x').name}"
    directory.mkdir()
    return Alone(directory)


def _ended(process: "subprocess.Popen[str]") -> str:
    """Return what a visord said that ends by itself with an error."""
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "Traceback" not in errors
    return errors


def _stop(process: "subprocess.Popen[str]") -> str:
    process.terminate()
    return process.communicate(timeout=DEADLINE_S)[1]


def test_a_store_from_a_newer_release(alone: Alone) -> None:
    first = alone.start()
    until("visord answers", alone.answers)
    alone.visorctl("clock", "set", "log_level=7")
    _stop(first)
    store = alone.directory / "var" / "config.db"
    with sqlite3.connect(store) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("PRAGMA user_version = 999")
    database.close()
    said = _ended(alone.start())
    assert "999" in said
    assert str(store) in said
    with sqlite3.connect(store) as database:
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    again = alone.start()
    try:
        until("visord answers", alone.answers)
        assert "log_level: 7" in alone.visorctl("config", "export"), "nothing stored is lost"
    finally:
        _stop(again)


def test_a_second_visord_with_one_directory(alone: Alone) -> None:
    first = alone.start()
    try:
        until("visord answers", alone.answers)
        said = _ended(alone.start())
        assert f"visord already runs with {alone.directory / 'run'}" in said
        assert str(first.pid) in said
        assert "hint:" in said
        assert alone.answers()
    finally:
        _stop(first)


def test_a_socket_of_somebody_else(alone: Alone) -> None:
    (alone.directory / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(alone.socket))
        other.listen()
        said = _ended(alone.start())
    assert f"socket {alone.socket} is already in use by another program" in said
    assert "hint:" in said


def test_a_ptp4l_that_exits_at_once(alone: Alone, tmp_path: Path) -> None:
    fake = tmp_path / "ptp4l"
    fake.write_text('#!/bin/sh\n[ "$1" = -v ] && exec echo 3.1.1\necho no clock for you\nexit 9\n')
    fake.chmod(0o755)
    # In a mount namespace of its own; lo is down there, and has no carrier to anything.
    script = f'mount --bind {fake} "$(command -v ptp4l)" && ip link set lo up && exec "$@"'
    process = alone.start("unshare", "--mount", "--", "sh", "-c", script, "sh")
    try:
        until("visord answers", alone.answers)
        port = json.dumps([{"index": 0, "device": "lo"}])
        alone.visorctl(
            "clock", "set", "discipline=monitor", f"ptp_config.port={port}", "enabled=true"
        )

        def said() -> str | None:
            now = json.loads(alone.visorctl("clock", "status", "--format", "json"))
            return now["reason"] if "exited with status 9" in now["reason"] else None

        assert "ptp4l" in until("the reason says so", said)
        assert "no clock for you" in alone.visorctl("world", "logs", "ptp4l")
        world = json.loads(alone.visorctl("world", "show", "ptp4l", "--format", "json"))
        assert world["state"] in ("backoff", "starting", "running", "failed")
        assert world["total_failures"] >= 1
    finally:
        _stop(process)
