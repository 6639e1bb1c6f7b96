"""Config Store: every setting of the host at `component / group / key [/ instance]`.

>>> registry = Registry()
>>> registry.register("host/system/system_time", SystemTime, description="How time is kept")
>>> store = ConfigStore(SqliteBackend("/var/lib/chronovisor/config.db"), registry)
>>> store.commit([Change("host/system/system_time", {"enabled": False})], author="root")

A plane registers its keys with their models. A value is judged whole before it is stored, all its
problems at once; a commit changes any number of keys or none, is durable when it returns, and can
be on trial. The history keeps every revision.
"""

from chronovisor.config.backend import Backend, StaleRevision
from chronovisor.config.fields import Difference
from chronovisor.config.keys import KeyPath
from chronovisor.config.overlays import Origin, Overlay, Preset, effective, merge
from chronovisor.config.records import (
    Alarm,
    Change,
    Clocks,
    Commit,
    Entry,
    KeyChange,
    Kind,
    State,
    Trial,
    TrialRecord,
)
from chronovisor.config.registry import KeySpec, Registry
from chronovisor.config.secret import MASK, Secret, mask, unmask
from chronovisor.config.settings import Settings
from chronovisor.config.sqlite_backend import SqliteBackend
from chronovisor.config.staging import Gate, StaleKey
from chronovisor.config.store import ConfigStore

__all__ = [
    "MASK",
    "Alarm",
    "Backend",
    "Change",
    "Clocks",
    "Commit",
    "ConfigStore",
    "Difference",
    "Entry",
    "Gate",
    "KeyChange",
    "KeyPath",
    "KeySpec",
    "Kind",
    "Origin",
    "Overlay",
    "Preset",
    "Registry",
    "Secret",
    "Settings",
    "SqliteBackend",
    "StaleKey",
    "StaleRevision",
    "State",
    "Trial",
    "TrialRecord",
    "effective",
    "mask",
    "merge",
    "unmask",
]
