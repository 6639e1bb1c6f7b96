"""What is wrong with settings for ptpd: every problem, with its path.

Keys and values are judged by the installed ptpd itself. Three things it takes silently are refused
here: keys that it does not know, words where a number belongs, and characters with a meaning in its
file. Where it is not installed, only what Chronovisor owns is looked at.
"""

import math
import re
from collections.abc import Iterator
from difflib import get_close_matches

from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.ptp_settings import PtpRole
from chronovisor.clock.ptpd import program
from chronovisor.clock.ptpd.options import MOST_DOMAIN, TRANSPORTS
from chronovisor.clock.ptpd.ownership import owner
from chronovisor.clock.settings import OptionValue, SystemTime, TimeStamping
from chronovisor.config.fields import place_text
from chronovisor.errors import Problem

_FORM = re.compile(r"[a-z0-9_]+:[a-z0-9_]+")
_LONGEST = 512
_MEANING = re.compile(r'[;#"\\\[\]]|[^\x20-\x7e]')
_WAY_OUT = "engine linuxptp"
WHERE = "options.ptpd"


def check_settings(settings: SystemTime) -> list[Problem]:
    """Return everything that keeps ptpd from following the settings, empty when all is well."""
    return [*check_options(settings), *_typed(settings)]


def check_options(settings: SystemTime) -> list[Problem]:
    """Return what is wrong with the passthrough options of ptpd, also while another engine runs."""
    options = settings.options.ptpd
    problems = [
        problem
        for key, value in options.items()
        if (problem := judge_form(key, value, where=field(key)))
    ]
    path = program.program()
    if problems or not options or path is None:
        return problems
    text = "".join(f"{key} = {as_text(options[key])}\n" for key in sorted(options))
    return [
        Problem(field(key) if key in options else WHERE, f"ptpd: {words}")
        for key, words in program.complaints(path, text)
    ]


def judge(
    key: str, value: OptionValue, *, where: str, value_where: str | None = None
) -> Problem | None:
    """Return what is wrong with one option by itself, None if nothing."""
    if problem := judge_form(key, value, where=where, value_where=value_where):
        return problem
    path = program.program()
    for _, words in program.complaints(path, f"{key} = {as_text(value)}\n") if path else ():
        return Problem(value_where or where, f"ptpd: {words}", as_text(value)[:80])
    return None


def judge_form(
    key: str, value: OptionValue, *, where: str, value_where: str | None = None
) -> Problem | None:
    """Return what is wrong with an option before ptpd is asked, None if nothing."""
    text = as_text(value)
    if not _FORM.fullmatch(key):
        return Problem(where, f"{key[:80]!r} is not a key of ptpd", key[:80], "<section>:<key>")
    if instead := owner(key):
        return Problem(where, f"{key} is set by Chronovisor: {instead}", text[:80])
    path = program.program()
    types = program.keys(path) if path else {}
    if types and key not in types:
        near = ", ".join(get_close_matches(key, types, n=1))
        return Problem(where, f"ptpd has no setting {key}", text[:80], near)
    if flaw := _flaw(text, types.get(key, "STRING")):
        return Problem(value_where or where, f"{key}: {flaw}", text[:80])
    return None


def field(key: str) -> str:
    """Return the path of an option."""
    step = place_text((key,))
    return WHERE + (step if step.startswith("[") else f".{step}")


def _flaw(text: str, kind: str) -> str:
    if len(text) > _LONGEST or not text.strip():
        return f"a value has 1 to {_LONGEST} characters"
    if found := _MEANING.search(text):
        return f"{found[0]!r} has a meaning in ptpd's file and cannot stand in a value"
    if kind == "INT" and not re.fullmatch(r"[+-]?[0-9]{1,10}", text):
        return f"{text[:80]!r} is not a whole number"
    if kind == "FLOAT" and not _is_number(text):
        return f"{text[:80]!r} is not a number"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _typed(settings: SystemTime) -> Iterator[Problem]:
    ptp = settings.ptp_config
    if ptp.domain > MOST_DOMAIN:
        text = f"ptpd knows no domain above {MOST_DOMAIN}"
        yield Problem("ptp_config.domain", text, str(ptp.domain), f"0..{MOST_DOMAIN}")
    if ptp.role is not PtpRole.CLIENT:
        text = "ptpd follows through one port; it is no boundary clock"
        yield Problem("ptp_config.role", text, ptp.role.value, f"client, or {_WAY_OUT}")
    if ptp.profile is not None:
        text = "a profile is made of options of linuxptp; ptpd has none of them"
        yield Problem("ptp_config.profile", text, ptp.profile.value, f"no profile, or {_WAY_OUT}")
    active = {port.index for port in ptp.active_ports()}
    if len(active) > 1:
        text = f"ptpd has one port, and {len(active)} have a device"
        yield Problem("ptp_config.port", text, "", f"one port with a device, or {_WAY_OUT}")
    for place, port in enumerate(ptp.port):
        where = f"ptp_config.port[{place}]"
        if port.index not in active:
            continue
        if port.time_stamping is not TimeStamping.SOFTWARE:
            text = "ptpd makes its time stamps in software; it cannot use those of a NIC"
            valid = f"software, or {_WAY_OUT}"
            yield Problem(f"{where}.time_stamping", text, port.time_stamping.value, valid)
        if port.network_transport not in TRANSPORTS:
            text = "ptpd carries PTP over IPv4 or Ethernet alone"
            valid = f"{', '.join(TRANSPORTS)}, or {_WAY_OUT}"
            yield Problem(f"{where}.network_transport", text, port.network_transport.value, valid)
        if port.unicast_master_table is not None:
            text = "ptpd has no table of unicast masters; see its ptpengine:unicast_destinations"
            yield Problem(f"{where}.unicast_master_table", text, "", f"none, or {_WAY_OUT}")
