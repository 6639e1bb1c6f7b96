"""What a daemon is given: file, command line, and a digest of what it reads at its start.

The digest (generation) tells whether a running daemon has what the settings say. It leaves out
what can be set while the daemon runs, and what only looks different: `0x80` for `128`, a default
written out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from chronovisor.clock.catalogue import Catalogue, Release, catalogue
from chronovisor.clock.catalogue.phc2sys_keys import LETTERS
from chronovisor.clock.linuxptp.command import in_file, phc2sys_argv, ptp4l_argv
from chronovisor.clock.linuxptp.config_file import Section, Table, config_text, normal
from chronovisor.clock.linuxptp.options import (
    Clocks,
    may_serve,
    needs_phc2sys,
    one_clock,
    passed_through,
    positions,
    ptp4l_options,
)
from chronovisor.clock.linuxptp.paths import Paths
from chronovisor.clock.profiles import expand
from chronovisor.clock.ptp_settings import PtpRole, transport_of
from chronovisor.clock.settings import SystemTime

LIVE = ("priority1", "priority2")
"""Options of [global] that PTP management sets in a running ptp4l (IEEE 1588-2019 15.5.3)."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A daemon's part of the settings.

    `values` are the options in force by (section, name), defaults left out; `live` those that
    can be set while it runs, with their defaults. `needs_master`: started without a port that
    follows a master, it takes the time of a clock which nobody has set.
    """

    program: str
    path: Path
    text: str
    argv: tuple[str, ...]
    values: Mapping[tuple[str, str], str]
    live: Mapping[str, int]
    generation: str
    needs_master: bool = False


class Effect(StrEnum):
    """What a change of an option takes."""

    NOTHING = "nothing"
    LIVE = "live"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Change:
    """An option that differs; a value is None where the option is absent or at its default.

    `section` is `global`, a port's device, `argv` with `option` the position there, or `file`.
    """

    section: str
    option: str
    old: str | None
    new: str | None
    effect: Effect


def render(
    settings: SystemTime,
    release: Release,
    paths: Paths,
    clocks: Clocks | None = None,
    *,
    steers: bool = True,
) -> tuple[Rendered, ...]:
    """Return the daemons that these settings want, in the order in which they start.

    The settings must have passed `check_settings` for this release. Without `steers` the system
    clock is another's for now.
    """
    if not settings.enabled:
        return ()
    phc2sys = render_phc2sys(settings, release, paths, clocks, steers=steers)
    ptp4l = render_ptp4l(settings, release, paths, clocks)
    return (ptp4l,) if phc2sys is None else (ptp4l, phc2sys)


def render_ptp4l(
    settings: SystemTime, release: Release, paths: Paths, clocks: Clocks | None = None
) -> Rendered:
    """Return what ptp4l is given; the same for the same settings and clocks, always."""
    known = catalogue(release)
    options = ptp4l_options(settings, known, paths, clocks)
    sections: list[Section] = [
        ("global", {n: normal(known.options.get(n), g.text) for n, g in options.whole.items()})
    ]
    for (_, port), found in zip(positions(settings), options.ports, strict=True):
        own = {
            name: normal(known.options.get(name), given.text)
            for name, given in found.options.items()
            if name != "time_stamping"  # one for all, in [global]
        }
        sections.append((port.device, own))
    return _rendered("ptp4l", known, sections, ptp4l_argv(paths), paths, _tables(settings))


def _tables(settings: SystemTime) -> tuple[Table, ...]:
    return tuple(
        Table(
            port.table_id,
            table.log_query_interval,
            table.peer_address,
            tuple((transport_of(address), address) for address in table.masters),
        )
        for _, port in positions(settings)
        if (table := port.unicast_master_table) is not None and port.table_id is not None
    )


def render_phc2sys(
    settings: SystemTime,
    release: Release,
    paths: Paths,
    clocks: Clocks | None = None,
    *,
    steers: bool = True,
) -> Rendered | None:
    """Return what phc2sys is given, None where it is not needed (see `needs_phc2sys`).

    Where it may not steer the system clock it is needed by a boundary clock of several clocks
    alone: ptp4l sets the one that follows, and the others are what is served.
    """
    known = catalogue(release)
    settings = expand(settings, known).settings
    devices = [port.device for _, port in positions(settings)]
    alone = len(devices) == 1 or one_clock(devices, clocks)
    serves = settings.ptp_config.role is PtpRole.BOUNDARY and not alone
    if not needs_phc2sys(settings, known) or not (steers or serves):
        return None
    whole = {
        "logging_level": str(settings.log_level),
        "use_syslog": "0",
        "verbose": "1",
    }
    ptp4l = ptp4l_options(settings, known)
    shared = ptp4l.whole.get("transportSpecific")
    if shared:
        whole["transportSpecific"] = normal(known.options["transportSpecific"], shared.text)
    arguments: dict[str, str] = {}
    for name, given in passed_through(known, settings.options.phc2sys, "").items():
        chosen = whole if in_file(name) else arguments
        chosen[name] = normal(LETTERS.get(name) or known.options.get(name), given.text)
    argv = phc2sys_argv(
        paths,
        domain=settings.ptp_config.domain,
        source=devices[0] if alone else None,
        options=arguments,
        steers=steers,
    )
    rendered = _rendered("phc2sys", known, [("global", whole)], argv, paths)
    return replace(rendered, needs_master=not alone or may_serve(ptp4l, known))


def classify(old: Rendered, new: Rendered) -> tuple[Change, ...]:
    """Return what differs between two renderings of one program, and what each change takes.

    Empty when nothing differs. Section `file` is the file as a whole: ports in another order
    (ptp4l numbers them by it), or a form that means the same.
    """
    changes = [
        Change(section, name, before, after, _effect(old, new, section, name))
        for section, name in sorted(old.values.keys() | new.values.keys())
        if (before := old.values.get((section, name))) != (after := new.values.get((section, name)))
    ]
    for place in range(max(len(old.argv), len(new.argv))):
        before, after = (
            argv[place] if place < len(argv) else None for argv in (old.argv, new.argv)
        )
        if before != after:
            changes.append(Change("argv", str(place), before, after, Effect.RESTART))
    if not changes and old.text != new.text:
        restart = old.generation != new.generation
        what = ("order of ports", Effect.RESTART) if restart else ("form", Effect.NOTHING)
        changes.append(Change("file", what[0], None, None, what[1]))
    return tuple(changes)


def _effect(old: Rendered, new: Rendered, section: str, name: str) -> Effect:
    both = name in old.live and name in new.live
    return Effect.LIVE if section == "global" and both else Effect.RESTART


def _rendered(
    program: str,
    known: Catalogue,
    sections: list[Section],
    argv: tuple[str, ...],
    paths: Paths,
    tables: tuple[Table, ...] = (),
) -> Rendered:
    values = _in_force(known, sections)
    for table in tables:
        values[f"unicast_master_table {table.table_id}", "masters"] = "; ".join(table.lines()[1:])
    whole = sections[0][1]
    live = {name: int(whole[name]) for name in LIVE if name in whole}
    lasting = sorted([*key, value] for key, value in values.items() if key[1] not in live)
    facts = json.dumps([program, argv, [name for name, _ in sections], lasting])
    return Rendered(
        program=program,
        path=paths.config(program),
        text=config_text(sections, tables),
        argv=argv,
        values=values,
        live=live,
        generation=hashlib.sha256(facts.encode()).hexdigest()[:16],
    )


def _in_force(known: Catalogue, sections: list[Section]) -> dict[tuple[str, str], str]:
    """Return the options that differ from what would hold without them."""
    whole = sections[0][1]
    values = {}
    for section, options in sections:
        for name, text in options.items():
            option = known.options.get(name)
            default = "" if option is None or option.default is None else str(option.default)
            inherited = default if section == "global" else whole.get(name, default)
            if text != normal(option, inherited):
                values[section, name] = text
    return values
