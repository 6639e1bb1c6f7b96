import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from chronovisor.config import (
    Backend,
    Change,
    Clocks,
    Commit,
    ConfigStore,
    Entry,
    KeyPath,
    Kind,
    Registry,
    StaleKey,
    StaleRevision,
    TrialRecord,
)
from chronovisor.config.records import KeyChange, read_boot_id
from chronovisor.errors import Conflict, InvalidInput, NotFound, Problem, Unavailable

PATH = "host/test/sample"
KEY = KeyPath.parse(PATH)


def rate(store: ConfigStore, path: str = PATH) -> Any:
    entry = store.get(path)
    return entry and entry.value.get("rate")


def put(store: ConfigStore, value: int, **more: Any) -> Commit:
    return store.commit([Change(PATH, {"rate": value})], author="a", **more)


class TestBackend:
    """The contract of every backend."""

    def commit(self, backend: Backend, revision: int, old: Any, new: Any) -> Commit:
        change = KeyChange(KEY, old, new)
        commit = Commit(revision, 10 * revision, "me", "why ü", Kind.SET, (change,))
        backend.commit(commit, None, after=backend.load().token)
        return commit

    def test_is_empty_at_first(self, open_backend: Callable[[], Backend]) -> None:
        backend = open_backend()
        state = backend.load()
        assert (state.revision, dict(state.entries), state.trial) == (0, {}, None)
        assert backend.token() == state.token
        assert backend.history() == []
        assert backend.name

    def test_gives_back_what_was_committed(self, open_backend: Callable[[], Backend]) -> None:
        commits = [
            self.commit(open_backend(), 1, None, {"a": 1, "ü": [None, True, 1.5, "x"]}),
            self.commit(open_backend(), 2, {"a": 1}, {"a": 2}),
        ]
        state = open_backend().load()
        assert state.entries[KEY] == Entry(KEY, {"a": 2}, 2, 20)
        assert state.newest == commits[1]
        assert open_backend().history() == commits[::-1]
        self.commit(open_backend(), 3, {"a": 2}, None)
        assert dict(open_backend().load().entries) == {}

    def test_history_is_cut_as_asked(self, open_backend: Callable[[], Backend]) -> None:
        backend = open_backend()
        first = self.commit(backend, 1, None, {"a": 1})
        other = KeyChange(KeyPath.parse(f"{PATH}/x"), None, {"a": PATH})
        second = Commit(2, 0, "me", "", Kind.SET, (other,))
        backend.commit(second, None, after=backend.token())
        assert backend.history(path=KEY) == [first]
        assert backend.history(newer_than=1) == [second]
        assert backend.history(limit=1) == [second]

    def test_keeps_a_trial_with_its_commit(self, open_backend: Callable[[], Backend]) -> None:
        backend = open_backend()
        trial = TrialRecord(0, 1, 99, "boot", "me")
        backend.commit(Commit(1, 0, "me", "", Kind.SET, ()), trial, after=backend.token())
        assert open_backend().load().trial == trial
        self.commit(backend, 2, None, {})
        assert open_backend().load().trial is None

    def test_refuses_what_was_decided_on_an_older_state(
        self, open_backend: Callable[[], Backend]
    ) -> None:
        one, other = open_backend(), open_backend()
        before = one.token()
        self.commit(other, 1, None, {"a": 1})
        assert one.token() == other.token() != before
        late = Commit(1, 0, "late", "", Kind.SET, (KeyChange(KEY, None, {"a": 2}),))
        with pytest.raises(StaleRevision):
            one.commit(late, None, after=before)
        assert one.load().entries[KEY].value == {"a": 1}

    def test_a_snapshot_and_closing_twice_do_no_harm(
        self, open_backend: Callable[[], Backend]
    ) -> None:
        backend = open_backend()
        self.commit(backend, 1, None, {"a": 1})
        backend.snapshot()
        assert backend.alarms == ()
        backend.close()
        backend.close()
        assert backend.load().revision == 1


def test_a_commit_is_all_of_its_changes_or_none(store: ConfigStore) -> None:
    good, bad = Change(PATH, {"rate": 1}), Change("host/test/many/a", {"rate": 99, "x": 1})
    with pytest.raises(InvalidInput) as caught:
        store.commit([good, bad, Change("host/nope/x", {})], author="a")
    assert [p.where for p in caught.value.problems] == [
        "host/test/many/a: rate",
        "host/test/many/a: x",
        "host/nope/x",
    ]
    assert (store.revision, store.entries()) == (0, ())
    commit = store.commit([good, Change("host/test/many/a", {})], author="a", comment="two")
    assert (commit.revision, len(commit.changes), commit.comment) == (1, 2, "two")


def test_a_check_refuses_too(store: ConfigStore) -> None:
    with pytest.raises(InvalidInput, match="7 is unlucky"):
        put(store, 7)
    assert store.revision == 0


def test_only_what_was_given_is_stored_in_json_form(store: ConfigStore) -> None:
    store.commit([Change(PATH, {"rate": "5", "peers": ({"address": "x"},)})], author="a")
    entry = store.get("esx/test/sample")
    assert entry
    assert entry.value == {"rate": 5, "peers": [{"address": "x"}]}
    assert (entry.revision, entry.changed_at_ns) == (1, 1_700_000_000_000_000_000)


def test_nobody_can_change_what_is_stored_through_what_was_handed_out(store: ConfigStore) -> None:
    store.subscribe(lambda commit: commit.changes[0].new.clear() if commit.changes[0].new else None)
    given = {"options": {"a": 1}}
    commit = store.commit([Change(PATH, given)], author="a")
    given["options"]["a"] = 2
    ways: tuple[Callable[[], Any], ...] = (
        lambda: commit.changes[0].new,
        lambda: store.get(PATH),
        lambda: store.entries()[0],
    )
    for way in ways * 2:
        found = way()
        value = found.value if isinstance(found, Entry) else found
        assert value == {"options": {"a": 1}}
        if way is not ways[0]:
            value["options"]["a"] = 3
    assert commit.changes[0].new
    commit.changes[0].new["options"]["a"] = 4
    entry = store.get(PATH)
    assert entry
    assert entry.value == {"options": {"a": 1}}


def test_changing_nothing_makes_no_revision(store: ConfigStore) -> None:
    assert store.commit([], author="a").revision == 0
    assert store.commit([Change(PATH, None)], author="a").kind == "initial"
    first = put(store, 1)
    assert put(store, 1) == first
    assert store.commit([Change(PATH, {"rate": "1"})], author="b") == first
    store.commit([Change(PATH, {"options": {"a": 1}})], author="a")
    assert store.commit([Change(PATH, {"options": {"a": True}})], author="a").revision == 3


@pytest.mark.parametrize(
    ("path", "error"),
    [("host/test/sampel", NotFound), ("host/test", InvalidInput), ("host/test/many", InvalidInput)],
)
def test_a_wrong_key_is_refused_as_such(
    store: ConfigStore, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.commit([Change(path, {})], author="a")


def test_deleting_an_unknown_key_is_a_slip(store: ConfigStore) -> None:
    with pytest.raises(NotFound, match="no key host/test/sampel"):
        store.commit([Change("host/test/sampel", None)], author="a")


def test_a_key_is_changed_once_in_a_commit(store: ConfigStore) -> None:
    with pytest.raises(InvalidInput, match="more than once"):
        store.commit([Change(PATH, {}), Change("esx/test/sample", None)], author="a")


@pytest.mark.parametrize(
    "more",
    [{"author": ""}, {"author": "a\nb"}, {"author": "x" * 200}, {"comment": "\x00"}]
    + [{"try_s": s} for s in (0, -1, float("nan"), float("inf"), 1e9)],
)
def test_author_comment_and_time_are_checked(store: ConfigStore, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        store.commit([Change(PATH, {})], **{"author": "a", **more})
    assert store.revision == 0


def test_a_stale_revision_names_both_and_who_changed_what(store: ConfigStore) -> None:
    put(store, 1)
    store.commit([Change(PATH, {"rate": 2})], author="bob")
    with pytest.raises(Conflict) as caught:
        put(store, 3, expected_revision=1)
    assert "at revision 2, not at 1 as expected" in caught.value.message
    assert f"bob changed {PATH} in revision 2" in caught.value.message
    with pytest.raises(Conflict, match="9 was expected, but the newest is 2"):
        put(store, 3, expected_revision=9)
    assert put(store, 3, expected_revision=2).revision == 3


def test_a_key_can_be_changed_only_as_it_was_seen(store: ConfigStore) -> None:
    many = "host/test/many/a"

    def change(expected: int, rate: int, path: str = PATH) -> int:
        one = Change(path, {"rate": rate}, expected)
        return store.commit([one], author="a").revision

    assert change(0, 1) == 1
    assert change(0, 5, many) == 2
    assert change(1, 2) == 3  # the other key's change does not matter
    with pytest.raises(StaleKey, match=f"{PATH} was changed in revision 3; revision 1"):
        change(1, 3)
    with pytest.raises(StaleKey, match=f"{PATH} is there already, since revision 3"):
        change(0, 3)
    store.commit([Change(many, None)], author="a")
    with pytest.raises(StaleKey, match=f"{many} is gone; revision 2 of it was expected"):
        change(2, 6, many)
    assert rate(store) == 2


def test_a_gate_judges_every_way_in_with_the_values_before(
    open_backend: Callable[[], Backend], registry: Registry
) -> None:
    asked: list[tuple[object, object]] = []

    def gate(
        values: Mapping[KeyPath, Any], changes: Sequence[KeyChange]
    ) -> Iterator[tuple[KeyPath, Problem]]:
        asked.append((values.get(KeyPath.parse(PATH)), changes[0].new))
        if any(one.new == {"rate": 8} for one in changes):
            yield changes[0].path, Problem("rate", "is too high")

    store = ConfigStore(open_backend(), registry, gate=gate)
    put(store, 1)
    put(store, 2, try_s=60)
    assert store.abandon(author="a").kind is Kind.TRIAL_ABANDONED  # it was in force: not asked
    assert asked == [(None, {"rate": 1}), ({"rate": 1}, {"rate": 2})]
    with pytest.raises(InvalidInput, match=r"^rate: is too high"):
        put(store, 8)
    text = json.dumps({"chronovisor_config": 1, "settings": {PATH: {"rate": 8}}})
    with pytest.raises(InvalidInput, match=f"{PATH}: rate: is too high"):
        store.import_document(text, author="a", replace=True)
    lax = ConfigStore(open_backend(), registry)
    put(lax, 8)
    high = lax.revision
    put(lax, 3)
    with pytest.raises(InvalidInput, match=f"{PATH}: rate: is too high"):
        store.rollback(high, author="a")
    assert rate(store) == 3


def test_entries_are_found_by_prefix(store: ConfigStore) -> None:
    store.commit([Change(PATH, {}), Change("host/test/many/a", {})], author="a")
    for prefix, count in (("", 2), ("host", 2), ("host/test/", 2), ("host/te", 0), (PATH, 1)):
        assert len(store.entries(prefix)) == count


def test_history_diff_and_rollback(store: ConfigStore) -> None:
    put(store, 1)
    store.commit([Change("host/test/many/a", {"rate": 5})], author="a")
    store.commit([Change(PATH, None), Change("host/test/many/a", {"rate": 6})], author="a")
    assert [c.revision for c in store.history(PATH)] == [3, 1]
    assert [c.revision for c in store.history(limit=2)] == [3, 2]
    assert [(str(d.path), d.field, d.old, d.new) for d in store.diff(2, 3)] == [
        ("host/test/many/a", "rate", 5, 6),
        (PATH, "rate", 1, None),
    ]
    assert store.diff(3, 3) == []
    back = store.rollback(1, author="b", path=PATH)
    assert (back.kind, rate(store), rate(store, "host/test/many/a")) == ("rollback", 1, 6)
    store.rollback(2, author="b")
    assert (rate(store), rate(store, "host/test/many/a")) == (1, 5)
    store.rollback(0, author="b")
    assert store.entries() == ()
    for revision in (-1, 99):
        with pytest.raises(NotFound, match=f"no revision {revision}"):
            store.rollback(revision, author="b")
        with pytest.raises(NotFound):
            store.diff(0, revision)


def test_rollback_is_judged_by_todays_schema(
    registry: Registry, open_backend: Callable[[], Backend]
) -> None:
    first = ConfigStore(open_backend(), registry)
    put(first, 5)
    put(first, 1)
    stricter = Registry()
    stricter.register(PATH, registry.spec(PATH).model, description="", check=lambda s: no_five(s))
    later = ConfigStore(open_backend(), stricter)
    with pytest.raises(InvalidInput, match="5 is gone"):
        later.rollback(1, author="a")
    assert rate(later) == 1
    put(first, 5)
    (alarm,) = later.alarms
    assert (alarm.kind, alarm.path) == ("refused_value", PATH)
    assert rate(later) == 5, "what is in force stays in force"


def test_a_sound_value_is_judged_once_unless_more_than_its_model_judges_it(
    open_backend: Callable[[], Backend],
) -> None:
    judged: list[str] = []

    class Noted(BaseModel):
        name: str

        @model_validator(mode="after")
        def note(self) -> "Noted":
            judged.append(self.name)
            return self

    keys = Registry()
    keys.register("host/test/plain", Noted, instances=True, description="")
    keys.register("host/test/checked", Noted, description="", check=lambda _: [])
    store = ConfigStore(open_backend(), keys)
    for name in ("a", "b"):
        store.commit([Change(f"host/test/plain/{name}", {"name": name})], author="a")
    store.commit([Change("host/test/checked", {"name": "checked"})], author="a")
    assert store.alarms == ()
    store.commit([Change("host/test/plain/a", {"name": "c"})], author="a")
    judged.clear()
    assert store.alarms == ()
    assert sorted(judged) == ["c", "checked"]


def no_five(sample: Any) -> list[Any]:
    return [Problem("rate", "5 is gone")] if sample.rate == 5 else []


class TestTrial:
    def test_the_old_value_comes_back(self, store: ConfigStore, fake: Any) -> None:
        put(store, 1)
        put(store, 2, try_s=60)
        fake.pass_s(59)
        assert store.expire() is None
        assert store.trial
        assert (store.trial.base_revision, store.trial.seconds_left) == (1, 1.0)
        assert rate(store) == 2
        fake.pass_s(1)
        expired = store.expire()
        assert expired
        assert expired.kind is Kind.TRIAL_EXPIRED
        assert rate(store) == 1
        assert store.expire() is None
        assert store.trial is None

    def test_a_confirmed_value_stays(self, store: ConfigStore, fake: Any) -> None:
        put(store, 2, try_s=60)
        assert store.confirm(author="b").kind == "trial_confirmed"
        fake.pass_s(100)
        assert (store.expire(), rate(store)) == (None, 2)
        with pytest.raises(NotFound, match="no change is on trial"):
            store.confirm(author="b")

    def test_a_confirmation_can_be_too_late(self, store: ConfigStore, fake: Any) -> None:
        put(store, 2, try_s=60)
        fake.pass_s(61)
        with pytest.raises(Conflict, match="is over"):
            store.confirm(author="b")
        assert store.get(PATH) is None

    def test_it_can_be_abandoned(self, store: ConfigStore) -> None:
        put(store, 1)
        put(store, 2, try_s=60)
        assert store.abandon(author="b").kind == "trial_abandoned"
        assert (rate(store), store.trial) == (1, None)

    def test_nothing_else_changes_meanwhile(self, store: ConfigStore, fake: Any) -> None:
        put(store, 2, try_s=60)
        for refused in (2, 3):
            with pytest.raises(Conflict, match="revision 1 of a is on trial for another 60 s"):
                put(store, refused)
        with pytest.raises(Conflict):
            store.rollback(0, author="b")
        fake.pass_s(61)
        assert put(store, 3).revision == 3, "an overdue trial ends first"
        assert [c.kind for c in store.history()] == ["set", "trial_expired", "set"]

    def test_the_wall_clock_does_not_matter(self, store: ConfigStore, fake: Any) -> None:
        put(store, 2, try_s=60)
        fake.wall_ns += 10**18
        assert store.expire() is None

    def test_it_outlives_a_restart_and_not_a_reboot(
        self, registry: Registry, fake: Any, open_backend: Callable[[], Backend]
    ) -> None:
        put(ConfigStore(open_backend(), registry, clocks=fake.clocks()), 1)
        put(ConfigStore(open_backend(), registry, clocks=fake.clocks()), 2, try_s=60)
        assert rate(ConfigStore(open_backend(), registry, clocks=fake.clocks())) == 2
        fake.boot_id, fake.boot_ns = "second boot", 0
        assert rate(ConfigStore(open_backend(), registry, clocks=fake.clocks())) == 1

    def test_it_ends_while_nobody_runs(
        self, registry: Registry, fake: Any, open_backend: Callable[[], Backend]
    ) -> None:
        put(ConfigStore(open_backend(), registry, clocks=fake.clocks()), 2, try_s=60)
        fake.pass_s(3600)
        assert rate(ConfigStore(open_backend(), registry, clocks=fake.clocks())) is None

    def test_real_clocks_work(
        self, registry: Registry, open_backend: Callable[[], Backend]
    ) -> None:
        store = ConfigStore(open_backend(), registry)
        put(store, 2, try_s=600)
        assert store.trial
        assert 500 < store.trial.seconds_left <= 600
        assert store.expire(store.trial.deadline_boot_ns)


def test_the_boot_id_is_the_kernels(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot read"):
        read_boot_id(tmp_path / "none")
    assert read_boot_id() == Clocks().boot_id()


class TestSubscribers:
    def test_hear_of_every_commit_in_order(self, store: ConfigStore) -> None:
        heard: list[int] = []
        stop = store.subscribe(lambda commit: heard.append(commit.revision))
        put(store, 1)
        put(store, 1)
        put(store, 2)
        stop()
        stop()
        put(store, 3)
        assert heard == [1, 2]

    def test_may_commit_themselves(self, store: ConfigStore) -> None:
        order: list[tuple[str, int]] = []

        def commit_again(commit: Commit) -> None:
            if commit.revision < 3:
                put(store, commit.revision + 1)

        store.subscribe(commit_again)
        store.subscribe(lambda commit: order.append(("late", commit.revision)))
        put(store, 1)
        assert order == [("late", 1), ("late", 2), ("late", 3)]

    def test_one_that_fails_harms_nobody(
        self, store: ConfigStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard: list[int] = []

        def fail(_: Commit) -> None:
            raise RuntimeError("bug")

        store.subscribe(fail)
        store.subscribe(lambda commit: heard.append(commit.revision))
        assert put(store, 1).revision == 1
        assert heard == [1]
        assert "a subscriber failed on revision 1" in caplog.text

    def test_hear_of_other_processes(
        self, registry: Registry, open_backend: Callable[[], Backend]
    ) -> None:
        one, other = (ConfigStore(open_backend(), registry) for _ in range(2))
        heard: list[Commit] = []
        one.subscribe(heard.append)
        commits = [put(other, 1), put(other, 2)]
        assert rate(one) == 2
        assert heard == commits
        assert put(one, 3).revision == 3
        assert rate(other) == 3


def test_reads_do_not_wait_for_a_commit(store: ConfigStore) -> None:
    put(store, 1)
    held, done = threading.Event(), threading.Event()

    def commit_slowly() -> None:
        with store._ledger.committing():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=commit_slowly)
    thread.start()
    assert held.wait(10)
    assert (rate(store), store.revision) == (1, 1)
    done.set()
    thread.join()


def test_threads_commit_one_after_the_other(
    registry: Registry, open_backend: Callable[[], Backend]
) -> None:
    store = ConfigStore(open_backend(), registry)
    heard: list[int] = []
    store.subscribe(lambda commit: heard.append(commit.revision))

    def work(name: str) -> None:
        for n in range(5):
            store.commit([Change(f"host/test/many/{name}", {"rate": n})], author=name)
            store.get(PATH)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.refresh()
    assert store.revision == 20
    assert heard == list(range(1, 21))
