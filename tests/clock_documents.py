"""Status documents of a clock as `GET /v1/clock/status` answers, for tests of who shows them."""

from typing import Any

_KINDS = (
    *("announce", "sync", "follow_up", "delay_req", "delay_resp", "pdelay_req", "pdelay_resp"),
    *("pdelay_resp_follow_up", "signaling", "management"),
)


def counters(first: int) -> dict[str, int]:
    """Return counters of all types, each one higher than the one before."""
    return {kind: first + number for number, kind in enumerate(_KINDS, 1)}


def locked() -> dict[str, Any]:
    """Return the status of a clock with one port that is locked to a grandmaster."""
    return {
        "state": "locked",
        "reason": "grandmaster 02c500.fffe.000001: typical offset 123 ns",
        "since": "2026-01-02T03:04:05.678+00:00",
        "last_sync_time": "2026-01-02T03:05:05.678+00:00",
        "in_fallback_state": False,
        "system_clock": {
            "owner": "ptp",
            "phase": "following",
            "reason": "grandmaster 02c500.fffe.000001: typical offset 123 ns",
            "since": "2026-01-02T03:04:05.678+00:00",
            "awaited": "",
            "awaited_for_s": None,
        },
        "ntp": None,
        "enabled": True,
        "protocol": "ptp",
        "discipline": "system_clock",
        "domain": 24,
        "clock_identity": "8a30ac.fffe.a7ddaf",
        "priority1": 128,
        "priority2": 127,
        "clock_class": 255,
        "slave_only": True,
        "offset": {
            "last_ns": -123.0,
            "median_ns": 12.0,
            "p95_abs_ns": 400.0,
            "max_abs_ns": 1_500_000.0,
            "samples": 64,
            "span_s": 63.2,
            "age_s": 0.4,
        },
        "mean_path_delay_ns": 4500.0,
        "system_clock_offset_ns": -320.0,
        "system_clock_offset_error_ns": 150.0,
        "frequency_ppb": -12_500.0,
        "rate_offset_ppb": 0.0,
        "grandmaster": {
            "identity": "02c500.fffe.000001",
            "address": "10.0.0.1",
            "parent_port": "02c500.fffe.000001-1",
            "steps_removed": 1,
            "priority1": 127,
            "priority2": 128,
            "clock_class": 6,
            "clock_accuracy": "WITHIN_100_NS",
            "time_source": "GNSS",
            "utc_offset_s": 37,
            "utc_offset_valid": True,
            "ptp_timescale": True,
            "leap61": False,
            "leap59": False,
            "time_traceable": True,
            "frequency_traceable": False,
        },
        "ports": [port(0, "eth0")],
        "engine": {
            "name": "linuxptp",
            "release": "4.4",
            "state": "running",
            "reason": "start asked for",
            "pid": 4711,
            "restarts": 1,
        },
        "notices": [],
    }


def port(index: int, device: str) -> dict[str, Any]:
    """Return a port that follows a master."""
    return {
        "index": index,
        "number": index + 1,
        "device": device,
        "device_type": "virtual_nic",
        "address": "10.0.0.2",
        "state": "SLAVE",
        "state_transitions": 2,
        "link_up": True,
        "time_stamping": "hardware",
        "transport": "UDPv4",
        "delay_mechanism": "E2E",
        "log_announce_interval": 1,
        "announce_receipt_timeout": 3,
        "log_sync_interval": 0,
        "log_min_delay_req_interval": 0,
        "log_min_pdelay_req_interval": 0,
        "peer_mean_path_delay_ns": 0.0,
        "received": counters(100),
        "sent": counters(200),
    }


def silent() -> dict[str, Any]:
    """Return the status of a clock whose ptp4l has not answered yet."""
    unknown = (
        *("clock_identity", "priority1", "priority2", "clock_class", "slave_only", "offset"),
        *("mean_path_delay_ns", "rate_offset_ppb", "grandmaster", "last_sync_time"),
    )
    quiet = port(0, "eth0") | {"state": "UNKNOWN", "address": None, "link_up": False}
    quiet |= {"received": None, "sent": None, "state_transitions": 0}
    return (
        locked()
        | dict.fromkeys(unknown)
        | {
            "state": "unsynchronized",
            "reason": "ptp4l does not answer its management socket yet",
            "ports": [quiet],
            "notices": ["linuxptp 9.9 is newer than any release known here"],
        }
    )


def fallen_back() -> dict[str, Any]:
    """Return the status of a clock that lost PTP and follows NTP, one of whose servers lies."""
    liar = ("10.0.0.9", "falseticker", 5_000_000_000)
    servers = [
        {
            "name": name,
            "address": name,
            "state": state,
            "falseticker": state == "falseticker",
            "stratum": 1,
            "poll_s": 64.0,
            "reach": 0o377,
            "age_s": 12,
            "offset_ns": offset_ns,
            "jitter_ns": 25_000,
            "samples": 8,
        }
        for name, state, offset_ns in (("10.0.0.1", "selected", -1500), liar)
    ]
    return locked() | {
        "state": "holdover",
        "reason": "no Announce message of domain 24 arrives on eth0",
        "in_fallback_state": True,
        "system_clock": {
            "owner": "ntp",
            "phase": "returning",
            "reason": "PTP is back and not yet proved steady",
            "since": "2026-01-02T03:04:05.678+00:00",
            "awaited": "steady PTP",
            "awaited_for_s": 7.5,
        },
        "ntp": {
            "available": True,
            "reason": "NTP server 10.0.0.1 of stratum 1 is followed",
            "offset_ns": 12_000,
            "distance_ns": 300_000,
            "servers": servers,
        },
    }
