"""`visorctl config` and trx.conf, verb by verb, against a real visord."""

import itertools
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chronovisor.errors import Conflict
from visords import DEADLINE_S, KEY, Visord, until

KEY_WORDS = ("-c", "host", "-g", "system", "-k", "system_time")
PORTS = {"ptp_config": {"port": [{"index": 0, "device": "lo"}]}}


def revision(visord: Visord) -> int:
    found: int = visord.client.get("/v1/health")["store_revision"]
    return found


def stored(visord: Visord) -> object:
    return json.loads(visord.do("config", "current", "get", *KEY_WORDS))


def origins(visord: Visord) -> dict[str, tuple[object, str]]:
    words = ("config", "current", "get", *KEY_WORDS, "--effective", "--format", "json")
    return {row["field"]: (row["value"], row["origin"]) for row in json.loads(visord.do(*words))}


def test_set_get_delete_in_every_way(shared: Visord, base: Path) -> None:
    (base / "value.yaml").write_text("log_level: 2\noptions: {ptp4l: {priority1: 3}}\n")
    (base / "value.json").write_text('{"log_level": 4}')
    for words, value in (
        (("log_level=5", "ptp_config.domain=24"), {"log_level": 5, "ptp_config": {"domain": 24}}),
        (("options.ptp4l.priority1=7",), None),
        (("--value", '{"log_level": 1}'), {"log_level": 1}),
        (
            ("--infile", str(base / "value.yaml")),
            {"log_level": 2, "options": {"ptp4l": {"priority1": 3}}},
        ),
        (("--infile", str(base / "value.json")), {"log_level": 4}),
    ):
        said = shared.do("config", "current", "set", *KEY_WORDS, *words)
        assert said == f"Set: completed successfully (revision {revision(shared)})\n"
        if value is not None:
            assert stored(shared) == value
    esx = ("-c", "esx", "-g", "system", "-k", "system_time")
    assert json.loads(shared.do("config", "current", "get", *esx)) == {"log_level": 4}
    assert "log_level: 4" in shared.do("config", "current", "get", *esx, "--format", "yaml")
    shared.do("config", "current", "delete", *KEY_WORDS)
    code, output, errors = shared.ctl("config", "current", "get", *KEY_WORDS)
    assert (code, output) == (4, "")
    assert "--effective" in errors


def test_every_problem_is_printed_and_nothing_is_stored(shared: Visord) -> None:
    words = ("log_levle=9", "ptp_config.domain=256", 'protocol="sundial"')
    code, output, errors = shared.ctl("config", "current", "set", *KEY_WORDS, *words)
    assert (code, output) == (3, "")
    lines = errors.splitlines()
    assert lines[0] == "visorctl: 3 problems"
    for expected in ("log_level", "ptp_config.domain", "protocol"):
        assert any(expected in line for line in lines[1:])
    assert shared.client.get("/v1/config") == []


@pytest.mark.parametrize(
    "words", [(), ("--value", "{}", "log_level=5"), ("log_level",), ("--infile", "/no/such/file")]
)
def test_a_wrong_way_to_set_is_refused(shared: Visord, words: tuple[str, ...]) -> None:
    code, _, errors = shared.ctl("config", "current", "set", *KEY_WORDS, *words)
    assert code in (3, 7)
    assert errors.startswith("visorctl: ")


def test_schema_list_history_diff_rollback(shared: Visord) -> None:
    schema = json.loads(shared.do("config", "schema", "get", *KEY_WORDS))
    assert "ptp_config" in schema["properties"]
    assert "host/system/system_time" in shared.do("config", "schema", "list")
    first = shared.client.call("PUT", KEY, {"log_level": 1})["revision"]
    shared.do("config", "current", "set", *KEY_WORDS, "log_level=2", "--comment", "louder, please")
    assert "host/system/system_time" in shared.do("config", "list", "host/system")
    assert shared.do("config", "list", "host/other").count("\n") <= 2
    history = shared.do("config", "history", "-n", "2")
    assert "louder, please" in history
    rows = json.loads(shared.do("config", "diff", str(first), str(first + 1), "--format", "json"))
    assert [(row["field"], row["old"], row["new"]) for row in rows] == [("log_level", 1, 2)]
    shared.do("config", "rollback", str(first))
    assert stored(shared) == {"log_level": 1}
    assert shared.ctl("config", "rollback", "99999")[0] == 4


def test_export_and_import(shared: Visord, base: Path) -> None:
    shared.set(log_level=1, options={"ptp4l": {"priority1": 9}})
    text = shared.do("config", "export")
    (base / "store.yaml").write_text(text)
    shared.set(log_level=2)
    newest = revision(shared)
    code, _, errors = shared.ctl(
        "config", "import", str(base / "store.yaml"), "--revision", str(newest - 1)
    )
    assert code == 5, errors
    shared.do("config", "import", str(base / "store.yaml"), "--revision", str(newest))
    assert stored(shared) == {"log_level": 1, "options": {"ptp4l": {"priority1": 9}}}
    (base / "bad.yaml").write_text(text.replace("log_level: 1", "log_level: 11"))
    code, _, errors = shared.ctl("config", "import", str(base / "bad.yaml"), "--replace")
    assert code == 3
    assert "log_level" in errors


def test_a_writer_who_did_not_see_the_newest_gets_a_conflict(shared: Visord) -> None:
    seen = revision(shared)
    shared.do("config", "current", "set", *KEY_WORDS, "log_level=1", "--revision", str(seen))
    words = ("config", "current", "set", *KEY_WORDS, "log_level=2", "--revision", str(seen))
    code, output, errors = shared.ctl(*words)
    assert (code, output) == (5, "")
    assert f"not at {seen} as expected" in errors
    assert stored(shared) == {"log_level": 1}


def test_of_writers_at_one_time_nobody_loses_a_change(shared: Visord) -> None:
    shared.set(log_level=0)

    def write(name: str) -> int:
        done = 0
        for value in range(8):
            try:
                shared.client.call("PATCH", KEY, {f"options.ptp4l.{name}": value})
                done += 1
            except Conflict:
                continue
        return done

    names = ("priority1", "priority2", "utc_offset")
    before = revision(shared)
    with ThreadPoolExecutor(len(names)) as writers:
        done = list(writers.map(write, names))
    assert revision(shared) == before + sum(done)
    values = shared.client.get(KEY)["value"]["options"]["ptp4l"]
    assert {name for name, count in zip(names, done, strict=True) if count} == set(values)


def test_a_trial_that_is_confirmed_stays(shared: Visord) -> None:
    shared.set(log_level=1)
    said = shared.do("config", "current", "set", *KEY_WORDS, "log_level=2", "--try", "60s")
    assert "Goes back after 60s unless you run: visorctl config confirm" in said
    assert "is on trial: " in shared.do("config", "trial")
    code, _, errors = shared.ctl("clock", "set", "log_level=3")
    assert (code, "on trial" in errors) == (5, True)
    shared.do("config", "confirm")
    assert shared.do("config", "trial") == "none\n"
    assert stored(shared) == {"log_level": 2}
    assert shared.ctl("config", "confirm")[0] == 4


def test_a_trial_that_is_not_confirmed_goes_back(shared: Visord) -> None:
    shared.set(log_level=1)
    shared.do("clock", "set", "log_level=2", "--try", "200ms")
    until("the old value is back", lambda: shared.client.get(KEY)["value"] == {"log_level": 1})
    assert shared.client.get("/v1/config/history")[0]["kind"] == "trial_expired"
    assert shared.client.get("/v1/clock/settings")["log_level"] == 1


@pytest.mark.parametrize("text", ["0s", "-1s", "soon", "1e9h", "inf"])
def test_a_time_that_is_none_is_refused(shared: Visord, text: str) -> None:
    words = ("config", "current", "set", *KEY_WORDS, "log_level=2", f"--try={text}")
    code, _, errors = shared.ctl(*words)
    assert code == 3, errors
    assert shared.client.get("/v1/config") == []


def test_a_trial_ends_also_while_visord_is_dead(visord: Visord) -> None:
    visord.start()
    visord.set(log_level=1)
    visord.client.call("PATCH", KEY, {"log_level": 2}, query={"try_s": 1.5})
    left_s = visord.client.get("/v1/config/trial")["seconds_left"]
    ends_s = time.monotonic() + left_s
    visord.stop(signal.SIGKILL)
    until("the trial's time is up", lambda: time.monotonic() > ends_s)
    visord.start()
    assert visord.client.get(KEY)["value"] == {"log_level": 1}
    assert visord.client.get("/v1/config/history")[0]["kind"] == "trial_expired"


def test_watch_prints_a_change_and_ends_on_control_c(shared: Visord) -> None:
    numbers = itertools.count()
    with shared.following("config", "watch") as (follower, said):

        def heard() -> str:  # it says nothing before a change, so change until it has heard of one
            shared.client.call("PUT", KEY, {"log_level": next(numbers) % 8})
            return said.read_text()

        line = until("a line of `config watch`", heard).splitlines()[0]
        number, kind, paths = line.split(maxsplit=2)
        assert int(number) <= revision(shared)
        assert (kind, paths) == ("set", "host/system/system_time")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == 130
        assert "Traceback" not in said.read_text()


def test_origins_tell_default_store_and_file(shared: Visord) -> None:
    shared.set(log_level=5, **PORTS)
    shared.trx_conf.write_text("# ours\nptp4l:priority1 77\nptp4l:port0:logSyncInterval -2\n")
    until("the file holds", lambda: "options.ptp4l.priority1" in origins(shared))
    found = origins(shared)
    assert found["enabled"] == (False, "default")
    assert found["log_level"] == (5, "store")
    assert found["options.ptp4l.priority1"] == (77, "file:trx.conf:2")
    assert found["ptp_config.port[0].options.logSyncInterval"] == (-2, "file:trx.conf:3")
    exported = shared.do("clock", "trx-conf", "export")
    assert exported == "ptp4l:priority1 77\nptp4l:port0:logSyncInterval -2\n"


def test_a_bad_file_is_told_of_in_health_and_holds_nothing(shared: Visord) -> None:
    shared.trx_conf.write_text("ptp4l:priority1 999\n")
    reason = f"{shared.trx_conf} is not applied: trx.conf:1:17: priority1:"
    until("health tells of it", lambda: reason in shared.ctl("host", "health")[1])
    assert shared.client.get("/v1/clock/settings")["options"]["ptp4l"] == {}
    shared.trx_conf.unlink()
    until("health is well", lambda: shared.ctl("host", "health")[0] == 0)


def test_check_and_import_of_a_file(shared: Visord, base: Path) -> None:
    file = base / "mine.conf"
    file.write_text("nonsense\nptp4l:priority1 999\nsys2vmw:x 1\n")
    code, output, errors = shared.ctl("clock", "trx-conf", "check", str(file))
    assert (code, output) == (3, "")
    places = [line.split()[0] for line in errors.splitlines()[1:4]]
    assert places == ["mine.conf:1:1:", "mine.conf:2:17:", "mine.conf:3:1:"]
    file.write_bytes(b"x" * 10_000_000)
    code, _, errors = shared.ctl("clock", "trx-conf", "check", str(file))
    assert code == 3
    assert "more than 256 KiB" in errors
    file.write_bytes(b"x" * 20_000_000)
    assert shared.ctl("clock", "trx-conf", "check", str(file))[0] == 3
    file.write_text("ptp4l:priority1 99\n")
    assert shared.do("clock", "trx-conf", "check", str(file)) == f"{file}: 1 options, no errors\n"
    shared.do("clock", "trx-conf", "import", str(file))
    assert stored(shared) == {"options": {"ptp4l": {"priority1": 99}}}


def test_settings_that_the_file_cannot_lie_over_are_refused(shared: Visord) -> None:
    shared.set(**PORTS)
    shared.trx_conf.write_text("ptp4l:port0:logSyncInterval -2\n")
    until("the file holds", lambda: "ptp_config.port[0].options.logSyncInterval" in origins(shared))
    code, _, errors = shared.ctl("clock", "set", "ptp_config.port=[]")
    assert code == 3
    assert "trx.conf:1:13: there is no PTP port with index 0" in errors
