"""What `vib`, `depot` and `image` share: options, and packages shown as esxcli shows them."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.cli.output import pairs
from chronovisor.errors import InvalidInput
from chronovisor.host.directories import Directories
from chronovisor.image.refusal import clean
from chronovisor.image.vib.descriptor import Descriptor, instant

PackageArgument = Annotated[Path, typer.Argument(metavar="VIB", help="A package's file.")]
TrustOption = Annotated[
    Path,
    typer.Option(
        "--trust",
        metavar="DIR",
        help="Trusted certificates: DIR/certified/, accepted/, partner/, community/ with *.pem.",
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force", help="Turn broken rules (paths, level, relations) into warnings. Is recorded."
    ),
]
NoSignatureOption = Annotated[
    bool,
    typer.Option(
        "--no-sig-check", help="Turn a bad or missing signature into a warning. Is recorded."
    ),
]
AtOption = Annotated[
    str, typer.Option("--at", metavar="TIME", help="Judge certificates as of this time (ISO 8601).")
]
LinksOption = Annotated[
    bool,
    typer.Option(
        "--absolute-links", help="Accept links to /…; unpacked, they point into the tree."
    ),
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="PEM", help="Private key (RSA or EC) to sign with.")
]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--cert", metavar="PEM", help="The key's certificate, then those up to the root."),
]
PasswordOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="File with the key's password."),
]

TRUST = Directories().etc / "trust"
IMAGE = Directories().var / "image"


def moment(text: str) -> datetime | None:
    """Return the time in an option; none where it was not given."""
    found = instant(text) if text else None
    if text and found is None:
        raise InvalidInput(f"'{text}' is not a time", hint="such as 2026-11-21T09:30:00+00:00")
    return found


def source_date() -> int | None:
    """Return SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch)."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    if not text.isdecimal() or int(text) >= 1 << 33:  # eleven octal digits, tar's time
        raise InvalidInput(f"SOURCE_DATE_EPOCH is '{text}', not seconds since 1970")
    return int(text)


def as_data(it: Descriptor) -> dict[str, Any]:
    """Return a descriptor as JSON material, in the order in which esxcli shows it."""
    return {
        "id": it.id,
        "name": it.name,
        "version": it.version,
        "type": it.kind,
        "vendor": it.vendor,
        "acceptance_level": it.acceptance_level.shown,
        "summary": it.summary,
        "description": it.description,
        "reference_urls": [f"{key}|{url}" for key, url in it.urls],
        "creation_date": it.release_date.date().isoformat(),
        "depends": list(map(str, it.depends)),
        "conflicts": list(map(str, it.conflicts)),
        "replaces": list(map(str, it.replaces)),
        "provides": list(map(str, it.provides)),
        "maintenance_mode_required": it.maintenance_mode,
        "hardware_platforms_required": list(it.hardware_platforms),
        "live_install_allowed": it.live_install_allowed,
        "live_remove_allowed": it.live_remove_allowed,
        "stateless_ready": it.stateless_ready,
        "overlay": it.overlay,
        "tags": list(it.tags),
        "payloads": [payload.name for payload in it.payloads],
    }


def as_got(data: dict[str, Any]) -> str:
    """Return what `esxcli software vib get` prints of a package."""
    rows = ((_title(name), _joined(value)) for name, value in data.items() if name != "id")
    return f"{data['id']}\n{pairs(rows)}"


def _title(name: str) -> str:
    return "ReferenceURLs" if name == "reference_urls" else name.replace("_", " ").title()


def _joined(value: Any) -> Any:
    text = ", ".join(value) if isinstance(value, list) else value
    return clean(text) if isinstance(text, str) else text


def warn(warnings: Sequence[str]) -> None:
    """Print warnings where they do not get between a result and a program."""
    for warning in warnings:
        sys.stderr.write(f"visorctl: warning: {warning}\n")


@contextmanager
def progress_of(label: str) -> Iterator[Any]:
    """Give a function that shows how far a transfer is, on a terminal; else one that does not."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label)
        yield lambda done, everything: bar.update(task, completed=done, total=everything)
