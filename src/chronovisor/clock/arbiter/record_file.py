"""The arbiter's record on disk: who owned the system clock last, and since when.

It is kept in the run directory, so that a boot forgets it. It is written when a decision changes,
before anything is done about it: whoever finds the daemons half changed then knows the direction.
"""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from chronovisor.clock.arbiter.evidence import Owner, Phase, Record
from chronovisor.clock.daemons import write

RIGHT_EVERY_S = 10.0
"""How often a clock that is still right is noted without a change: 10 ppm make 0.1 ms of it."""

_NOT_KEPT = ("steady_since_s",)


class RecordFile:
    """One file; each write replaces it whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = Record()

    def read(self, now_s: float) -> Record:
        """Return the record; an empty one where the file is missing or damaged."""
        try:
            self._kept = _record(json.loads(self._path.read_text(encoding="utf-8")), now_s)
        except (OSError, ValueError, KeyError, TypeError):
            self._kept = Record()
        return self._kept

    def write(self, record: Record) -> None:
        """Keep a record if it says something new; raises `Unavailable` where it cannot be."""
        if not _differs(record, self._kept):
            return
        document = {
            field.name: getattr(record, field.name)
            for field in fields(record)
            if field.name not in _NOT_KEPT
        }
        write(self._path, json.dumps(document))
        self._kept = record


def _differs(new: Record, old: Record) -> bool:
    if (new.owner, new.phase, new.wanted_s) != (old.owner, old.phase, old.wanted_s):
        return True
    if new.right_until_s is None or old.right_until_s is None:
        return new.right_until_s is not old.right_until_s
    return abs(new.right_until_s - old.right_until_s) >= RIGHT_EVERY_S


def _record(document: Any, now_s: float) -> Record:
    return Record(
        owner=None if document["owner"] is None else Owner(document["owner"]),
        phase=Phase(document["phase"]),
        since_s=_past(document["since_s"], now_s) or 0.0,
        since_ns=int(document["since_ns"]),
        wanted_s=_past(document["wanted_s"], now_s),
        right_until_s=_past(document["right_until_s"], now_s),
    )


def _past(value: Any, now_s: float) -> float | None:
    """Return a time of this boot; raises `ValueError` for one that has not come yet."""
    if value is None:
        return None
    time_s = float(value)
    if not math.isfinite(time_s) or not 0.0 <= time_s <= now_s:
        raise ValueError(f"{value!r} is no time of this boot")
    return time_s
