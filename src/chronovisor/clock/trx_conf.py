"""trx.conf: options of ptp4l, phc2sys and ptpd in a file, laid over those of the Config Store.

::

    # one option a line: <namespace>:<key> <value>
    ptp4l:logAnnounceInterval -2
    phc2sys:R 8
    ptp4l:port0:delay_mechanism P2P
    ptp4l=port1:logSyncInterval -3
    ptpd:servo:kp 0.2

`port<N>` means the port with that `index` in the settings. `#` starts a comment at the start of a
line only. A line ends with LF or CRLF; the file is UTF-8, with or without a byte order mark.
Namespaces are `ptp4l`, `phc2sys`, `ptpd` and `sys2vmw`; the last is read and refused. A key of ptpd
is its section and its name.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from chronovisor.clock import ptpd
from chronovisor.clock.catalogue import Catalogue, Scope
from chronovisor.clock.catalogue.text import LINE_BYTES, as_text
from chronovisor.clock.check import check_settings
from chronovisor.clock.linuxptp.options import field_path
from chronovisor.clock.settings import Options, OptionValue, PassthroughOptions, SystemTime
from chronovisor.errors import InvalidInput, Problem

MAX_BYTES = 256 * 1024
"""Size above which a file is refused unread; every option for every port needs less."""

_MAX_LINE = LINE_BYTES + 64  # what an option may have, and its namespace and port
_NAMESPACES = ("ptp4l", "phc2sys", "ptpd", "sys2vmw")
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SPACE = " \t"
_WORD = re.compile(r"([^ \t:=]*)([:=]?)")
_PORT = re.compile(r"port(0|[1-9][0-9]?)")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
_PTPD_KEY = re.compile(r"[a-z0-9_]+:[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """An option of a trx.conf: `port` is a port's index, None for the whole program.

    The places (from 1; `column` that of the key) do not count when entries are compared.
    """

    namespace: str
    port: int | None
    key: str
    value: str
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)
    value_column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Return the entry as a line of the file."""
        port = "" if self.port is None else f"port{self.port}:"
        return f"{self.namespace}:{port}{self.key} {self.value}"


@dataclass(frozen=True, slots=True)
class TrxConf:
    """The options of a file in their order; `name` is the file's for messages."""

    entries: tuple[Entry, ...] = ()
    name: str = field(default="trx.conf", compare=False)

    def place(self, entry: Entry) -> str:
        """Return where an entry's key stands: `trx.conf:12:7`."""
        return f"{self.name}:{entry.line}:{entry.column}"


@dataclass(frozen=True, slots=True)
class Origin:
    """A value that the file gives, and the place of its key."""

    value: OptionValue
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Overlay:
    """Settings with a file laid over them, and which fields the file gives.

    `origins` is by field path: `options.ptp4l.priority1`, `ptp_config.port[0].options.BMCA`
    (`[0]` is the position in the list, not the port's index; a name with dots is quoted, as the
    Config Store writes it: `options.ptp4l["G.8275.defaultDS.localPriority"]`).
    """

    settings: SystemTime
    origins: Mapping[str, Origin]


def parse(text: str | bytes, *, name: str = "trx.conf") -> TrxConf:
    """Return the options of a file; raises InvalidInput with every problem in it.

    Only the file's own rules are looked at; what an option means is for `judge`.
    """
    trx, problems = _read(text, name)
    if problems:
        raise _refusal(name, problems)
    return trx


def checked(
    text: str | bytes, catalogue: Catalogue, settings: SystemTime, *, name: str = "trx.conf"
) -> TrxConf:
    """Return the options of a file that can be laid over these settings.

    Raises InvalidInput with every problem of `parse` and of `judge`, in the order of the file. How
    options go together is looked at once each line is right by itself.
    """
    trx, problems = _read(text, name)
    if problems:
        problems += _each_entry(trx, catalogue, settings)
        problems.sort(key=lambda problem: _line_and_column(problem, name))
    else:
        problems = judge(trx, catalogue, settings)
    if problems:
        raise _refusal(name, problems)
    return trx


def _line_and_column(problem: Problem, name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in problem.where.removeprefix(name).split(":")[1:])


def _read(text: str | bytes, name: str) -> tuple[TrxConf, list[Problem]]:
    """Return the options of the lines that can be read, and what is wrong with the others."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        raise _refusal(
            name, [Problem(name, f"the file has more than {MAX_BYTES // 1024} KiB; is it the one?")]
        )
    if data.startswith(_UTF16):
        raise _refusal(name, [Problem(name, "the file is UTF-16; save it as UTF-8")])
    entries: list[Entry] = []
    problems: list[Problem] = []
    first: dict[tuple[str, int | None, str], int] = {}
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), start=1):
        try:
            entry = _entry(line.removesuffix(b"\r"), number)
        except _Flaw as flaw:
            problems.append(flaw.problem(name, number))
            continue
        if entry is None:
            continue
        before = first.setdefault((entry.namespace, entry.port, entry.key), number)
        if before != number:
            where = f"{name}:{number}:{entry.column}"
            problems.append(Problem(where, f"{entry.key} is already set in line {before}"))
        entries.append(entry)
    return TrxConf(tuple(entries), name), problems


def render(trx: TrxConf) -> str:
    """Return the file that `parse` reads as `trx`."""
    return "".join(f"{entry}\n" for entry in trx.entries)


def export(settings: SystemTime) -> TrxConf:
    """Return the passthrough options of settings as a file."""
    scopes: list[tuple[str, int | None, Options]] = [
        ("ptp4l", None, settings.options.ptp4l),
        ("phc2sys", None, settings.options.phc2sys),
        ("ptpd", None, settings.options.ptpd),
    ]
    scopes += [("ptp4l", port.index, port.options) for port in settings.ptp_config.port]
    return TrxConf(
        tuple(
            Entry(namespace, port, key, as_text(value))
            for namespace, port, options in scopes
            for key, value in options.items()
        )
    )


def overlay(settings: SystemTime, trx: TrxConf, catalogue: Catalogue) -> Overlay:
    """Return the settings that hold with the file laid over those of the store.

    An option of the file takes the place of the same option under a deprecated name. Importing a
    file is storing `overlay(...).settings`. Entries of ports that do not exist are left out
    (`judge` reports them).
    """
    document = settings.model_dump(exclude_unset=True)  # what is not given is a profile's to say
    positions = {port.index: place for place, port in enumerate(settings.ptp_config.port)}
    origins: dict[str, Origin] = {}
    for entry in trx.entries:
        if entry.port is None:
            if entry.namespace not in PassthroughOptions.model_fields:
                continue
            whole = document.setdefault("options", {})
            options = whole.setdefault(entry.namespace, {})
            path = f"options.{entry.namespace}"
        elif (place := positions.get(entry.port)) is not None:
            options = document["ptp_config"]["port"][place].setdefault("options", {})
            path = f"ptp_config.port[{place}].options"
        else:
            continue
        replaced = catalogue.canonical(entry.key)
        for other in [key for key in options if catalogue.canonical(key) == replaced]:
            del options[other]
            origins.pop(field_path(path, other), None)
        options[entry.key] = _stored(entry.value)
        field_given = field_path(path, entry.key)
        origins[field_given] = Origin(options[entry.key], entry.line, entry.column)
    return Overlay(SystemTime.model_validate(document), origins)


def judge(trx: TrxConf, catalogue: Catalogue, settings: SystemTime) -> list[Problem]:
    """Return what is wrong with laying this file over these settings, empty when all is well.

    Each entry is judged by itself; when all are right, so is what comes out as a whole, except
    what was wrong in the store before.
    """
    problems = list(_each_entry(trx, catalogue, settings))
    if problems:
        return problems
    laid = overlay(settings, trx, catalogue)
    known = set(check_settings(settings, catalogue))
    return [
        _in_file(problem, laid.origins, trx.name)
        for problem in check_settings(laid.settings, catalogue)
        if problem not in known
    ]


def _each_entry(trx: TrxConf, catalogue: Catalogue, settings: SystemTime) -> Iterator[Problem]:
    indexes = sorted(port.index for port in settings.ptp_config.port)
    first: dict[tuple[str, int | None, str], Entry] = {}
    for entry in trx.entries:
        where = trx.place(entry)
        if entry.port is not None and entry.port not in indexes:
            valid = ", ".join(f"port{index}" for index in indexes)
            message = f"there is no PTP port with index {entry.port} in ptp_config.port"
            yield Problem(where, message, f"port{entry.port}", valid)
        scope = Scope.GLOBAL if entry.port is None else Scope.PORT
        value_where = f"{trx.name}:{entry.line}:{entry.value_column}"
        if entry.namespace == "ptpd":
            problem = ptpd.judge(entry.key, entry.value, where=where, value_where=value_where)
        else:
            problem = catalogue.judge(
                entry.namespace, scope, entry.key, entry.value, where=where, value_where=value_where
            )
        if problem is not None:
            yield problem
        same = (entry.namespace, entry.port, catalogue.canonical(entry.key))
        other = first.setdefault(same, entry)
        if other.key != entry.key:  # the same name twice is for `parse` to say
            message = f"{entry.key} and {other.key} of line {other.line} are the same option"
            yield Problem(where, message, entry.value)


def _in_file(problem: Problem, origins: Mapping[str, Origin], name: str) -> Problem:
    origin = origins.get(problem.where)
    if origin is None:
        return problem
    where = f"{name}:{origin.line}:{origin.column}"
    return Problem(where, problem.message, problem.value, problem.valid)


def _stored(text: str) -> OptionValue:
    """Return a number where the text is how one is written, so that export and import agree."""
    for kind in (int, float):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        if str(number) == text and math.isfinite(number):
            return number
    return text


class _Flaw(Exception):
    """A line that breaks the grammar, at a column (from 1)."""

    def __init__(self, column: int, message: str, value: str = "", valid: str = "") -> None:
        super().__init__(message)
        self.column, self.message, self.value, self.valid = column, message, value, valid

    def problem(self, name: str, line: int) -> Problem:
        return Problem(f"{name}:{line}:{self.column}", self.message, self.value[:80], self.valid)


def _refusal(name: str, problems: list[Problem]) -> InvalidInput:
    count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
    return InvalidInput(f"{name} has {count}", problems, hint="nothing was applied; correct it")


def _entry(raw: bytes, line: int) -> Entry | None:
    """Return the entry of a line, None for a comment or a blank line; raises _Flaw."""
    text = _decoded(raw)
    start = len(text) - len(text.lstrip(_SPACE))
    text = text.rstrip(_SPACE)
    if start >= len(text) or text[start] == "#":
        return None
    namespace, sign, after = _namespace(text, start)
    port, after = _port(text, namespace, sign, after)
    end = _end_of_word(text, after)
    key = text[after:end]
    if not key or text[after] in _SPACE:
        raise _Flaw(after + 1, "the key is missing", valid="<namespace>:<key> <value>")
    if namespace == "ptpd":
        if not _PTPD_KEY.fullmatch(key):
            valid = "ptpd:<section>:<key> <value>"
            raise _Flaw(after + 1, f"{key[:80]!r} is not a key", key, valid)
    elif not _KEY.fullmatch(key):
        raise _Flaw(after + 1, f"{key[:80]!r} is not a key", key, "letters, digits, _ and .")
    value = text[end:].lstrip(_SPACE)
    if not value:
        raise _Flaw(end + 1, f"{key} has no value", valid="<namespace>:<key> <value>")
    return Entry(namespace, port, key, value, line, after + 1, len(text) - len(value) + 1)


def _decoded(raw: bytes) -> str:
    if len(raw) > _MAX_LINE:
        raise _Flaw(_MAX_LINE + 1, f"the line has {len(raw)} bytes, at most {_MAX_LINE} are read")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode("utf-8")) + 1
        raise _Flaw(column, f"byte 0x{raw[error.start]:02x} is not UTF-8 here") from None
    if match := _CONTROL.search(text):
        what = "a NUL byte" if match[0] == "\0" else f"the control character 0x{ord(match[0]):02x}"
        raise _Flaw(match.start() + 1, f"{what} cannot stand in this file")
    return text


def _namespace(text: str, start: int) -> tuple[str, str, int]:
    """Return the namespace, the sign after it, and where the rest begins."""
    match = _WORD.match(text, start)
    word, sign = (match[1], match[2]) if match else ("", "")
    if not sign:
        raise _Flaw(start + 1, "this is not an option", text[start:], "<namespace>:<key> <value>")
    if word not in _NAMESPACES:
        near = get_close_matches(word.lower()[:80], _NAMESPACES, n=1) or _NAMESPACES
        raise _Flaw(start + 1, f"{word[:80]!r} is not a namespace", word, ", ".join(near))
    if word == "sys2vmw":
        raise _Flaw(start + 1, "the sys2vmw program is not part of this release", text[start:])
    return word, sign, start + len(word) + 1


def _port(text: str, namespace: str, sign: str, start: int) -> tuple[int | None, int]:
    """Return the port's index, or None, and where the key begins."""
    word = text[start : _end_of_word(text, start)].partition(":")
    if not word[1] or (namespace == "ptpd" and sign == ":"):
        if sign == "=":
            wanted = f"{namespace}:<key> <value>, {namespace}=port<N>:<key> <value>"
            raise _Flaw(start, f"'=' after {namespace} needs a port", valid=wanted)
        return None, start
    match = _PORT.fullmatch(word[0])
    if match is None:
        message = f"{word[0][:80]!r} is not a port"
        raise _Flaw(start + 1, message, word[0], "port<N>, N being the index of a PTP port")
    if namespace != "ptp4l":
        raise _Flaw(start + 1, f"{namespace} has no options of a port", word[0], "ptp4l")
    return int(match[1]), start + len(word[0]) + 1


def _end_of_word(text: str, start: int) -> int:
    end = start
    while end < len(text) and text[end] not in _SPACE:
        end += 1
    return end
