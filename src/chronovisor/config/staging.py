"""From what somebody wants to the values that shall be in force: pure, every problem at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from chronovisor.config.keys import KeyPath
from chronovisor.config.records import Change, Commit, Entry, KeyChange, State, Value
from chronovisor.config.registry import Registry, storable
from chronovisor.config.words import shown
from chronovisor.errors import ChronovisorError, Conflict, InvalidInput, NotFound, Problem


class StaleKey(Conflict):
    """A key was changed since the value that a change of it was decided on."""


Gate = Callable[[Mapping[KeyPath, Value], Sequence[KeyChange]], Iterable[tuple[KeyPath, Problem]]]
"""Judges changes of several keys together, given the values before them: problems by key, each
with its place inside the key's value. Called with the store's lock held: it must not use the store.
"""

_AUTHOR_LENGTH_MAX = 128
_COMMENT_LENGTH_MAX = 4096


def staged(
    registry: Registry, values: Mapping[KeyPath, Value], changes: Sequence[Change]
) -> dict[KeyPath, Value]:
    """Return `values` with `changes` made, each value judged and in the form that is stored.

    Raises `InvalidInput` with every problem of every change. With a single change its own error
    passes as it is, so that a wrong key is `NotFound`.
    """
    paths = [KeyPath.of(change.path) for change in changes]
    refused = [
        Problem(str(path), "is given more than once")
        for path in sorted(set(paths))
        if paths.count(path) > 1
    ]
    after = dict(values)
    errors: list[tuple[KeyPath, ChronovisorError]] = []
    for path, change in zip(paths, changes, strict=True):
        try:
            if change.value is not None:
                after[path] = storable_value(registry, path, change.value, values.get(path))
            elif after.pop(path, None) is None:
                registry.spec(path)  # a key that never was is a slip, one not set is fine
        except (InvalidInput, NotFound) as error:
            errors.append((path, error))
    _raise_all(errors, refused, alone=len(paths) == 1)
    return after


def storable_value(registry: Registry, path: KeyPath, given: object, stored: Value | None) -> Value:
    """Return a value in the form that is stored: masks resolved, judged, only what was given.

    Raises `InvalidInput` with every problem, `NotFound` when there is no such key.
    """
    return storable(registry.validate(path, registry.unmask(path, given, stored)))


def judged(
    registry: Registry, values: Mapping[KeyPath, Value], wanted: Mapping[KeyPath, Value]
) -> dict[KeyPath, Value]:
    """Return `wanted` once every value in it that differs from `values` passed today's schema."""
    changes = [Change(p, v) for p, v in wanted.items() if v != values.get(p)]
    return {**wanted, **{p: v for p, v in staged(registry, {}, changes).items() if p in wanted}}


def refuse_stale(entries: Mapping[KeyPath, Entry], changes: Sequence[Change]) -> None:
    """Raise `StaleKey` for a change that was decided on another value of its key."""
    for change in changes:
        path = KeyPath.of(change.path)
        now = entries[path].revision if path in entries else 0
        if change.expected_revision is None or change.expected_revision == now:
            continue
        if not change.expected_revision:
            raise StaleKey(f"{path} is there already, since revision {now}", hint="change it")
        what = f"was changed in revision {now}" if now else "is gone"
        raise StaleKey(
            f"{path} {what}; revision {change.expected_revision} of it was expected",
            hint="read it again, then repeat the change",
        )


def refuse_together(found: Iterable[tuple[KeyPath, Problem]], *, alone: bool) -> None:
    """Raise `InvalidInput` if a gate found anything; `alone` when one key is what was asked for."""
    problems = [(path, one) for path, one in found]
    if alone and problems:
        raise InvalidInput(str(problems[0][1]), [one for _, one in problems])
    _raise_all(
        [(path, InvalidInput(one.message, [one])) for path, one in problems], (), alone=False
    )


def _raise_all(
    errors: Sequence[tuple[KeyPath, ChronovisorError]],
    refused: Sequence[Problem],
    *,
    alone: bool,
) -> None:
    if alone and errors:
        raise errors[0][1]
    problems = [*refused, *(p for path, error in errors for p in _located(path, error))]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        text = "; ".join(str(problem) for problem in problems[:3])
        raise InvalidInput(f"nothing was changed: {count}: {text}", problems)


def _located(path: KeyPath, error: ChronovisorError) -> Iterator[Problem]:
    """Yield the problems of one key with the key in front of each place."""
    if not isinstance(error, InvalidInput) or not error.problems:
        yield Problem(str(path), error.message, "", error.hint or "")
        return
    for problem in error.problems:
        where = f"{path}: {problem.where}" if problem.where else str(path)
        yield Problem(where, problem.message, problem.value, problem.valid)


def told(author: str, comment: str) -> Iterator[Problem]:
    """Yield what is wrong with a commit's author and comment."""
    if not (0 < len(author) <= _AUTHOR_LENGTH_MAX and author.isprintable()):
        valid = f"1 to {_AUTHOR_LENGTH_MAX} printable characters"
        yield Problem("author", f"{shown(author)} cannot be an author", ascii(author), valid)
    plain = "".join(comment.splitlines())
    if len(comment) > _COMMENT_LENGTH_MAX or not plain.isprintable():
        valid = f"at most {_COMMENT_LENGTH_MAX} printable characters"
        yield Problem("comment", "cannot be a comment", ascii(comment)[:80], valid)


def stale(state: State, expected: int, since: Sequence[Commit]) -> Conflict:
    """Return the refusal of a change that was decided on revision `expected`.

    `since` are the commits after it, newest first.
    """
    if expected > state.revision:
        return Conflict(
            f"revision {expected} was expected, but the newest is {state.revision}",
            hint="the store was recovered or replaced meanwhile; read it again",
        )
    what = "; ".join(_summary(commit) for commit in since[:3])
    more = f" and {len(since) - 3} commits before" if len(since) > 3 else ""
    return Conflict(
        f"the store is at revision {state.revision}, not at {expected} as expected: {what}{more}",
        hint="read it again, then repeat the change",
    )


def _summary(commit: Commit) -> str:
    keys: Any = ", ".join(str(change.path) for change in commit.changes) or "nothing"
    return f"{commit.author} changed {keys} in revision {commit.revision} ({commit.kind.value})"
