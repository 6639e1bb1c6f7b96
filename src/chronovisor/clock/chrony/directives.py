"""Which directives of chronyd an operator may pass through, and what to do instead of the others.

Names: chrony.conf(5) of chrony 4.3. A value stands as it is after its directive; for a directive
without one (`rtcsync`) it is true. What a value means is chronyd's own to judge; `chronyd -p` reads
a file without doing anything.
"""

from collections.abc import Iterator
from difflib import get_close_matches

from chronovisor.clock.settings import Options, OptionValue, SystemTime
from chronovisor.errors import Problem

ALLOWED = frozenset(
    [
        "acquisitionport",
        "allow",
        "authselectmode",
        "bindacqaddress",
        "bindacqdevice",
        "bindaddress",
        "binddevice",
        "broadcast",
        "clientloglimit",
        "clockprecision",
        "combinelimit",
        "corrtimeratio",
        "deny",
        "dscp",
        "fallbackdrift",
        "hwtimestamp",
        "leapsecmode",
        "leapsectz",
        "local",
        "logbanner",
        "logchange",
        "maxchange",
        "maxclockerror",
        "maxdistance",
        "maxdrift",
        "maxjitter",
        "maxntsconnections",
        "maxsamples",
        "maxslewrate",
        "maxupdateskew",
        "minsamples",
        "minsources",
        "nocerttimecheck",
        "noclientlog",
        "nosystemcert",
        "ntsport",
        "ntsprocesses",
        "ntsrefresh",
        "ntsrotate",
        "ntsservercert",
        "ntsserverkey",
        "ntstrustedcerts",
        "port",
        "ptpport",
        "ratelimit",
        "refclock",
        "reselectdist",
        "smoothtime",
        "stratumweight",
        "tempcomp",
    ]
)

FLAGS = frozenset({"noclientlog", "nosystemcert"})
"""Directives without a value."""

_SUPERVISED = "Chronovisor keeps the daemon's files and sockets itself"
_SYSTEM = "the clock has one owner, and Chronovisor decides when it may step"
OWNED = {
    **dict.fromkeys(("server", "pool", "peer"), "set ntp_config.server instead"),
    "keyfile": "set ntp_config.key_file instead",
    "makestep": "set ntp_config.first_step_s instead",
    **dict.fromkeys(
        [
            "bindcmdaddress",
            "bindcmddevice",
            "cmdallow",
            "cmddeny",
            "cmdport",
            "cmdratelimit",
            "driftfile",
            "dumpdir",
            "dumponexit",
            "log",
            "logdir",
            "mailonchange",
            "ntsdumpdir",
            "ntscachedir",
            "pidfile",
            "user",
        ],
        _SUPERVISED,
    ),
    **dict.fromkeys(("confdir", "include", "sourcedir"), "one file holds all; pass options here"),
    **dict.fromkeys(
        [
            "hwclockfile",
            "initstepslew",
            "manual",
            "rtcautotrim",
            "rtcdevice",
            "rtcfile",
            "rtconutc",
            "rtcsync",
        ],
        _SYSTEM,
    ),
    "lock_all": "set by the world's limits",
    "sched_priority": "set by the world's limits",
}
"""Directives that Chronovisor sets itself or leaves out, and what to do instead."""

_LONGEST_VALUE = 500  # chronyd reads lines of up to 2,048 octets


def check(settings: SystemTime) -> list[Problem]:
    """Return what is wrong with the directives that are passed through."""
    return [*_each(settings.options.chrony)]


def _each(options: Options) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name, value in options.items():
        where = f"options.chrony.{name}"
        directive = name.lower()  # chronyd does not tell them apart
        first = seen.setdefault(directive, name)
        if first != name:
            yield Problem(where, f"{name} and {first} are the same directive", str(value))
        elif directive in OWNED:
            yield Problem(where, f"{name} cannot be passed through: {OWNED[directive]}", str(value))
        elif directive not in ALLOWED:
            near = ", ".join(get_close_matches(directive, sorted(ALLOWED), n=3))
            yield Problem(where, f"chronyd has no directive {name!r}", str(value), near)
        elif problem := _value_problem(directive, value):
            yield Problem(where, f"{name} {problem}", str(value)[:80])


def _value_problem(directive: str, value: OptionValue) -> str:
    if directive in FLAGS:
        return "" if isinstance(value, bool) else "has no value; give true"
    text = str(value)
    if isinstance(value, bool):
        return "needs a value"
    if not text.isprintable() or len(text) > _LONGEST_VALUE:
        return f"needs one line of at most {_LONGEST_VALUE} printable characters"
    return ""


def lines(options: Options) -> list[str]:
    """Return the directives as lines, in the order of their names."""
    given = sorted((name.lower(), value) for name, value in options.items())
    return [
        name if value is True else f"{name} {value}".rstrip()
        for name, value in given
        if value is not False
    ]
