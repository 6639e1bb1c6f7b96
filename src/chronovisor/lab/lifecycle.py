"""A lab from `up` to `down`. Every step may be cut off at any point: the next command clears up."""

import asyncio
import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chronovisor.errors import Conflict, NotFound
from chronovisor.lab import namespaces, observe, processes, programs, record, tools
from chronovisor.lab.record import LabDirectory, Record
from chronovisor.lab.spec import LabSpec, check_name
from chronovisor.lab.topology import Kind, Node, nodes

Configure = Callable[[Path, Mapping[str, object]], None]
"""Sets `host/system/system_time` of the visord behind a socket; may block."""

Report = Callable[[str], None]
"""Is told what is being done, one line at a time."""


async def up(
    directory: LabDirectory, spec: LabSpec, *, configure: Configure, report: Report
) -> bool:
    """Build and start a lab, or start what has ended in one; return whether anything was done.

    Raises `Conflict` if it is up with other settings. A lab that cannot be built is removed again.
    """
    tools.require()
    directory.check_length()
    with directory.locked():
        known = directory.read()
        if known is not None and observe.is_whole(known):
            _check_same(known.spec, spec)
            return await _start_what_ended(directory, known, report)
        if await _clear(directory):
            report("removed what an earlier lab of this name had left")
        try:
            await _build(directory, spec, configure, report)
        except BaseException:  # also Ctrl-C: half a lab is of no use to anybody
            await _clear(directory)
            raise
        return True


async def _build(
    directory: LabDirectory, spec: LabSpec, configure: Configure, report: Report
) -> None:
    release = tools.ptp4l_release()
    known = record.first(spec)
    directory.write(known)
    report(f"wiring {len(nodes(spec))} nodes")
    namespaces.build(spec)
    for node in nodes(spec):
        home = directory.node(node.name)
        home.mkdir()
        if node.kind is not Kind.HOST:
            text = programs.ptp4l_conf(spec, node, home, release)
            (home / "ptp4l.conf").write_text(text)
    wanted = [node for node in nodes(spec) if observe.is_meant_to_run(known, node)]
    report(f"starting {', '.join(node.name for node in wanted)}")
    async with processes.adopted(directory) as supervisor:
        await processes.start(supervisor, directory, spec, wanted)
    await _configure_hosts(directory, spec, configure)
    directory.write(dataclasses.replace(known, complete=True))


async def _configure_hosts(directory: LabDirectory, spec: LabSpec, configure: Configure) -> None:
    settings = programs.host_settings(spec)
    hosts = [node for node in nodes(spec) if node.kind is Kind.HOST]
    await asyncio.gather(
        *(
            asyncio.to_thread(configure, programs.socket(directory.node(host.name)), settings)
            for host in hosts
        )
    )


async def _start_what_ended(directory: LabDirectory, known: Record, report: Report) -> bool:
    wanted = [node for node in nodes(known.spec) if observe.is_meant_to_run(known, node)]
    async with processes.adopted(directory) as supervisor:
        started = await processes.start(supervisor, directory, known.spec, wanted)
    if started:
        report(f"started {', '.join(node.name for node in started)} again")
    return bool(started)


def _check_same(there: LabSpec, asked: LabSpec) -> None:
    differences = [
        f"{field.name} {getattr(there, field.name)} (asked for {getattr(asked, field.name)})"
        for field in dataclasses.fields(LabSpec)
        if getattr(there, field.name) != getattr(asked, field.name)
    ]
    if differences:
        raise Conflict(
            f"lab {there.name!r} is up, but with {', '.join(differences)}",
            hint=f"`visorctl lab down --name {there.name}` first, or build another with --name",
        )


async def down(directory: LabDirectory) -> bool:
    """Remove a lab with all that belongs to it; return whether there was any of it."""
    check_name(directory.name)
    tools.require()
    with directory.locked():
        found = await _clear(directory)
        directory.remove()
    return found


async def _clear(directory: LabDirectory) -> bool:
    """End and remove everything that carries the lab's name; return whether there was any."""
    left = namespaces.of_lab(directory.name)
    found = bool(left) or directory.read() is not None
    await processes.stop_all(directory)
    namespaces.end_processes(left)
    processes.remove_cgroups(directory)
    namespaces.remove(left)
    directory.clear()
    return found


async def set_grandmaster(directory: LabDirectory, name: str, *, running: bool) -> bool:
    """Start or stop a grandmaster; return whether that changed anything."""
    tools.require()
    with directory.locked():
        known = read(directory)
        node = find(known.spec, name, Kind.GRANDMASTER)
        names = set(known.running) - {name} | ({name} if running else set())
        directory.write(dataclasses.replace(known, running=tuple(sorted(names))))
        async with processes.adopted(directory) as supervisor:
            if running:
                return bool(await processes.start(supervisor, directory, known.spec, [node]))
            ran = any(world.name == name and world.pid for world in supervisor.worlds())
            if ran:
                await supervisor.stop(name, "grandmaster down")
            return ran


def set_link(directory: LabDirectory, name: str, *, up: bool) -> None:
    """Plug a node's cable in or out."""
    tools.require()
    node = find(read(directory).spec, name)
    namespaces.set_link(directory.name, node.port, up=up)


def status(directory: LabDirectory) -> tuple[Record, list[observe.NodeSeen]]:
    """Return what was asked for and what is there; raise `NotFound` if there is no such lab."""
    known = read(directory)
    return known, observe.look(directory, known)


def read(directory: LabDirectory) -> Record:
    """Return the record of a lab; raise `NotFound` if there is no such lab."""
    check_name(directory.name)
    known = directory.read()
    if known is None:
        others = record.names(directory.base)
        known_names = f"labs here: {', '.join(others)}; " if others else ""
        raise NotFound(
            f"there is no lab {directory.name!r}",
            hint=f"{known_names}build it with `visorctl lab up --name {directory.name}`",
        )
    return known


def find(spec: LabSpec, name: str, kind: Kind | None = None) -> Node:
    """Return a node by name, of one kind if given; raise `NotFound` with the nearest name."""
    known = {node.name: node for node in nodes(spec) if kind in (None, node.kind)}
    if name in known:
        return known[name]
    raise NotFound(
        f"lab {spec.name!r} has no {kind.value if kind else 'node'} {name!r}",
        hint=_nearest(name, list(known)),
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    names = f"it has {', '.join(known)}" if known else "it has none"
    return f"did you mean {near[0]}? {names}" if near else names
