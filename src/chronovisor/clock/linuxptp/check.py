"""What is wrong with settings for the installed linuxptp: every problem, with its path.

Paths are those of the model: `options.ptp4l.priority1`, `ptp_config.port[0].options.BMCA`, where
`[0]` is the position in the list, as in JSON, and not the port's index.
"""

from collections.abc import Iterator

from chronovisor.clock.catalogue import Catalogue, Scope, check_combination
from chronovisor.clock.linuxptp.options import (
    HARDWARE_STAMPING,
    field_path,
    needs_phc2sys,
    positions,
    ptp4l_options,
    stamping,
)
from chronovisor.clock.linuxptp.roles import check_role, check_unicast
from chronovisor.clock.profiles import check_profile, expand
from chronovisor.clock.settings import Options, SystemTime
from chronovisor.errors import Problem

_SECTIONS = ("global", "unicast_master_table")  # ptp4l reads a device of that name as a section


def check_settings(settings: SystemTime, catalogue: Catalogue) -> list[Problem]:
    """Return everything that keeps these settings from being rendered, empty when all is well.

    Rules over several options are looked at once each option is right by itself, and fits the
    profile.
    """
    problems = list(_each_option(settings, catalogue))
    problems += check_profile(settings, catalogue)
    if problems:
        return problems
    settings = expand(settings, catalogue).settings
    problems += _typed(settings, catalogue)
    if problems or not settings.ptp_config.active_ports():
        return problems
    options = ptp4l_options(settings, catalogue)
    problems += _across_ports(settings, catalogue)
    problems += check_role(settings, catalogue)
    problems += check_unicast(settings, options.ports)
    return problems + check_combination(catalogue, options.whole, options.ports)


def check_options(settings: SystemTime, catalogue: Catalogue) -> list[Problem]:
    """Return what is wrong with each passthrough option by itself."""
    return list(_each_option(settings, catalogue))


def _each_option(settings: SystemTime, catalogue: Catalogue) -> Iterator[Problem]:
    scopes: list[tuple[str, Scope, Options, str]] = [
        ("ptp4l", Scope.GLOBAL, settings.options.ptp4l, "options.ptp4l"),
        ("phc2sys", Scope.GLOBAL, settings.options.phc2sys, "options.phc2sys"),
    ]
    for place, port in enumerate(settings.ptp_config.port):
        where = f"ptp_config.port[{place}].options"
        scopes.append(("ptp4l", Scope.PORT, port.options, where))
    for program, scope, options, where in scopes:
        seen: dict[str, str] = {}
        for name, value in options.items():
            place_of = field_path(where, name)
            if problem := catalogue.judge(program, scope, name, value, where=place_of):
                yield problem
            first = seen.setdefault(catalogue.canonical(name), name)
            if first != name:
                yield Problem(place_of, f"{name} and {first} are the same option", str(value))


def _typed(settings: SystemTime, catalogue: Catalogue) -> Iterator[Problem]:
    domain, most = settings.ptp_config.domain, catalogue.options["domainNumber"].maximum
    if domain > most:
        yield Problem(
            "ptp_config.domain",
            f"linuxptp {catalogue.release} knows no domain above {most}",
            str(domain),
            f"0..{most}",
        )
    for place, port in positions(settings):
        if port.device.lower() in _SECTIONS:
            yield Problem(
                f"ptp_config.port[{place}].device",
                f"ptp4l cannot use a device named {port.device!r}: its files give that a meaning",
                port.device,
            )
    if settings.calibration_delay_ns and "delayAsymmetry" in settings.options.ptp4l:
        yield Problem(
            "options.ptp4l.delayAsymmetry",
            "calibration_delay_ns says the same for all ports; give one of the two",
            str(settings.options.ptp4l["delayAsymmetry"]),
        )


def _across_ports(settings: SystemTime, catalogue: Catalogue) -> Iterator[Problem]:
    ports = ptp4l_options(settings, catalogue).ports
    first = ports[0]
    for port in ports[1:]:
        if stamping(port) != stamping(first):
            given = port.options["time_stamping"]
            yield Problem(
                given.where,
                f"{port.label}: time_stamping {given.text} differs from {stamping(first)} of "
                f"{first.label}; ptp4l has one for all ports",
                given.text,
                stamping(first),
            )
    hardware = [port for port in ports if stamping(port) in HARDWARE_STAMPING]
    offset = settings.options.phc2sys.get("O")
    if offset is not None and needs_phc2sys(settings, catalogue) and len(hardware) > 1:
        yield Problem(
            "options.phc2sys.O",
            "phc2sys takes a fixed offset for one port only, here it follows several",
            str(offset),
        )
