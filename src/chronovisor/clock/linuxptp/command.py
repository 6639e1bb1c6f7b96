"""Command lines of ptp4l and phc2sys.

phc2sys, with one port: `-s DEVICE -c CLOCK_REALTIME -w`. It waits for ptp4l to have a master, then
ties the system clock to the NIC's clock for good. The automatic mode would let go of the system
clock whenever ptp4l loses its master, and the two would drift apart; this way both keep the
frequency they had, and holdover has one clock to judge. So it is with several ports that share one
clock. With several clocks only ptp4l knows which NIC has the time, so phc2sys follows it: `-a -r`,
which also ties the other NICs' clocks together.

Neither way waits well enough where a NIC's clock may be nobody's. `-w` takes a port in state MASTER
for a clock that has the time, and `-a`, while none of several ports follows, ties the system clock
to any of theirs. So phc2sys starts only once a port is SLAVE there (`Rendered.needs_master`).

What a file cannot say goes here: phc2sys sets both constants of its PI servo before it reads the
file and then ignores them there, and some of its settings are letters alone.
"""

from collections.abc import Mapping

from chronovisor.clock.catalogue.phc2sys_keys import LETTERS
from chronovisor.clock.linuxptp.paths import Paths

SUMMARY_UPDATES = 64
"""Updates that phc2sys sums up in one log line."""

_ARGUMENT_ONLY = {"pi_proportional_const": "-P", "pi_integral_const": "-I"}


def ptp4l_argv(paths: Paths, program: str = "ptp4l") -> tuple[str, ...]:
    """Return the command line of ptp4l; its file says everything."""
    return (program, "-f", str(paths.config("ptp4l")))


def in_file(name: str) -> bool:
    """Return whether a passthrough option of phc2sys works in its file."""
    return name not in _ARGUMENT_ONLY and name not in LETTERS


def phc2sys_argv(
    paths: Paths,
    *,
    domain: int,
    source: str | None,
    options: Mapping[str, str],
    steers: bool = True,
    program: str = "phc2sys",
) -> tuple[str, ...]:
    """Return the command line of phc2sys; `options` are those for which `in_file` is false.

    `source` is the device whose clock has the time, None where only ptp4l knows. Unless it
    `steers` the system clock it keeps the NICs' clocks together alone.
    """
    automatic = ("-a", "-r") if steers else ("-a",)
    clocks = automatic if source is None else ("-s", source, "-c", "CLOCK_REALTIME", "-w")
    letters = {"u": str(SUMMARY_UPDATES)} | dict(options)
    return (
        program,
        "-f",
        str(paths.config("phc2sys")),
        "-z",
        str(paths.socket),
        "-n",
        str(domain),
        *clocks,
        *(
            word
            for name in sorted(letters)
            for word in (_ARGUMENT_ONLY.get(name, f"-{name}"), letters[name])
        ),
    )
