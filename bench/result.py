"""A measured figure with its goal and its peer's figure from the same run."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from chronovisor.cli.output import table


class Row(TypedDict):
    """One figure. `ratio` is ours to the peer's, None where there is no peer."""

    name: str
    goal: str
    ours: float
    peer: float | None
    unit: str
    ratio: float | None
    note: str


def row(
    name: str, ours: float, unit: str, *, goal: str = "", peer: float | None = None, note: str = ""
) -> Row:
    """Return a figure; the ratio follows from the peer's."""
    ratio = ours / peer if peer else None
    return Row(name=name, goal=goal, ours=ours, peer=peer, unit=unit, ratio=ratio, note=note)


def machine() -> dict[str, str]:
    """Return what the figures were measured on and with."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    ptp4l = subprocess.run(["ptp4l", "-v"], capture_output=True, text=True, check=False)
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "linuxptp": (ptp4l.stdout or ptp4l.stderr).strip(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def text(rows: Sequence[Row]) -> str:
    """Return figures as a table."""
    return table(
        [
            (
                one["name"],
                f"{one['ours']:.4g} {one['unit']}",
                "" if one["peer"] is None else f"{one['peer']:.4g} {one['unit']}",
                "" if one["ratio"] is None else f"{one['ratio']:.3g}",
                one["goal"],
                one["note"],
            )
            for one in rows
        ],
        ["Figure", "Ours", "Peer", "Ratio", "Goal", "Note"],
    )


def markdown(name: str, rows: Sequence[Row]) -> str:
    """Return a section of docs/performance.md: the figures and the command that measures them."""
    lines = [
        f"## {name}\n",
        f"`python -m bench {name}`\n",
        "| figure | goal | ours | peer | ours / peer | note |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        peer = "" if one["peer"] is None else f"{one['peer']:.3g} {one['unit']}"
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.3g}"
        ours = f"{one['ours']:.3g} {one['unit']}"
        cells = (one["name"], one["goal"], ours, peer, ratio, one["note"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(directory: Path, name: str, rows: Sequence[Row]) -> Path:
    """Write figures with the machine as JSON and return the file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": list(rows)}, indent=2) + "\n")
    return path


def read(directory: Path, name: str) -> list[Row]:
    """Return the figures that `write` kept."""
    rows: list[Row] = json.loads((directory / f"{name}.json").read_text())["rows"]
    return rows


def progress(words: str) -> None:
    """Say on stderr what is being measured."""
    sys.stderr.write(f"bench: {words}\n")
