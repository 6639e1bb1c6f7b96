"""The static part of the firewall: closed for every VM's device that no port claims.

Loaded by systemd before any VM can start, `visorctl net firewall base | nft -f -`, and again by
visord where it is missing or differs; what it says is in `static.nft`.
"""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from chronovisor.errors import InvalidInput, Problem
from chronovisor.net.firewall.names import STATIC_MARK, TABLE
from chronovisor.net.marks import METADATA_IPV4, METADATA_IPV6

TAP_PATTERNS = ("tap*",)
"""Names of devices that VMs have, by default: what Neutron, Nova and many scripts give them."""

CONNECTIONS_S, CONNECTIONS_BURST = 50, 200
"""New connections to the metadata service that a VM may begin: a second, and at once.

cloud-init makes some tens when a VM boots, one after the other; what comes too fast is sent again
by the VM's TCP a second later.
"""

LAYOUT = 1
"""Version of the sets' types. Where it differs, only loading everything anew helps."""

LAYOUT_MARK = f"{STATIC_MARK}{LAYOUT}-"

_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,15}|[A-Za-z0-9_.-]{1,14}\*")  # IFNAMSIZ - 1


def check_patterns(patterns: Sequence[str]) -> None:
    """Refuse patterns that nftables would not take, or that close the host itself.

    Raises:
        InvalidInput: with a problem for each pattern that is wrong.
    """
    problems = [
        Problem(f"tap_patterns[{number}]", f"{one!r} is no device name", one, "tap*, vnet*, vm1")
        for number, one in enumerate(patterns)
        if not _PATTERN.fullmatch(one) or one in ("lo", "lo*", "l*")
    ]
    if problems:
        raise InvalidInput("device name patterns of VMs are wrong", problems)


@cache
def mark(patterns: tuple[str, ...] = TAP_PATTERNS) -> str:
    """Return the name of the empty chain that says which static part is loaded."""
    digest = sha256(_filled("", patterns).encode()).hexdigest()[:12]
    return f"{LAYOUT_MARK}{digest}"


@cache
def text(patterns: tuple[str, ...] = TAP_PATTERNS) -> str:
    """Return the static part for `nft -f`: one transaction that may be repeated at any time.

    Args:
        patterns: names of devices that VMs have; a trailing `*` stands for any ending.
    """
    check_patterns(patterns)
    return _filled(mark(patterns), patterns)


@cache
def rule_counts(patterns: tuple[str, ...] = TAP_PATTERNS) -> dict[tuple[str, str], int]:
    """Return how many rules each chain of the static part has, by family and chain."""
    counts: dict[tuple[str, str], int] = {}
    family = chain = ""
    for line in (one.strip() for one in text(patterns).splitlines()):
        if line.startswith("table "):
            family = line.split()[1]
        elif line.startswith("chain "):
            chain = "" if line.endswith("}") else line.split()[1]
            counts.setdefault((family, line.split()[1]), 0)
        elif line == "}":
            chain = ""
        elif chain and line and not line.startswith("#"):
            counts[family, chain] += 1
    return counts


def _filled(marked: str, patterns: tuple[str, ...]) -> str:
    template = files("chronovisor.net.firewall").joinpath("static.nft").read_text("utf-8")
    lines: list[str] = []
    for line in template.splitlines():
        if "@PATTERN@" in line:
            lines += [line.replace("@PATTERN@", f'"{pattern}"') for pattern in patterns]
        else:
            lines.append(line)
    filled = "\n".join(lines) + "\n"
    for word, value in (
        ("@TABLE@", TABLE),
        ("@MARK@", marked or "static"),
        ("@METADATA4@", str(METADATA_IPV4)),
        ("@METADATA6@", str(METADATA_IPV6)),
        ("@CONNECTIONS@", str(CONNECTIONS_S)),
        ("@BURST@", str(CONNECTIONS_BURST)),
    ):
        filled = filled.replace(word, value)
    return filled
