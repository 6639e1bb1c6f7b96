"""What a profile makes of settings: values where nobody gave one, refusals where they contradict.

A profile lies between the defaults and the store: what is set in the store or in trx.conf holds,
as long as the profile allows it. Expanded settings are settings like any other, so whatever reads
them needs to know nothing of profiles. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chronovisor.clock.catalogue import KNOWN, LATER, Catalogue, Given, catalogue
from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.profiles.profile import Profile, ProfileOption, profile
from chronovisor.clock.ptp_settings import PtpRole
from chronovisor.clock.settings import Options, PtpPort, SystemTime
from chronovisor.config.fields import assign, parse_place, place_text
from chronovisor.errors import Problem

_OF_A_PORT = ("delay_mechanism", "network_transport")
"""Options of a profile that are settings of each port."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Settings with a profile's values where none were given.

    `values` are those values by field: `ptp_config.domain`, `options.ptp4l.logSyncInterval`.
    """

    settings: SystemTime
    values: Mapping[str, Any]


def expand(settings: SystemTime, known: Catalogue) -> Expansion:
    """Return the settings with what their profile adds; expanding once more adds nothing.

    Options that the release does not have are left out.
    """
    values = _added(settings, known)
    if not values:
        return Expansion(settings, {})
    document = settings.model_dump(exclude_unset=True)
    for field, value in values.items():
        assign(document, parse_place(field), value)
    return Expansion(SystemTime.model_validate(document), values)


def _added(settings: SystemTime, known: Catalogue) -> dict[str, Any]:
    config = settings.ptp_config
    if config.profile is None:
        return {}
    taken = {known.canonical(name) for name in settings.options.ptp4l}
    values: dict[str, Any] = {}
    for option in profile(config.profile).options(config.role):
        if option.name == "domainNumber":
            if "domain" not in config.model_fields_set:
                values["ptp_config.domain"] = option.value
        elif option.name in _OF_A_PORT:
            for place, port in enumerate(config.port):
                if port.device and not _says(port, option.name, known):
                    values[f"ptp_config.port[{place}].{option.name}"] = option.value
        elif (name := _in_release(option, known)) and name not in taken:
            values[place_text(("options", "ptp4l", name))] = option.value
    return values


def _says(port: PtpPort, name: str, known: Catalogue) -> bool:
    return name in port.model_fields_set or name in map(known.canonical, port.options)


def _in_release(option: ProfileOption, known: Catalogue) -> str:
    """Return an option's name in a release, empty where the release does not have it."""
    older = {"clientOnly": "slaveOnly", "serverOnly": "masterOnly"}
    for name in (option.name, older.get(option.name, "")):
        if name and known.find(name) is not None:
            return known.canonical(name)
    return ""


def check_profile(settings: SystemTime, known: Catalogue) -> list[Problem]:
    """Return what keeps the settings from following their profile, each with both sides named.

    Values that are wrong by themselves are for others to report.
    """
    config = settings.ptp_config
    if config.profile is None:
        return []
    wanted = profile(config.profile)
    problems = list(_role(wanted, config.role))
    for option in wanted.options(config.role):
        given = list(_given(option, settings, known))
        refused = _not_allowed(option, given, known)
        problems += [_contradiction(one, option, wanted) for one in refused]
        if not given or not _everywhere(option, given, settings):
            problems += _too_old(option, wanted, known)
    problems += _unicast(wanted, settings)
    return problems


def _role(wanted: Profile, role: PtpRole) -> Iterator[Problem]:
    if role is PtpRole.BOUNDARY and not wanted.boundary:
        text = f"profile {wanted.name} ({wanted.standard}) has no boundary clocks"
        yield Problem("ptp_config.role", text, role.value, PtpRole.CLIENT.value)


def _given(
    option: ProfileOption, settings: SystemTime, known: Catalogue
) -> Iterator[tuple[str, Given]]:
    """Give what the settings say of an option, each with a label for people."""
    config = settings.ptp_config
    if option.name == "domainNumber":
        if "domain" in config.model_fields_set:
            yield "ptp_config.domain", Given(str(config.domain), "ptp_config.domain")
        return
    name = _in_release(option, known)
    for text, where in _passed(settings.options.ptp4l, name, "options.ptp4l", known):
        yield option.name, Given(text, where)
    for place, port in enumerate(config.port):
        path, label = f"ptp_config.port[{place}]", f"PTP port {port.index} ({port.device})"
        own = list(_passed(port.options, name, f"{path}.options", known))
        for text, where in own:
            yield f"{label}: {option.name}", Given(text, where)
        if not own and port.device and option.name in _OF_A_PORT and _says(port, name, known):
            text = str(getattr(port, option.name).value)
            yield f"{label}: {option.name}", Given(text, f"{path}.{option.name}")


def _passed(options: Options, name: str, where: str, known: Catalogue) -> Iterator[tuple[str, str]]:
    for key, value in options.items():
        if name and known.canonical(key) == name:
            yield as_text(value), place_text((*parse_place(where), key))


def _not_allowed(
    option: ProfileOption, given: list[tuple[str, Given]], known: Catalogue
) -> Iterator[tuple[str, Given]]:
    fact = known.find(_in_release(option, known))
    if fact is None:
        return
    for label, one in given:
        right_by_itself = fact.ptp4l_verdict(one.text) is None
        if right_by_itself and not option.allows(one.text, fact):
            yield label, one


def _contradiction(said: tuple[str, Given], option: ProfileOption, wanted: Profile) -> Problem:
    label, given = said
    text = (
        f"{label} {given.text} contradicts profile {wanted.name}, "
        f"which has {option.allowed} ({option.source})"
    )
    return Problem(given.where, text, given.text, option.allowed)


def _everywhere(
    option: ProfileOption, given: list[tuple[str, Given]], settings: SystemTime
) -> bool:
    """Return whether the profile's own value is used nowhere."""
    if option.name in _OF_A_PORT:
        return len(given) == len(settings.ptp_config.active_ports())
    return any(not one.where.startswith("ptp_config.port") for _, one in given)


def _too_old(option: ProfileOption, wanted: Profile, known: Catalogue) -> Iterator[Problem]:
    since = usable_since(option, known)
    if since is None or not option.needed:
        return
    has = f"{option.name} {option.text}"
    text = f"profile {wanted.name} has {has}, known since {since}; installed is {known.release}"
    if option.name == "domainNumber":
        yield Problem(
            "ptp_config.profile",
            f"{text}; set ptp_config.domain to that of the network",
            wanted.name.value,
            f"ptp_config.domain {known.options['domainNumber'].valid()}",
        )
    else:
        yield Problem("ptp_config.profile", text, wanted.name.value)


def usable_since(option: ProfileOption, known: Catalogue) -> str | None:
    """Return the first release that takes the option's value, None where `known` does."""
    if _takes(option, known):
        return None
    first = next((one for one in KNOWN if _takes(option, catalogue(one))), None)
    return "no release" if first is None else str(first) if first != LATER else "after 4.4"


def _takes(option: ProfileOption, known: Catalogue) -> bool:
    fact = known.find(_in_release(option, known))
    return fact is not None and fact.ptp4l_verdict(option.text) is None


def _unicast(wanted: Profile, settings: SystemTime) -> Iterator[Problem]:
    config = settings.ptp_config
    for place, port in enumerate(config.port if wanted.unicast == "never" else ()):
        if port.unicast_master_table is not None:
            yield Problem(
                f"ptp_config.port[{place}].unicast_master_table",
                f"PTP port {port.index} ({port.device}): unicast masters contradict profile "
                f"{wanted.name}, which is multicast alone ({wanted.standard})",
            )
    if wanted.unicast != "required":
        return
    active = [(place, port) for place, port in enumerate(config.port) if port.device]
    bare = [one for one in active if one[1].unicast_master_table is None]
    one_is_enough = config.role is PtpRole.BOUNDARY and len(bare) < len(active)
    for place, port in () if one_is_enough else bare:
        yield Problem(
            f"ptp_config.port[{place}].unicast_master_table",
            f"PTP port {port.index} ({port.device}): profile {wanted.name} is unicast alone "
            f"({wanted.standard}); name the port's masters",
            valid='{"masters": ["192.0.2.1"]}',
        )
