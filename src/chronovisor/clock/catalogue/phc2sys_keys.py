"""phc2sys settings that exist only as a letter of its command line.

In the namespace `phc2sys` they are passed through under that letter (`phc2sys:R 8`), since that is
what linuxptp calls them: its manual page and every guide say `-R`. The other letters are either
set by Chronovisor or have an option with a name, and the message says which.
"""

from chronovisor.clock.catalogue.option import Option, OptionType, Scope
from chronovisor.clock.catalogue.release import Release

_INT_MAX = 2**31 - 1
_OLD = Release(1, 6)


def _letter(
    name: str, kind: OptionType, least: float, most: float, default: float, unit: str, text: str
) -> Option:
    return Option(
        name=name,
        scope=Scope.GLOBAL,
        type=kind,
        since=_OLD,
        description=text,
        read_by=("phc2sys",),
        default=default,
        minimum=least,
        maximum=most,
        unit=unit,
    )


LETTERS = {
    option.name: option
    for option in (
        _letter(
            "N",
            OptionType.INT,
            1,
            _INT_MAX,
            5,
            "readings",
            "Readings of the source clock per update; the quickest of them counts",
        ),
        _letter(
            "O",
            OptionType.INT,
            -_INT_MAX - 1,
            _INT_MAX,
            0,
            "s",
            "Fixed offset of the system clock from the source, instead of TAI minus UTC of ptp4l",
        ),
        _letter(
            "R",
            OptionType.DOUBLE,
            1e-9,
            1.7976931348623157e308,
            1.0,
            "Hz",
            "Updates of the system clock in a second",
        ),
        _letter(
            "u",
            OptionType.UINT,
            0,
            2**32 - 1,
            0,
            "updates",
            "Updates summed up in one log line; 0 logs each",
        ),
    )
}
"""Settings by the letter under which they are passed through."""

NAMED = {
    "E": "clock_servo",
    "F": "first_step_threshold",
    "I": "pi_integral_const",
    "L": "sanity_freq_limit",
    "P": "pi_proportional_const",
    "S": "step_threshold",
    "x": "kernel_leap",
}
"""Letters that have an option with a name."""

OWNED = {
    **dict.fromkeys("acCdirsw", "Chronovisor chooses the clocks from ptp_config.port"),
    "M": "handing time to another program is not supported",
    "f": "Chronovisor writes the configuration file",
    "l": "set log_level instead",
    "n": "set ptp_config.domain instead",
    **dict.fromkeys("mqt", "Chronovisor collects the output of the daemon itself"),
    "z": "Chronovisor asks the daemon over a socket of its own",
}
"""Letters that Chronovisor sets itself, and what to do instead."""
