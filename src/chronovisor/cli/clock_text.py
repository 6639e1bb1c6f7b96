"""How the clock is shown to people."""

import math
from typing import Any

from chronovisor.cli.output import pairs, table

_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def duration(value_ns: float | None) -> str:
    """Return a time in its natural unit: `-1.23 µs`."""
    if value_ns is None:
        return "unknown"
    if value_ns == 0 or not math.isfinite(value_ns):
        return f"{value_ns:g} ns"
    size, unit = next(((s, u) for s, u in _UNITS if abs(value_ns) >= s), _UNITS[-1])
    return f"{value_ns / size:.3g} {unit}" if abs(value_ns) < 1e12 else f"{value_ns / 1e9:.0f} s"


def status_text(now: dict[str, Any]) -> str:
    """Return the clock's status as a page: the state and its reason first."""
    blocks = [f"{now['state']}: {now['reason']}", pairs(_clock_rows(now))]
    if now["grandmaster"]:
        blocks.append("Grandmaster\n" + pairs(_grandmaster_rows(now["grandmaster"])))
    if now["ntp"]:
        blocks.append(_ntp(now["ntp"]))
    if now["ports"]:
        blocks.append(_ports(now["ports"]))
    blocks += [f"notice: {notice}" for notice in now["notices"]]
    return "\n\n".join(blocks)


def _clock_rows(now: dict[str, Any]) -> list[tuple[str, Any]]:
    engine, offset = now["engine"], now["offset"]
    rows: list[tuple[str, Any]] = [("Since", now["since"])]
    if offset:
        figures = (
            f"{duration(offset['last_ns'])} (median {duration(offset['median_ns'])}, "
            f"95 % within {duration(offset['p95_abs_ns'])}, worst {duration(offset['max_abs_ns'])} "
            f"of {offset['samples']} in {offset['span_s']:.1f} s)"
        )
        rows.append(("Offset from master", figures))
    rows += [
        ("Mean path delay", duration(now["mean_path_delay_ns"])),
        *_carried_rows(now),
        ("Discipline", now["discipline"]),
        ("Domain", now["domain"]),
        ("Engine", _engine(engine)),
        ("Last synchronized", now["last_sync_time"] or "never"),
        *_owner_rows(now),
    ]
    return rows


def _carried_rows(now: dict[str, Any]) -> list[tuple[str, Any]]:
    offset_ns = now["system_clock_offset_ns"]
    if offset_ns is None:
        return []
    error = duration(now["system_clock_offset_error_ns"])
    return [
        ("System clock is off", f"{duration(offset_ns)} from the NIC's clock (read within {error})")
    ]


def _engine(engine: dict[str, Any]) -> str:
    process = f"pid {engine['pid']}" if engine["pid"] else engine["reason"]
    release = engine["release"] or "not installed"
    return (
        f"{engine['name']} {release}, {engine['state']} ({process}, {engine['restarts']} restarts)"
    )


def _owner_rows(now: dict[str, Any]) -> list[tuple[str, Any]]:
    clock = now["system_clock"]
    fallback = ", in fallback" if now["in_fallback_state"] else ""
    since = f" since {clock['since']}" if clock["since"] else ""
    rows = [("System clock", f"owner {clock['owner']}, {clock['phase']}{fallback}{since}")]
    if clock["reason"] != now["reason"]:
        rows.append(("Owned so because", clock["reason"]))
    if clock["awaited"]:
        left = clock["awaited_for_s"]
        when = "" if left is None else f" (for {left:g} s)"
        rows.append(("Awaited", f"{clock['awaited']}{when}"))
    return rows


def _ntp(ntp: dict[str, Any]) -> str:
    offset = (
        f"; the system clock is {duration(ntp['offset_ns'])} from NTP's time, which may be "
        f"{duration(ntp['distance_ns'])} off"
        if ntp["available"]
        else ""
    )
    rows = [
        (
            server["name"],
            server["address"],
            server["state"],
            server["stratum"],
            f"{server['poll_s']:g} s",
            f"{server['reach']:o}",
            duration(server["offset_ns"]),
            duration(server["jitter_ns"]),
        )
        for server in ntp["servers"]
    ]
    header = ["Server", "Address", "State", "Stratum", "Poll", "Reach", "Offset", "Jitter"]
    return f"NTP: {ntp['reason']}{offset}\n" + (table(rows, header) if rows else "")


def _grandmaster_rows(master: dict[str, Any]) -> list[tuple[str, Any]]:
    utc = "valid" if master["utc_offset_valid"] else "not valid"
    return [
        ("Identity", master["identity"]),
        ("Address", master["address"] or "not yet learned"),
        ("Steps removed", master["steps_removed"]),
        ("Priority", f"{master['priority1']}, {master['priority2']}"),
        ("Class, accuracy", f"{master['clock_class']}, {master['clock_accuracy']}"),
        ("Time source", master["time_source"]),
        ("UTC offset", f"{master['utc_offset_s']} s ({utc})"),
    ]


def _ports(ports: list[dict[str, Any]]) -> str:
    rows = [
        (
            port["index"],
            port["device"],
            port["state"],
            port["transport"],
            port["delay_mechanism"],
            port["time_stamping"],
            "up" if port["link_up"] else "down",
            port["address"],
        )
        for port in ports
    ]
    header = ["Port", "Device", "State", "Transport", "Delay", "Stamps", "Link", "Address"]
    return table(rows, header)


def sample_text(event: dict[str, Any]) -> str:
    """Return one event of the clock as a line."""
    kind = event["kind"]
    if kind == "clock.sample":
        return (
            f"{event['state']:<14} offset {duration(event['offset_ns']):>10}  "
            f"delay {duration(event['mean_path_delay_ns']):>10}  {event['grandmaster']}"
        )
    rest = ", ".join(f"{k} {v}" for k, v in event.items() if k not in ("kind", "at_ns"))
    return f"{kind}: {rest}"


def actions_text(actions: list[dict[str, Any]]) -> str:
    """Return a plan as lines, what it takes in one word first: nothing, live, or a restart."""
    if not actions:
        return "effect: nothing"
    lines = [f"  {row['action']}  ({row['reason']})" for row in actions]
    return "\n".join([f"effect: {_effect({row['kind'] for row in actions})}", *lines])


def _effect(kinds: set[str]) -> str:
    if "RestartDaemon" in kinds:
        return "restart of a daemon"
    if kinds & {"StartDaemon", "StopDaemon"}:
        return "start or stop of a daemon"
    return "live" if "SetLive" in kinds else "nothing restarts"
