"""What the API answers to good and bad requests, over the socket of a real visord."""

import json
import random
import socket
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chronovisor.host.api.bodies import MOST_BYTES
from chronovisor.host.api.problems import KINDS, MEDIA_TYPE
from visords import DEADLINE_S, KEY, Visord

TRX_CHECK = "/v1/clock/trx-conf/check"
SEED = 2_718_281


def raw(visord: Visord, data: bytes) -> bytes:
    """Send bytes as they are and return all that comes back until visord or we hang up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(visord.socket))
        answer = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        return answer


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1/clock/../../etc/passwd", None, 404),
        ("GET", "/v1/worlds/nobody", None, 404),
        ("GET", "/v1/worlds/%00/log", None, 404),
        ("GET", "/v1/worlds/x/log?lines=-1", None, 422),
        ("GET", KEY, None, 404),
        ("GET", "/v1/config/host/system/no_such_key", None, 404),
        ("GET", "/v1/config/schema/host/system/sistem_time", None, 404),
        ("GET", "/v1/config/HOST/system/system_time", None, 422),
        ("GET", f"{KEY}?instance=%00", None, 422),
        ("GET", "/v1/config/history?limit=0", None, 422),
        ("GET", "/v1/config/diff?a=0&b=99999999999999999999999999", None, 404),
        ("GET", "/v1/config/diff?a=x", None, 422),
        ("PUT", "/v1/health", b"{}", 405),
        ("DELETE", "/metrics", None, 405),
        ("BREW", "/v1/health", None, 405),
        ("PUT", KEY, None, 422),
        ("PUT", KEY, b"", 422),
        ("PUT", KEY, b"{", 422),
        ("PUT", KEY, b"null", 422),
        ("PUT", KEY, b"7", 422),
        ("PUT", KEY, b"\xff\xfe", 422),
        ("PUT", KEY, b"[" * 90_000, 400),
        ("PUT", KEY, b'{"a":' * 900 + b"1" + b"}" * 900, 422),
        ("PUT", KEY, b'{"log_level":' + b"9" * 5000 + b"}", 400),
        ("PUT", KEY, b'{"log_level":NaN}', 422),
        ("PUT", KEY, b'{"log_level":8,"log_levle":1,"ptp_config":{"domain":256}}', 422),
        ("PUT", f"{KEY}?expected_revision=1{'0' * 30}", b"{}", 422),
        ("PUT", f"{KEY}?expected_revision=-1", b"{}", 422),
        ("PUT", f"{KEY}?expected_revision=77", b"{}", 409),
        ("PUT", f"{KEY}?instance=x", b"{}", 422),
        ("PUT", f"{KEY}?try_s=0", b"{}", 422),
        ("PUT", f"{KEY}?try_s=inf", b"{}", 422),
        ("PUT", f"{KEY}?try_s=nan", b"{}", 422),
        ("PUT", f"{KEY}?try=60", b'{"log_level":3}', 422),
        ("PUT", f"{KEY}?comment=%00", b"{}", 422),
        ("PATCH", KEY, b"[]", 422),
        ("PATCH", KEY, b'{"":1}', 422),
        ("PATCH", KEY, b'{"\\ud800":1}', 422),
        ("PATCH", KEY, b'{"log_level.x":1,"ptp_config.port[3].device":"a"}', 422),
        ("POST", "/v1/config/rollback", b'{"revision":-1}', 404),
        ("POST", "/v1/config/rollback", b'{"revision":1e30}', 422),
        ("POST", "/v1/config/trial/confirm", None, 404),
        ("PUT", "/v1/config/document", b"a: [", 422),
        ("PUT", "/v1/config/document", b"\xff", 422),
        ("PUT", "/v1/config/document?replce=true", b"", 422),
        ("POST", "/v1/clock/plan", b'{"value":{"enabled":true}}', 422),
        ("POST", TRX_CHECK, b"ptp4l:nonsense 1\n", 422),
        ("POST", TRX_CHECK, b"x" * 10_000_000, 422),
    ],
)
def test_every_refusal_is_a_problem_document(
    shared: Visord, method: str, path: str, body: bytes | None, status: int
) -> None:
    found, media, document = shared.ask(method, path, body)
    assert (found, media) == (status, MEDIA_TYPE)
    assert document["status"] == status
    assert document["type"].removeprefix("urn:chronovisor:") in KINDS
    assert document["detail"]
    assert shared.client.get("/v1/config") == [], "nothing of a refused change is stored"


def test_all_problems_of_a_value_come_at_once(shared: Visord) -> None:
    body = b'{"log_level":8,"log_levle":1,"ptp_config":{"domain":256}}'
    problems = shared.ask("PUT", KEY, body)[2]["problems"]
    assert {one["where"] for one in problems} == {"log_level", "log_levle", "ptp_config.domain"}


def test_a_field_that_is_no_text_comes_back_as_it_was(shared: Visord) -> None:
    (problem,) = shared.ask("PATCH", KEY, b'{"\\ud800":1}')[2]["problems"]
    assert problem["where"] == "\ud800"


def test_a_request_larger_than_anything_is_refused_unread(shared: Visord) -> None:
    announced = f"PUT {KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_BYTES + 1}\r\n\r\n"
    answer = raw(shared, announced.encode())  # not one byte of it follows
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert MEDIA_TYPE.encode() in answer


def test_a_request_of_unknown_length_is_refused_unread(shared: Visord) -> None:
    head = f"POST {TRX_CHECK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(shared, head.encode())
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert MEDIA_TYPE.encode() in answer


def test_openapi_describes_every_path_and_only_those(shared: Visord) -> None:
    document = shared.client.get("/openapi.json")
    assert document["openapi"].startswith("3.")
    paths = document["paths"]
    for expected in ("/v1/clock/status", "/v1/events", "/metrics", "/v1/config/document"):
        assert expected in paths
    for path, methods in paths.items():
        for method, described in methods.items():
            assert described["description"], f"{method} {path} has no words"
        assert shared.ask("BREW", path.replace("{", "").replace("}", ""))[0] == 405


def test_metrics_are_read_by_prometheus_own_parser(shared: Visord) -> None:
    status, media, text = shared.ask("GET", "/metrics")
    assert (status, media) == (200, "text/plain")
    families = {one.name: one for one in text_string_to_metric_families(text.decode())}
    assert families["chronovisor_store_revision"].samples[0].value >= 0
    states = families["chronovisor_clock_state"].samples
    assert [one.labels["state"] for one in states if one.value] == ["freerunning"]


def body(random_: random.Random, depth: int = 0) -> Any:
    """Return a JSON value made of what settings are made of, and of what they never should be."""
    names = ("enabled", "ptp_config", "port", "device", "index", "options", "ptp4l", "domain")
    leaves = (
        *(0, -1, 255, 2**64, 1e308, 0.5, True, None, float("nan"), float("inf")),
        *("", "eth0", "\ud800", "\0", "é" * 40, "\u202e", "x" * 4000, "********", "[global]"),
    )
    kind = random_.randrange(4 if depth < 5 else 2)
    if kind < 2:
        return random_.choice(leaves)
    if kind == 2:
        return [body(random_, depth + 1) for _ in range(random_.randrange(4))]
    keys = [random_.choice((*names, "\ud800", "", "a.b", "[0]", "\0")) for _ in range(4)]
    return {key: body(random_, depth + 1) for key in keys[: random_.randrange(5)]}


def place(random_: random.Random) -> str:
    words = ("ptp_config", "port", "[0]", "[999999]", ".", "options", '["x"]', '["', "\0", "ptp4l")
    return "".join(random_.choice(words) for _ in range(random_.randrange(6)))


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_no_body_makes_a_fault(shared: Visord, seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(75):
        value = body(random_)
        fields = {place(random_): body(random_, 3) for _ in range(3)}
        text = json.dumps(value).encode()
        cut = text[: random_.randrange(len(text) + 1)]
        for method, path, data in (
            ("PUT", KEY, text),
            ("PUT", KEY, cut),
            ("PATCH", KEY, json.dumps(fields).encode()),
            ("PATCH", KEY, text),
            ("POST", "/v1/clock/plan", json.dumps({"value": value}).encode()),
            ("POST", "/v1/config/rollback", text),
            ("PUT", "/v1/config/document", json.dumps({"settings": value}).encode()),
            ("POST", TRX_CHECK, text),
        ):
            status, _, answer = shared.ask(method, path, data)
            assert status < 500, (seed, method, path, data, answer)


def hostile(random_: random.Random) -> bytes:
    """Return bytes that begin like a request and go wrong somewhere."""
    good = f"PUT {KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    match random_.randrange(5):
        case 0:
            return random_.randbytes(random_.randrange(1, 400))
        case 1:
            return good[: random_.randrange(len(good))]
        case 2:
            at = random_.randrange(len(good))
            return good[:at] + random_.randbytes(random_.randrange(1, 9)) + good[at + 1 :]
        case 3:
            length = random_.choice(("-1", "9" * 40, "2, 3", "0x2", "²", " ", "+2"))
            return good.replace(b"Length: 2", f"Length: {length}".encode())
        case _:
            long = b"X" * random_.choice((100, 70_000))
            return good.replace(b"Host: x", b"Host: x\r\n" + long + b": " + long)


@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_no_bytes_on_the_socket_end_visord(shared: Visord, seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(100):
        data = hostile(random_)
        assert not raw(shared, data).startswith(b"HTTP/1.1 5"), (seed, data)
    assert shared.process is not None
    assert shared.process.poll() is None
    assert shared.client.get("/v1/health")["condition"] == "ok"
