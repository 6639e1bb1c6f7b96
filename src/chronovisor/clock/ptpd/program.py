"""The installed ptpd: its release, its keys, and what it says of a configuration.

Debian calls the program `ptpd`, its authors `ptpd2`.
"""

import re
import shutil
import subprocess
from functools import lru_cache
from typing import Final

from chronovisor.clock.catalogue import Release
from chronovisor.errors import NotFound, ToolFailed

NAMES: Final = ("ptpd2", "ptpd")
TIMEOUT_S = 5.0

_INSTALL = "install ptpd (Debian: apt-get install ptpd)"
_VERSION = re.compile(r"ptpd2 version (\d+)\.(\d+)\.(\d+)")
_SETTING = re.compile(r"setting: ([a-z0-9_]+:[a-z0-9_]+) [^\n]*\n +type: ([A-Z]+)")
_HARMLESS = re.compile(
    r"Warning:|Interface lo |Error: Cannot use lo |There are errors|Configuration (OK|has)"
    r"|Unknown configuration entry"
)
_STAMP = re.compile(r"^.* \(___\) ")  # before what it says once it knows where to log
_KEY = re.compile(r"\b([a-z0-9_]+:[a-z0-9_]+)")


def program() -> str | None:
    """Return the path of the installed program, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def installed_release() -> Release:
    """Return which release is installed; raises NotFound, or ToolFailed where it does not say."""
    path = program()
    if path is None:
        raise NotFound("ptpd is not installed", hint=_INSTALL)
    _, text = _output(path, "-v")
    found = _VERSION.search(text)
    if found is None:
        raise ToolFailed(f"{path} -v printed no version: {text.strip()[:80]!r}", hint=_INSTALL)
    return Release(*(int(number) for number in found.groups()))


@lru_cache(maxsize=2)
def keys(path: str) -> dict[str, str]:
    """Return the keys that the program takes, each with its type as the program calls it."""
    return dict(_SETTING.findall(_output(path, "-H")[1]))


@lru_cache(maxsize=64)
def complaints(path: str, text: str) -> tuple[tuple[str, str], ...]:
    """Return what the program says against a configuration: key (empty if it names none), words.

    The configuration names no interface: the one it is to run on need not be there yet.
    """
    code, said = _output(path, "-k", "-c", "/dev/stdin", text=f"ptpengine:interface = lo\n{text}")
    if not code:
        return ()
    lines = [_STAMP.sub("", line).strip() for line in said.splitlines()]
    return tuple(
        (key[1] if (key := _KEY.search(line)) else "", line.removeprefix("Configuration error: "))
        for line in lines
        if line and not _HARMLESS.match(line)
    )


def _output(path: str, *arguments: str, text: str = "") -> tuple[int, str]:
    try:
        done = subprocess.run(
            [path, *arguments],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise ToolFailed(f"{path} cannot be run: {error.strerror}", hint=_INSTALL) from error
    except subprocess.TimeoutExpired:
        raise ToolFailed(
            f"{path} {arguments[0]} did not end within {TIMEOUT_S:g} s",
            hint="run it by hand to see why",
        ) from None
    return done.returncode, done.stdout
