"""Who may do what, as the kernel names them, and whose socket it is."""

import grp
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from visords import DEADLINE_S, KEY, NOBODY, Visord, as_user, until, visord_in

KEY_WORDS = ("-c", "host", "-g", "system", "-k", "system_time")
SET = ("config", "current", "set", *KEY_WORDS, "log_level=5")
OTHER = 4_242


@pytest.fixture(scope="module")
def group() -> str:
    """Return the name of a group that this machine has, and nobody's primary one here."""
    return grp.getgrgid(4).gr_name  # adm on Debian


@pytest.fixture
def closed(base: Path, group: str) -> Iterator[Visord]:
    """Return a visord that others may not even look at, and members of a group change."""
    with visord_in(base, "--others", "none", "--group", group) as visord:
        yield visord.start()


WRITES = [
    SET,
    ("config", "current", "delete", *KEY_WORDS),
    ("config", "import", "/dev/null"),
    ("clock", "trx-conf", "import", "/dev/null"),
    ("world", "restart", "ptp4l"),
]


@pytest.mark.parametrize("words", WRITES, ids=" ".join)
def test_another_user_may_look_but_not_change_anything(
    shared: Visord, words: tuple[str, ...]
) -> None:
    code, output, errors = shared.ctl(*words, user=NOBODY)
    assert (code, output) == (6, "")
    assert errors == (
        f"visorctl: user {NOBODY} may look but not change anything on this host\n"
        "  hint: become root or a member of visord's group\n"
    )


def test_every_way_to_change_something_asks_who_does(shared: Visord) -> None:
    """By the description of the API: whatever is not for reading is refused to another user."""
    paths = shared.client.get("/openapi.json")["paths"]
    harmless = {"/v1/clock/plan", "/v1/clock/trx-conf/check"}
    asked = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in paths.items()
        for method in methods
        if method != "get" and path not in harmless
    ]
    assert len(asked) >= 9
    tried = subprocess.run(
        [
            *as_user(NOBODY),
            *(sys.executable, "-c", _ASK, str(shared.socket)),
        ],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    answers = json.loads(tried.stdout)
    assert {
        tuple(request): code for request, code in zip(asked, answers, strict=True)
    } == dict.fromkeys(asked, 403)


_ASK = """
import http.client, json, socket, sys
answers = []
for method, path in json.load(sys.stdin):
    body = b'{"revision": 0}' if method in ("PUT", "PATCH", "POST") else None
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answers.append(connection.getresponse().status)
    connection.close()
print(json.dumps(answers))
"""


@pytest.mark.parametrize("words", [("clock", "status"), ("world", "list")])
def test_another_user_may_look(shared: Visord, words: tuple[str, ...]) -> None:
    code, _, errors = shared.ctl(*words, user=NOBODY)
    assert (code, errors) == (0, "")


def test_with_others_none_another_user_may_not_look(closed: Visord) -> None:
    for words in (("clock", "status"), ("host", "events"), SET):
        code, output, errors = closed.ctl(*words, user=NOBODY)
        assert (code, output) == (6, "")
        assert errors.startswith(f"visorctl: user {NOBODY} may not look at this host\n")


def test_a_member_of_the_group_may_change(closed: Visord) -> None:
    code, output, errors = closed.ctl(*SET, user=NOBODY, groups="4")
    assert (code, errors) == (0, "")
    assert output == "Set: completed successfully (revision 1)\n"
    many = ",".join(str(number) for number in (4, *range(1000, 1100)))
    assert closed.ctl("config", "history", user=NOBODY, groups=many)[0] == 0
    assert f"uid {NOBODY} (pid " in closed.do("config", "history")


def test_a_group_that_is_not_there_is_named(visord: Visord) -> None:
    code, said = visord.refusal("--group", "no-such-group")
    assert code == 1
    assert said.startswith("visord: there is no group 'no-such-group'\n  hint: create it")


def test_a_second_visord_names_the_first(visord: Visord) -> None:
    process = visord.start().process
    assert process is not None
    code, said = visord.refusal()
    assert code == 1
    assert said.splitlines()[0] == (
        f"visord: visord already runs with {visord.run} (pid {process.pid})"
    )
    assert visord.client.get("/v1/health")["pid"] == process.pid


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_the_socket_of_another_program_is_left_alone(visord: Visord, kind: int) -> None:
    visord.run.mkdir()
    with socket.socket(socket.AF_UNIX, kind) as foreign:
        foreign.bind(str(visord.socket))
        if kind != socket.SOCK_DGRAM:
            foreign.listen(0)
        before = visord.socket.stat()
        code, said = visord.refusal()
        assert code == 1
        assert said.splitlines()[0] == (
            f"visord: socket {visord.socket} is already in use by another program"
        )
        assert visord.socket.stat().st_ino == before.st_ino


def test_the_socket_of_a_program_that_accepts_nothing_is_left_alone(visord: Visord) -> None:
    """Its queue is full: whoever connects would wait for ever."""
    visord.run.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as foreign:
        foreign.bind(str(visord.socket))
        foreign.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(visord.socket))
            code, said = visord.refusal()
    assert code == 1
    assert "is already in use by another program" in said


def test_what_is_no_socket_is_left_alone(visord: Visord) -> None:
    visord.run.mkdir()
    visord.socket.write_text("precious")
    code, said = visord.refusal()
    assert code == 1
    assert said.splitlines()[0] == f"visord: cannot serve at {visord.socket}: it is not a socket"
    assert visord.socket.read_text() == "precious"


def test_a_socket_that_nobody_serves_is_replaced(visord: Visord) -> None:
    visord.run.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(visord.socket))
    visord.start()
    assert stat.S_IMODE(visord.socket.stat().st_mode) == 0o666
    assert visord.stop() == 0
    assert not visord.socket.exists()


def test_a_run_directory_with_too_long_a_path_is_named(base: Path) -> None:
    with visord_in(base / ("x" * 90)) as visord:
        visord.etc.parent.mkdir()
        visord.log = base / "visord.log"
        code, said = visord.refusal()
    assert code == 1
    assert str(visord.run) in said
    assert "hint: choose a shorter run directory" in said
    assert "Traceback" not in said


def test_a_directory_that_cannot_be_made_is_named(base: Path) -> None:
    (base / "run").write_text("a file")
    with visord_in(base) as visord:
        code, said = visord.refusal()
    assert code == 1
    assert said.startswith(f"visord: cannot create {base / 'run'}: ")


def test_without_visord_visorctl_says_how_to_start_it(visord: Visord) -> None:
    code, output, errors = visord.ctl("clock", "status")
    assert (code, output) == (7, "")
    assert errors.startswith("visorctl: visord is not running: nothing answers on ")
    assert "hint: start it with `systemctl start visord`" in errors
    assert len(errors.splitlines()) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{{{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 422 X\r\nContent-Type: application/problem+json\r\nContent-Length: 81\r\n\r\n"
        b'{"type":"urn:chronovisor:invalid-input","problems":[{"where":"a","colour":"b"}]}\n',
    ],
)
def test_an_answer_of_another_program_is_an_error_in_words(visord: Visord, answer: bytes) -> None:
    visord.run.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as foreign:
        foreign.bind(str(visord.socket))
        foreign.listen()
        foreign.settimeout(DEADLINE_S)
        child = os.fork()
        if not child:
            with foreign.accept()[0] as caller:
                caller.recv(65536)
                caller.sendall(answer)
            os._exit(0)
        code, output, errors = visord.ctl("host", "health")
        os.waitpid(child, 0)
    assert code in (1, 3, 7)
    assert output == ""
    assert errors.startswith("visorctl: ")
    assert len(errors.splitlines()) <= 2


def test_a_stream_that_visord_ends_is_told(visord: Visord) -> None:
    visord.start()
    with visord.following("host", "events") as (follower, said):
        until("it listens", lambda: said.read_text() == "hello {}\n")
        visord.stop()
        assert follower.wait(DEADLINE_S) == 7
        assert "ended the stream" in said.read_text()


def test_a_stalled_listener_holds_nobody_up(visord: Visord) -> None:
    visord.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        stalled.settimeout(DEADLINE_S)
        stalled.connect(str(visord.socket))
        stalled.sendall(b"GET /v1/events?kind=config HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = b""
        while b"hello" not in heard:
            heard += stalled.recv(4096)
        query = {"comment": "y" * 4000}
        for number in range(150):  # 600 kB, which no socket takes unread
            visord.client.call("PUT", KEY, {"log_level": number % 8}, query=query)
        while b'"revision": 150,' not in heard:
            heard += stalled.recv(65536)
    assert heard.count(b"event: config.commit") == 150
