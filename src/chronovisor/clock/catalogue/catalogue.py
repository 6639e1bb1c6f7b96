"""Every option of one linuxptp release, and the judgement of a value.

Two layers are kept apart. `Catalogue.ptp4l_verdict` is what ptp4l's own parser says, bugs
included; the differential test holds it to the real one. `Catalogue.judge` adds rules of ours:
what linuxptp would silently ignore, what the supervisor sets itself, and values that its parser
takes and its start refuses.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final

from chronovisor.clock.catalogue import formats, ownership, phc2sys_keys
from chronovisor.clock.catalogue.option import Option, OptionType, Scope, Verdict
from chronovisor.clock.catalogue.release import LATER, Release, nearest
from chronovisor.clock.catalogue.text import as_text, flaw
from chronovisor.clock.settings import OptionValue
from chronovisor.errors import Problem

PROGRAMS: Final = ("ptp4l", "phc2sys")
"""Programs whose options can be passed through."""

_RENAMED = {  # accepted in files by every release, before options are looked up
    "pi_offset_const": "step_threshold",
    "pi_f_offset_const": "first_step_threshold",
    "pi_max_frequency": "max_frequency",
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The options of one release, by name; get it from `catalogue`."""

    release: Release
    options: Mapping[str, Option]

    def canonical(self, name: str) -> str:
        """Return the name that this release uses for `name`, which may be a deprecated one."""
        name = _RENAMED.get(name, name)
        option = self.options.get(name)
        return option.alias_of if option is not None and option.alias_of else name

    def find(self, name: str) -> Option | None:
        """Return the option of this name or deprecated name, None if this release has none."""
        return self.options.get(self.canonical(name))

    def ptp4l_verdict(self, scope: Scope, name: str, value: str) -> Verdict | None:
        """Return why ptp4l's parser refuses this line of a section, None if it takes it.

        The value is judged before the scope, so a bad value in the wrong section is a bad value.
        """
        option = self.find(name)
        if option is None:
            return Verdict.UNKNOWN_OPTION
        if verdict := option.ptp4l_verdict(value):
            return verdict
        misplaced = scope is Scope.PORT and option.scope is Scope.GLOBAL
        return Verdict.UNKNOWN_OPTION if misplaced else None

    def judge(
        self,
        program: str,
        scope: Scope,
        name: str,
        value: OptionValue,
        *,
        where: str = "",
        value_where: str | None = None,
    ) -> Problem | None:
        """Return what is wrong with passing this option through to `program`, None if nothing.

        `where` becomes the problem's, `value_where` that of a problem with the value alone.
        Whether options go together is for `check_combination` to say.
        """
        shown = as_text(value)[:80]
        option = self._passed_through(program, name)
        if option is None:
            valid = self._nearest_name(program, name)
            return Problem(where, self._why_unknown(program, name), shown, valid)
        if refusal := self._not_theirs(program, scope, name, option):
            return Problem(where, refusal, shown)
        return _judge_value(option, name, value, where if value_where is None else value_where)

    def _passed_through(self, program: str, name: str) -> Option | None:
        if program == "phc2sys" and name in phc2sys_keys.LETTERS:
            return phc2sys_keys.LETTERS[name]
        return self.find(name) if program in PROGRAMS else None

    def _why_unknown(self, program: str, name: str) -> str:
        shown = name[:80]
        if program not in PROGRAMS:
            return f"no options are passed through to {program[:80]!r}"
        if program == "phc2sys" and name in phc2sys_keys.NAMED:
            return f"phc2sys -{name} is written as {phc2sys_keys.NAMED[name]} here"
        if program == "phc2sys" and name in phc2sys_keys.OWNED:
            return f"phc2sys -{name} is not passed through: {phc2sys_keys.OWNED[name]}"
        later = catalogue(LATER).options.get(name)
        if later is None:
            return f"{shown!r} is not an option of linuxptp {self.release}"
        since = "the release after 4.4" if later.since == LATER else str(later.since)
        older = {"clientOnly": "slaveOnly", "serverOnly": "masterOnly"}.get(name)
        way_out = f"; this release calls it {older}" if older else ""
        return f"{shown} is known since {since}, installed is {self.release}{way_out}"

    def _nearest_name(self, program: str, name: str) -> str:
        if program not in PROGRAMS:
            return ", ".join(PROGRAMS)
        names = [n for n, o in self.options.items() if program in o.read_by]
        return ", ".join(get_close_matches(name[:80], names, n=1))

    def _not_theirs(self, program: str, scope: Scope, name: str, option: Option) -> str:
        if program not in option.read_by:
            readers = ", ".join(option.read_by) or "no program"
            return f"{name} is accepted but ignored by {program}: it is read by {readers}"
        if instead := ownership.owner(program, scope, option.name):
            return f"{name} is set by Chronovisor: {instead}"
        if scope is Scope.PORT and program == "phc2sys":
            return f"{name}: phc2sys has no options of a port"
        a_setting = option.name in ownership.PORT_SETTINGS
        if scope is Scope.PORT and option.scope is Scope.GLOBAL and not a_setting:
            return f"{name} holds for the whole of {program}, it cannot be set for one port"
        return ""


def _judge_value(option: Option, name: str, value: OptionValue, where: str) -> Problem | None:
    text = as_text(value)
    shown = repr(text[:80])

    def problem(message: str, valid: str) -> Problem:
        return Problem(where, f"{name}: {message}", text[:80], valid)

    if defect := flaw(name, text):
        return problem(defect, _with_unit(option))
    if verdict := option.ptp4l_verdict(text):
        return problem(_about(option, verdict, shown), _with_unit(option))
    if option.type is OptionType.DOUBLE and text.lower().lstrip("+-").startswith("nan"):
        return problem(f"{shown} is not a number", _with_unit(option))
    if option.name == "clock_servo" and text.lower() not in ownership.SERVOS:
        return problem(f"servo {shown} does not discipline the clock", ", ".join(ownership.SERVOS))
    if form := formats.expected_form(option.name, text):
        return problem(f"{shown} does not have the form that ptp4l needs", form)
    return None


def _about(option: Option, verdict: Verdict, shown: str) -> str:
    match verdict:
        case Verdict.OUT_OF_RANGE:
            return f"{shown} is out of range"
        case Verdict.MALFORMED:
            kind = "a number" if option.type is OptionType.DOUBLE else "a whole number"
            return f"{shown} is not {kind}"
        case _:
            return f"{shown} is not among its values"


def _with_unit(option: Option) -> str:
    return f"{option.valid()} {option.unit}".rstrip() if option.is_number else option.valid()


@cache
def _facts() -> dict[str, dict[str, Any]]:
    text = files(__package__).joinpath("options.json").read_text("utf-8")
    loaded: dict[str, dict[str, Any]] = json.loads(text)
    return loaded


def _release(text: str) -> Release:
    return LATER if text == "later" else Release.parse(text)


def _option(name: str, fact: dict[str, Any], release: Release) -> Option:
    form = dict(fact)
    for at, change in fact.get("changed", {}).items():  # oldest first
        if _release(at) <= release:
            form |= change
    return Option(
        name=name,
        scope=Scope(form["scope"]),
        type=OptionType(form["type"]),
        since=_release(form["since"]),
        description=form["text"],
        read_by=tuple(form["read_by"]),
        default=form["default"],
        minimum=form.get("min", 0),
        maximum=form.get("max", 0),
        values=tuple(form.get("values", ())),
        also=tuple(form.get("also", ())),
        unit=form.get("unit", ""),
        alias_of=form.get("alias_of", ""),
    )


@cache
def _known(release: Release) -> Catalogue:
    options = {
        name: _option(name, fact, release)
        for name, fact in _facts().items()
        if _release(fact["since"]) <= release
    }
    return Catalogue(release, options)


def catalogue(release: Release) -> Catalogue:
    """Return the catalogue by which `release` is judged (see `nearest`), loaded once."""
    return _known(nearest(release)[0])
