"""The rows of `esxcli system ptp stats get`, in the words of ptpd's status file.

ESXi 7 ran ptpd and showed what it wrote; the names are kept, the values come from the clock's
status, whichever engine it is of. Rows that cannot be filled for every engine are left out.
"""

import platform
from typing import Any

_CONTROL = {
    "locked": "in control",
    "tracking": "monitored",
    "holdover": "holdover",
}
_SUMMED = (
    ("Announce received", "received", "announce"),
    ("DelayReq sent", "sent", "delay_req"),
    ("DelayResp received", "received", "delay_resp"),
    ("Follow-up received", "received", "follow_up"),
    ("PdelayReq received", "received", "pdelay_req"),
    ("PdelayReq sent", "sent", "pdelay_req"),
    ("PdelayResp received", "received", "pdelay_resp"),
    ("PdelayResp sent", "sent", "pdelay_resp"),
    ("Sync received", "received", "sync"),
)
_TRANSPORTS = {"UDPv4": "ipv4", "UDPv6": "ipv6", "L2": "ethernet"}


def statistics(now: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of a clock's status by name, sorted as esxcli sorts them."""
    rows = {**_clock(now), **_master(now["grandmaster"] or {}), **_ports(now["ports"])}
    return dict(sorted(rows.items(), key=lambda row: row[0].lower()))


def _clock(now: dict[str, Any]) -> dict[str, Any]:
    offset, frequency = now["offset"], now["frequency_ppb"]
    state = now["state"]
    return {
        "Clock correction": "" if frequency is None else f"{frequency / 1000:.3f} ppm",
        "Clock status": f"{_CONTROL.get(state, 'no control')}, {state}: {now['reason']}",
        "Host info": f"{platform.node()}, PID {now['engine']['pid'] or 'none'}",
        "Local port ID": now["clock_identity"],
        "Mean Path Delay": _seconds(now["mean_path_delay_ns"]),
        "Offset from Master": _offset(offset),
        "PTP domain": now["domain"],
        "PTP Engine": f"{now['engine']['name']} {now['engine']['release'] or ''}".strip(),
    }


def _offset(offset: dict[str, Any] | None) -> str:
    if offset is None:
        return ""
    return f"{_seconds(offset['last_ns'])}, median {_seconds(offset['median_ns'])}"


def _seconds(value_ns: float | None) -> str:
    return "" if value_ns is None else f"{value_ns / 1e9:.9f} s"


def _master(master: dict[str, Any]) -> dict[str, Any]:
    if not master:
        empty = ("Best master ID", "Best master IP", "Clock Source", "GM priority")
        return dict.fromkeys((*empty, "Time properties", "UTC properties"), "")
    scale = {True: "PTP", False: "ARB", None: "unknown"}[master["ptp_timescale"]]
    trace = f"time {_yes(master['time_traceable'])}, freq {_yes(master['frequency_traceable'])}"
    return {
        "Best master ID": master["parent_port"],
        "Best master IP": master["address"] or "",
        "Clock Source": master["time_source"],
        "GM ID": master["identity"],
        "GM priority": (
            f"Priority1 {master['priority1']}, Priority2 {master['priority2']}, "
            f"clockClass {master['clock_class']}"
        ),
        "Steps removed": master["steps_removed"],
        "Time properties": f"{scale} timescale, tracbl: {trace}, src: {master['time_source']}",
        "UTC properties": (
            f"UTC valid: {_yes(master['utc_offset_valid'])}, UTC offset: {master['utc_offset_s']}"
        ),
    }


def _yes(value: bool | None) -> str:
    return {True: "Y", False: "N", None: "unknown"}[value]


def _ports(ports: list[dict[str, Any]]) -> dict[str, Any]:
    rows = {
        "Delay mechanism": _joined(port["delay_mechanism"] for port in ports),
        "Interface": _joined(port["device"] for port in ports),
        "Port state": _joined(f"PTP_{port['state']}" for port in ports),
        "State transitions": sum(port["state_transitions"] for port in ports),
        "Transport": _joined(f"{_TRANSPORTS[port['transport']]}, multicast" for port in ports),
    }
    return rows | {name: _total(ports, way, kind) for name, way, kind in _SUMMED}


def _joined(words: Any) -> str:
    return "; ".join(dict.fromkeys(words))


def _total(ports: list[dict[str, Any]], way: str, kind: str) -> int:
    return sum(port[way][kind] or 0 for port in ports if port[way])
