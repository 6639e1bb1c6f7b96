"""Which time settings hold: the store's value with the operator's trx.conf laid over it.

A trx.conf with an error is never applied. What held before goes on to hold, also over a restart of
visord: the last file that was good is kept beside the store.
"""

import contextlib
import stat
import threading
from errno import EINVAL
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chronovisor.clock import trx_conf
from chronovisor.clock.daemons import write
from chronovisor.clock.engine import Engine
from chronovisor.clock.profiles import expand
from chronovisor.clock.settings import PATH, SystemTime
from chronovisor.clock.trx_conf import TrxConf
from chronovisor.config import Change, Commit, ConfigStore, Overlay, Preset, Registry
from chronovisor.config.fields import assign, lookup, parse_place
from chronovisor.errors import ChronovisorError, InvalidInput, Unavailable

_NOTHING = b""


class SystemTimeSource:
    """The time settings that hold. May be used from any thread.

    `problem` says what is wrong with the file, empty while it is well.
    """

    def __init__(
        self, store: ConfigStore, registry: Registry, file: Path, directory: Path, engine: Engine
    ) -> None:
        self._store = store
        self._registry = registry
        self._file = file
        self._kept = directory / "trx.conf.good"
        self._engine = engine
        self._lock = threading.Lock()
        self._seen: tuple[object, ...] = ()
        self._overlay = self._good_one()
        self.problem = ""

    def stored(self) -> dict[str, Any]:
        """Return what the store holds, without the file."""
        entry = self._store.get(PATH)
        return entry.value if entry else {}

    def given(self) -> SystemTime:
        """Return the settings as they were given, by store and file; a profile not filled in.

        Raises `InvalidInput` where the store holds what an older release took and this does not.
        """
        return self._laid(self._stored_settings(), self._overlay).settings

    def effective(self) -> SystemTime:
        """Return the settings that hold: defaults, profile, store, file; raises as `given`."""
        return expand(self.given(), self._engine.catalogue).settings

    def _stored_settings(self) -> SystemTime:
        stored = self.stored()
        try:
            return SystemTime.model_validate(stored)
        except ValidationError:
            self._registry.validate(PATH, stored)  # says the same with every place and value
            raise

    def overlays(self) -> list[Overlay]:
        """Return the file's values with their lines, for showing where a value comes from."""
        laid = self._laid(self._stored_settings(), self._overlay)
        values = {field: (one.value, one.line) for field, one in laid.origins.items()}
        return [Overlay(self._file.name, values)] if values else []

    def presets(self) -> list[Preset]:
        """Return the values that the profile adds, for showing where a value comes from."""
        given = self.given()
        values = expand(given, self._engine.catalogue).values
        name = given.ptp_config.profile
        return [Preset(f"profile:{name.value}", values)] if name and values else []

    def _laid(self, settings: SystemTime, file: TrxConf) -> trx_conf.Overlay:
        return trx_conf.overlay(settings, file, self._engine.catalogue)

    def proposed(self, value: Any) -> SystemTime:
        """Return the settings that would hold with another stored value.

        Raises `InvalidInput` with every problem of the value, alone and with the file over it.
        """
        settings = self._registry.validate(PATH, value)
        assert isinstance(settings, SystemTime)
        self._refuse(trx_conf.judge(self._overlay, self._engine.catalogue, settings))
        laid = self._laid(settings, self._overlay).settings
        return expand(laid, self._engine.catalogue).settings

    def check(self, content: bytes, name: str) -> TrxConf:
        """Return a file's content if it could hold; raises `InvalidInput` with every error."""
        settings = self._stored_settings()
        return trx_conf.checked(content, self._engine.catalogue, settings, name=name)

    def import_file(self, content: bytes, name: str, *, author: str, comment: str) -> Commit:
        """Move a file's options into the store, as one commit."""
        revision = self._store.revision
        file = self.check(content, name)
        laid = self._laid(self._stored_settings(), file)
        value = self.stored()
        for field, origin in laid.origins.items():
            place = parse_place(field)
            with contextlib.suppress(LookupError):
                self._drop_other_names(lookup(value, place[:-1]), str(place[-1]))
            assign(value, place, origin.value)
        return self._store.commit(
            [Change(PATH, value)],
            author=author,
            comment=comment or f"options of {name}",
            expected_revision=revision,
        )

    def _drop_other_names(self, options: dict[str, Any], name: str) -> None:
        """Remove an option that is stored under its other name (slaveOnly, clientOnly)."""
        canonical = self._engine.catalogue.canonical
        for other in [key for key in options if key != name and canonical(key) == canonical(name)]:
            del options[other]

    def export(self) -> str:
        """Return the passthrough options that hold now as a file."""
        return trx_conf.render(trx_conf.export(self.given()))

    def reload(self) -> bool:
        """Read the file if it changed; return whether anything is different from before.

        What it is judged by counts too: a file that names a port holds once the port is there.
        """
        with self._lock:
            seen = (self._read_stamp(), self._store.revision, self._engine.release)
            if seen == self._seen:
                return False
            self._seen = seen
            before = (self._overlay, self.problem)
            self.problem = self._take()
            return before != (self._overlay, self.problem)

    def _take(self) -> str:
        """Have the file hold if it can; return what is wrong with it."""
        try:
            content = self._content()
            self._overlay = (
                self.check(content, self._file.name) if content else TrxConf(name=self._file.name)
            )
        except OSError as error:
            return f"{self._file} cannot be read: {error.strerror}"
        except ChronovisorError as error:
            return f"{self._file} is not applied: {_first_words(error)}"
        try:
            write(self._kept, content.decode("utf-8-sig"))
        except Unavailable as error:
            return f"{self._file} is applied, but a restart may forget it: {error.message}"
        return ""

    def _content(self) -> bytes:
        """Return what the file holds; nothing where there is none. Raises `OSError`."""
        try:
            if not stat.S_ISREG(self._file.stat().st_mode):  # reading a FIFO would never end
                raise OSError(EINVAL, "it is not a file")
            with self._file.open("rb") as file:
                return file.read(trx_conf.MAX_BYTES + 1)
        except FileNotFoundError:
            return _NOTHING

    def _read_stamp(self) -> tuple[int, ...]:
        try:
            status = self._file.stat()
        except OSError as error:
            return (error.errno or 0,)
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _good_one(self) -> TrxConf:
        """Return the last file that was applied; an empty one where there is none."""
        try:
            return trx_conf.parse(self._kept.read_bytes(), name=self._file.name)
        except (OSError, InvalidInput):
            return TrxConf(name=self._file.name)

    @staticmethod
    def _refuse(problems: list[Any]) -> None:
        if problems:
            raise InvalidInput(str(problems[0]), problems)


def _first_words(error: ChronovisorError) -> str:
    problems = error.problems if isinstance(error, InvalidInput) else ()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0] if problems else error.message}{more}"
