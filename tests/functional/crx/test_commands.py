"""`visorctl crx` and the API on a visord that adopted a container."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chronovisor.worlds import RestartPolicy, Sandbox, Supervisor, WorldSpec
from visords import VISORCTL, Visord, short_directory, visord_in

PROGRAM = ("/bin/sh", "-c", "echo one; echo two; exec sleep 1000000")


async def leave_running(run: Path, spec: WorldSpec) -> None:
    async with Supervisor(run / "worlds") as supervisor:
        await supervisor.start(spec)


@pytest.fixture(scope="module")
def host() -> Iterator[Visord]:
    with short_directory() as base:
        run = base / "run"
        sandbox = Sandbox(capabilities=("CAP_NET_RAW",), runtime="runc")
        boxed = WorldSpec("boxed", PROGRAM, sandbox=sandbox, lock="clock")
        asyncio.run(leave_running(run, boxed))
        asyncio.run(leave_running(run, WorldSpec("bare", ("sleep", "1000000"))))
        broken = WorldSpec(
            "broken", ("nonesuch",), sandbox=sandbox, restart=RestartPolicy(mode="never")
        )
        asyncio.run(leave_running(run, broken))
        with visord_in(base) as visord:
            yield visord.start()


def test_ps(host: Visord) -> None:
    rows = {row.split()[0]: row for row in host.do("crx", "ps").splitlines()[2:]}
    assert sorted(rows) == ["boxed", "broken"]
    assert " running " in rows["boxed"]
    assert " host " in rows["boxed"]
    assert " MiB " in rows["boxed"]
    assert " failed " in rows["broken"]
    found = json.loads(host.do("crx", "ps", "--format", "json"))
    assert [one["name"] for one in found] == ["boxed", "broken"]


def test_inspect_shows_what_holds(host: Visord) -> None:
    found = json.loads(host.do("crx", "inspect", "boxed", "--format", "json"))
    assert found["capabilities"] == ["CAP_NET_RAW"]
    assert found["no_new_privileges"] is True
    assert found["seccomp_filters"] == 1
    assert {"ipc", "mnt", "pid", "uts"} <= {*found["namespaces"]}
    assert found["runtime"].endswith("/runc")
    config = json.loads(Path(found["bundle"], "config.json").read_text())
    assert config["process"]["args"] == list(PROGRAM)
    assert "CAP_NET_RAW" in host.do("crx", "inspect", "boxed")


def test_world_list_marks_containers(host: Visord) -> None:
    rows = {row.split()[0]: row.split()[2] for row in host.do("world", "list").splitlines()[2:]}
    assert rows["boxed"] == "container"
    assert rows["bare"] == "process"


def test_logs(host: Visord) -> None:
    lines = host.do("crx", "logs", "boxed").splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["one", "two"]


def visorctl(host: Visord, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    argv = [VISORCTL, *words]
    env = os.environ | {"CHRONOVISOR_SOCKET": str(host.socket)}
    return subprocess.run(argv, input=text, capture_output=True, text=True, env=env, check=False)


def test_exec_is_inside_with_its_rights_and_exit_code(host: Visord) -> None:
    script = "cat /proc/1/cmdline; grep CapEff /proc/self/status; cat; exit 7"
    done = visorctl(host, "crx", "exec", "boxed", "--", "sh", "-c", script, text="from outside")
    assert done.returncode == 7, done.stderr
    assert "1000000" in done.stdout
    assert f"{1 << 13:016x}" in done.stdout
    assert "from outside" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("inspect", "bare"), 4, "world 'bare' is not a container"),
        (("inspect", "nosuch"), 4, "there is no world 'nosuch'"),
        (("exec", "broken", "--", "true"), 5, "container broken is failed"),
    ],
)
def test_what_cannot_be_done(host: Visord, words: tuple[str, ...], code: int, text: str) -> None:
    done = visorctl(host, "crx", *words)
    assert done.returncode == code
    assert text in done.stderr


def test_exec_of_a_command_that_is_not_there(host: Visord) -> None:
    done = visorctl(host, "crx", "exec", "boxed", "--", "nonesuch")
    assert done.returncode != 0
    assert "nonesuch" in done.stderr
