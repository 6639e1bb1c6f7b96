"""Profiles for people: what one says, and how it differs from another or from what holds here.

Pure: rows of plain values for the API.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from chronovisor.clock.catalogue import Catalogue
from chronovisor.clock.linuxptp.options import Ptp4lOptions, ptp4l_options
from chronovisor.clock.profiles import Profile, ProfileOption, profiles, usable_since
from chronovisor.clock.ptp_settings import PtpRole
from chronovisor.clock.settings import SystemTime

UNSET = ""
"""Stands for an option of which one side says nothing."""


@dataclass(frozen=True, slots=True)
class OptionRow:
    """An option of a profile; `needs` is the release that knows it, empty where this one does."""

    option: str
    value: str
    allowed: str
    source: str
    needs: str


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A profile with what keeps the installed release from following it."""

    name: str
    title: str
    standard: str
    identity: str
    unicast: str
    roles: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """An option of which two sides say different things.

    `where` is a port's label where only that port differs; `allowed` whether a profile lets the
    other side's value stand.
    """

    option: str
    where: str
    value: str
    other: str
    allowed: bool


def row(one: Profile, known: Catalogue) -> ProfileRow:
    """Return a profile's row."""
    lacking = [
        f"{option.name} {option.text} needs linuxptp {since}"
        for option in one.option
        if option.needed and (since := usable_since(option, known))
    ]
    return ProfileRow(
        name=one.name.value,
        title=one.title,
        standard=one.standard,
        identity=one.identity,
        unicast=one.unicast,
        roles=tuple(role.value for role in PtpRole if role is PtpRole.CLIENT or one.boundary),
        notes=one.notes,
        problems=tuple(lacking),
    )


def all_rows(known: Catalogue) -> list[ProfileRow]:
    """Return a row for every profile."""
    return [row(one, known) for one in profiles()]


def rows(one: Profile, role: PtpRole, known: Catalogue) -> list[OptionRow]:
    """Return what a profile says for a role."""
    return [
        OptionRow(
            option.name,
            option.text,
            option.allowed or "anything",
            option.source,
            usable_since(option, known) or "",
        )
        for option in one.options(role)
    ]


def between(one: Profile, other: Profile, role: PtpRole, known: Catalogue) -> list[DifferenceRow]:
    """Return the options of which two profiles say different things."""
    first = {option.name: option for option in one.options(role)}
    second = {option.name: option for option in other.options(role)}
    found = []
    for name in sorted(first.keys() | second.keys()):
        value, others = (side[name].text if name in side else UNSET for side in (first, second))
        if value != others:
            allowed = name not in first or not others or _allows(first[name], others, known)
            found.append(DifferenceRow(name, "", value, others, allowed))
    return found


def against(one: Profile, settings: SystemTime, known: Catalogue) -> list[DifferenceRow]:
    """Return where what holds here differs from a profile, port by port."""
    held = ptp4l_options(settings, known)
    return [
        difference
        for option in one.options(settings.ptp_config.role)
        for difference in _differences(option, held, known)
    ]


def _differences(
    option: ProfileOption, held: Ptp4lOptions, known: Catalogue
) -> Iterator[DifferenceRow]:
    name = known.canonical(option.name)
    fact = known.find(name)
    default = "" if fact is None or fact.default is None else str(fact.default)
    whole = held.whole[name].text if name in held.whole else default
    each = {port.label: port.options[name].text for port in held.ports if name in port.options}
    places = each if len(each) == len(held.ports) and each else {"": whole, **each}
    for label, text in places.items():
        good = fact is not None and fact.ptp4l_verdict(text) is None
        if fact is None or not good or not fact.same(text, option.text):
            allowed = _allows(option, text, known)
            yield DifferenceRow(option.name, label, option.text, text, allowed)


def _allows(option: ProfileOption, text: str, known: Catalogue) -> bool:
    """Return whether a profile lets a value stand; what a release lacks stands nowhere."""
    fact = known.find(known.canonical(option.name))
    return fact is None or (fact.ptp4l_verdict(text) is None and option.allows(text, fact))
