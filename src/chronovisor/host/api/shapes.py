"""Shapes that several subjects of the API answer with, and how times of day are written."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from chronovisor.config import Commit


def iso_time(at_ns: int) -> str:
    """Return a time of day as ISO 8601 text in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")


class KeyChangeShape(BaseModel):
    """What a commit did to one key; `null` is "not there"."""

    path: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None


class CommitShape(BaseModel):
    """One transaction of the Config Store."""

    revision: int
    at: str
    author: str
    comment: str
    kind: str
    paths: list[str]
    changes: list[KeyChangeShape]


def commit_shape(commit: Commit) -> CommitShape:
    """Return a commit as the API shows it."""
    return CommitShape(
        revision=commit.revision,
        at=iso_time(commit.at_ns),
        author=commit.author,
        comment=commit.comment,
        kind=commit.kind.value,
        paths=[str(change.path) for change in commit.changes],
        changes=[
            KeyChangeShape(path=str(change.path), old=change.old, new=change.new)
            for change in commit.changes
        ],
    )
