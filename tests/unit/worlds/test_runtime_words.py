"""What a runtime prints: read where it is what it should be, refused in words where not."""

import contextlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError, ToolFailed
from chronovisor.worlds.container.runtime import (
    ContainerState,
    failure,
    parse_state,
    parse_version,
)

STATE = {
    "ociVersion": "1.0.2-dev", "id": "w", "pid": 21627, "status": "created", "bundle": "/b",
    "created": "2026-11-21T09:56:53.617299095Z", "owner": "",
}  # fmt: skip


def test_state() -> None:
    assert parse_state(json.dumps(STATE)) == ContainerState("w", "created", 21627, "/b")
    stopped = {key: value for key, value in STATE.items() if key != "pid"}
    assert parse_state(json.dumps(stopped | {"status": "stopped"})).pid == 0


@pytest.mark.parametrize(
    "change",
    [{"pid": "1"}, {"pid": -1}, {"pid": True}, {"pid": 1 << 40}, {"status": "fine"}, {"id": 3}],
)
def test_what_is_no_state_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        parse_state(json.dumps(STATE | change))


def test_states_broken_at_random() -> None:
    """A seed makes it repeatable: whatever comes out is a state or a refusal, nothing else."""
    source = random.Random(7)
    good = json.dumps(STATE)
    for _ in range(3000):
        letters = list(good)
        for _ in range(source.randrange(1, 6)):
            at = source.randrange(len(letters))
            deed = source.randrange(3)
            if deed == 0:
                del letters[at]
            elif deed == 1:
                letters.insert(at, chr(source.randrange(0x110000 - 0x900)))
            else:
                letters[at : at + source.randrange(9)] = []
            letters = letters or ["x"]
        try:
            state = parse_state("".join(letters))
        except ProtocolError:
            continue
        assert isinstance(state, ContainerState)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000])
def test_deep_ones_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_state(text)
    assert failure(text) == ""


@given(st.text(max_size=500))
def test_any_text_is_a_log(text: str) -> None:
    assert len(failure(text)) <= 501


def test_the_last_error_counts() -> None:
    log = "\n".join(
        [
            '{"level":"warning","msg":"careful"}',
            '{"level":"error","msg":"first"}',
            "not json",
            '["error"]',
            '{"level":"error","msg":"second\\n  line"}',
            '{"level":"error","msg":{"no":"text"}}',
        ]
    )
    assert failure(log) == "second line"
    assert failure(json.dumps({"level": "error", "msg": "x" * 9999})) == "x" * 500 + "…"


@pytest.mark.parametrize(
    ("text", "name", "version", "numbers"),
    [
        ("runc version 1.1.5+ds1\ncommit: 1.1.5\n", "runc", "1.1.5+ds1", (1, 1)),
        ("crun version 1.8.1\ncommit: f8\n", "crun", "1.8.1", (1, 8)),
        ("runc version 1.0.0-rc93\n", "runc", "1.0.0-rc93", (1, 0)),
        ("youki version 0.3.0", "youki", "0.3.0", (0, 3)),
    ],
)
def test_versions(text: str, name: str, version: str, numbers: tuple[int, int]) -> None:
    runtime, found = parse_version("/x", text)
    assert (runtime.name, runtime.version, found) == (name, version, numbers)


@given(st.text(max_size=200))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    with contextlib.suppress(ToolFailed):
        parse_version("/x", text)
