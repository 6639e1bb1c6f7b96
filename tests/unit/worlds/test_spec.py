"""Specs: refused when they could never run, and the same after JSON."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import InvalidInput
from chronovisor.worlds import Limits, LogLimits, RestartPolicy, WorldSpec

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
SPECS = st.builds(
    WorldSpec,
    name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    argv=st.tuples(TEXT.filter(bool), TEXT, TEXT),
    env=st.dictionaries(st.text(string.ascii_letters, min_size=1), TEXT, max_size=3),
    user=st.none() | st.just("nobody"),
    working_directory=st.none() | st.just("/tmp"),
    limits=st.builds(
        Limits,
        memory_bytes=st.none() | st.integers(1 << 20, 1 << 40),
        cpu_percent=st.none() | st.integers(1, 400),
        processes=st.none() | st.integers(1, 1000),
        fifo_priority=st.none() | st.integers(1, 99),
        open_files=st.none() | st.integers(3, 1000),
    ),
    restart=st.builds(
        RestartPolicy,
        min_uptime_s=st.floats(0, 100),
        max_quick_failures=st.none() | st.integers(1, 100),
        max_total_failures=st.none() | st.integers(1, 100),
        mode=st.sampled_from(["always", "on_failure", "never"]),
    ),
    stop_signal=st.sampled_from(["SIGTERM", "SIGINT"]),
    stop_timeout_s=st.floats(0, 100),
    generation=TEXT,
    log=st.builds(LogLimits, max_bytes=st.integers(4096, 1 << 30), files=st.integers(1, 9)),
    lock=st.none() | st.just("system-clock"),
)


@given(SPECS)
def test_json_and_back(spec: WorldSpec) -> None:
    assert WorldSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_all_problems_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        WorldSpec(
            "Not a name",
            ("a\0b",),
            env={"A=B": "x"},
            limits=Limits(fifo_priority=100, memory_bytes=1),
            restart=RestartPolicy(backoff_initial_s=9, backoff_max_s=1),
            stop_signal="SIGNOTHING",
            lock="../clock",
        )
    assert [problem.where for problem in caught.value.problems] == [
        "name",
        "lock",
        "argv[0]",
        "env",
        "stop_signal",
        "limits.memory_bytes",
        "limits.fifo_priority",
        "restart.backoff_max_s",
    ]
    assert all(problem.message for problem in caught.value.problems)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "..", "a.b", "a\n", "ä", "a" * 129])
def test_names_that_could_leave_the_directory_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        WorldSpec(name, ("true",))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"name": "a"},
        {"name": "a", "argv": "true"},
        {"name": "a", "argv": ["x"], "restart": 3},
    ],
)
def test_damaged_documents_are_refused(document: object) -> None:
    with pytest.raises(InvalidInput):
        WorldSpec.from_json(document)
