"""What visord makes of the store it finds: damaged, newer, older, without room, with secrets."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from chronovisor.config import MASK, Change, ConfigStore, Registry, SqliteBackend
from visords import KEY, NOBODY, Visord, short_directory, until, visord_in

SECRET = "opensesame-and-close"
PEER = "/v1/config/host/test/peer"


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def store_as_older_release(visord: Visord, value: dict[str, object]) -> None:
    lax = Registry()
    lax.register("host/system/system_time", Anything, description="what was fine once")
    visord.var.mkdir()
    store = ConfigStore(SqliteBackend(visord.var / "config.db"), lax)
    store.commit([Change("host/system/system_time", value)], author="an older visord")
    store.close()


def test_a_value_that_is_refused_by_now_is_an_alarm_and_can_be_mended(visord: Visord) -> None:
    store_as_older_release(visord, {"log_level": 5, "colour": "red"})
    visord.start()
    code, output, _ = visord.ctl("host", "health")
    assert code == 1
    assert "the stored value is not valid any more" in output
    assert "colour" in output
    code, _, errors = visord.ctl("clock", "status")
    assert code == 0, errors
    code, _, errors = visord.ctl("clock", "plan")
    assert (code, errors) == (0, "")
    visord.set(log_level=4)
    assert visord.client.get("/v1/clock/settings")["log_level"] == 4
    until("all is well", lambda: visord.client.get("/v1/health")["condition"] == "ok")


def test_a_store_of_a_newer_release_is_left_alone(visord: Visord) -> None:
    store_as_older_release(visord, {"log_level": 5})
    with sqlite3.connect(visord.var / "config.db") as database:
        database.execute("PRAGMA user_version = 1000")
    database.close()
    before = (visord.var / "config.db").read_bytes()
    code, said = visord.refusal()
    assert code == 1
    (line, *hint) = said.strip().splitlines()[-2:] if "hint:" in said else said.splitlines()
    assert line.startswith("visord: ")
    assert str(visord.var / "config.db") in line
    assert len(hint) <= 1
    assert "Traceback" not in said
    assert (visord.var / "config.db").read_bytes() == before


def test_a_damaged_store_is_set_aside_and_told_of(visord: Visord) -> None:
    visord.start()
    visord.set(log_level=3)
    visord.stop()
    for name in ("config.db", "config.db-wal", "config.db-shm"):
        if (visord.var / name).exists():
            (visord.var / name).write_bytes(b"nothing that SQLite would know\n" * 300)
    visord.start()
    health = visord.client.get("/v1/health")
    (store,) = [part for part in health["parts"] if part["name"] == "store"]
    assert store["condition"] == "degraded"
    assert "config.db" in store["reason"]
    assert visord.client.get(KEY)["value"] == {"log_level": 3}, "from the newest snapshot"


def test_a_full_disk_refuses_the_change_and_keeps_what_is(base: Path) -> None:
    """In a mount namespace of its own, with a small tmpfs below /var."""
    (base / "var").mkdir()
    with visord_in(base) as visord:
        inner = 'mount -t tmpfs -o size=400k none "$1" && shift && exec "$@"'
        visord.wrapper = ("unshare", "--mount", "sh", "-c", inner, "sh", str(base / "var"))
        visord.start()
        visord.set(log_level=3)
        assert visord.process is not None
        inside = Path(f"/proc/{visord.process.pid}/root{base}/var")
        with pytest.raises(OSError, match="No space left"):
            (inside / "filler").write_bytes(b"x" * 500_000)
        refusal = ""
        for number in range(200):  # the file has some room of its own
            code, _, refusal = visord.ctl(
                *("config", "current", "set", "-c", "host", "-g", "system", "-k", "system_time"),
                *(f"log_level={number % 8}", "--comment", "x" * 4000),
            )
            if code:
                break
        assert code == 7, refusal
        assert len(refusal.splitlines()) <= 2
        held = visord.client.get(KEY)["value"]
        assert held["log_level"] == (number - 1) % 8 if number else 3
        assert visord.client.get("/v1/clock/settings")["log_level"] == held["log_level"]
        (inside / "filler").unlink()
        visord.set(log_level=7)
        assert visord.client.get(KEY)["value"] == {"log_level": 7}


@pytest.fixture
def secretive() -> Iterator[Visord]:
    with short_directory() as base, visord_in(base) as visord:
        visord.program = (str(Path(__file__).with_name("secretive_visord.py")),)
        yield visord.start()


def test_a_secret_is_shown_only_to_who_may_write_and_asks(secretive: Visord) -> None:
    events = subprocess.Popen(
        [sys.executable, "-c", _LISTEN, str(secretive.socket)], stdout=subprocess.PIPE, text=True
    )
    assert events.stdout is not None
    assert events.stdout.readline() == "hello\n"
    first = secretive.client.call("PUT", PEER, {"name": "a", "password": SECRET})
    changed = secretive.client.call("PATCH", PEER, {"name": "b"})
    heard = [events.stdout.readline() for _ in range(2)]
    events.terminate()
    events.communicate()
    document = "/v1/config/document"
    diff = f"/v1/config/diff?a=0&b={changed['revision']}"
    shown = [first, changed, *heard]
    paths = (PEER, f"{PEER}/effective", "/v1/config", "/v1/config/history", diff, document)
    shown += [secretive.ask("GET", path)[2] for path in paths]
    for answer in shown:
        assert SECRET not in str(answer)
        assert MASK in str(answer)
    words = ("config", "current", "get", "-c", "host", "-g", "test", "-k", "peer")
    assert SECRET in secretive.do(*words, "--show-secrets"), "the change of the name kept it"
    assert SECRET in secretive.do("config", "export", "--show-secrets")
    for asked in ((*words, "--show-secrets"), ("config", "export", "--show-secrets")):
        code, output, errors = secretive.ctl(*asked, user=NOBODY)
        assert (code, output) == (6, "")
        assert SECRET not in errors
    masked = json.loads(secretive.do(*words))
    secretive.client.call("PUT", PEER, masked)
    assert SECRET in secretive.do(*words, "--show-secrets"), "a mask keeps what it stands for"


_LISTEN = """
import sys
from chronovisor.cli.client import Client
from pathlib import Path
for kind, data in Client(Path(sys.argv[1])).stream("/v1/events", kind="config."):
    print(kind if kind == "hello" else data, flush=True)
"""
