"""`visorctl vib`: packages as files. Works without visord."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.cli.output import Format, FormatOption, emit, table
from chronovisor.cli.packages import (
    TRUST,
    AtOption,
    CertificateOption,
    ForceOption,
    KeyOption,
    LinksOption,
    NoSignatureOption,
    PackageArgument,
    PasswordOption,
    TrustOption,
    as_data,
    as_got,
    moment,
    source_date,
    warn,
)
from chronovisor.errors import InvalidInput
from chronovisor.image import vib
from chronovisor.image.limits import MIB
from chronovisor.image.refusal import about, clean
from chronovisor.image.vib import recipe, signature, trust
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SigningKey

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

DIFFERENT = 1
"""Exit code of `diff` when the packages differ, as of diff(1)."""

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="File to write, or a directory to write it into.")
]


@app.command()
def create(
    source: Annotated[
        Path, typer.Argument(help="A vib.toml, or a directory with payloads/ (and vib.toml).")
    ],
    output: OutputOption = Path(),
    name: Annotated[str, typer.Option("--name", help="The package's name.")] = "",
    version: Annotated[str, typer.Option("--package-version", help="Its version.")] = "",
    vendor: Annotated[str, typer.Option("--vendor", help="Its vendor.")] = "",
    summary: Annotated[str, typer.Option("--summary", help="One line about it.")] = "",
    level: Annotated[str, typer.Option("--level", help="Its acceptance level.")] = "",
    key: KeyOption = None,
    cert: CertificateOption = None,
    password_file: PasswordOption = None,
    force: ForceOption = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Build a package from a tree. Equal trees give equal bytes (see SOURCE_DATE_EPOCH)."""
    given: dict[str, Any] = {
        "name": name,
        "version": version,
        "vendor": vendor,
        "summary": summary,
        "acceptance-level": AcceptanceLevel.named(level).value if level else "",
    }
    given = {field: value for field, value in given.items() if value}
    signing = _signing(key, cert, password_file)
    planned = recipe.load(source, given)
    built = vib.build(planned, output, key=signing, force=force, epoch_s=source_date())
    warn(built.warnings)
    data = {"id": built.descriptor.id, "path": str(built.path), "size": built.size}
    emit(data, output_format, lambda it: f"{it['path']}")


def _signing(key: Path | None, cert: Path | None, password_file: Path | None) -> SigningKey | None:
    if key is None and cert is None:
        return None
    if key is None or cert is None:
        raise InvalidInput("--key and --cert belong together")
    password = None
    if password_file is not None:
        with about(password_file), password_file.open("rb") as stream:
            password = stream.read(MIB).rstrip(b"\r\n")
    return signature.load_key(key, cert, password)


@app.command()
def sign(
    package: PackageArgument,
    key: KeyOption = None,
    cert: CertificateOption = None,
    password_file: PasswordOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default the same.")
    ] = None,
) -> None:
    """Sign a package: its payloads stay as they are, a signature it had is replaced."""
    signing = _signing(key, cert, password_file)
    if signing is None:
        raise InvalidInput("nothing to sign with", hint="give --key and --cert")
    with vib.opened(package) as opened:
        # what is damaged must not be vouched for; what is against a rule is the hosts' affair
        report = vib.verify(opened, vib.Policy(force=True, no_signature_check=True))
        report.demand()
        vib.sign(opened, signing, output or package)


@app.command()
def show(package: PackageArgument, output: FormatOption = Format.TEXT) -> None:
    """Show what a package says of itself, as `esxcli software vib get` does."""
    with vib.opened(package) as opened:
        emit(as_data(opened.descriptor), output, as_got)


@app.command("list-files")
def list_files(package: PackageArgument, output: FormatOption = Format.TEXT) -> None:
    """List what the payloads hold, after checking their checksums."""
    rows: list[dict[str, Any]] = []
    with vib.opened(package) as opened:
        for payload in opened.descriptor.payloads:
            rows += [
                {
                    "payload": payload.name,
                    "mode": f"{entry.mode:04o}",
                    "type": entry.kind.value,
                    "size": entry.size,
                    "path": entry.path or "/",
                    "link": entry.link,
                }
                for entry, _ in opened.contents(payload, absolute_links=True)
            ]
    emit(rows, output, _files)


def _files(rows: list[dict[str, Any]]) -> str:
    cells = [
        (
            row["payload"],
            row["mode"],
            row["type"],
            row["size"],
            clean(f"{row['path']} -> {row['link']}" if row["link"] else row["path"]),
        )
        for row in rows
    ]
    return table(cells, ["Payload", "Mode", "Type", "Size", "Path"])


@app.command()
def verify(
    package: PackageArgument,
    trusted: TrustOption = TRUST,
    at: AtOption = "",
    no_signature_check: NoSignatureOption = False,
    force: ForceOption = False,
    absolute_links: LinksOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Check checksums, paths, level and signature; exit code 6 if a host should refuse it."""
    policy = vib.Policy(trust.load(trusted), no_signature_check, force, moment(at), absolute_links)
    with vib.opened(package) as opened:
        report = vib.verify(opened, policy)
    rows = [
        {"check": check.name, "outcome": check.outcome.value, "detail": check.detail}
        for check in report.checks
    ]
    emit(rows, output, _checks)
    report.demand()


def _checks(rows: list[dict[str, Any]]) -> str:
    return table([tuple(row.values()) for row in rows], ["Check", "Outcome", "Detail"])


@app.command()
def extract(
    package: PackageArgument,
    directory: Annotated[Path, typer.Argument(help="New or empty directory to unpack into.")],
    absolute_links: LinksOption = False,
) -> None:
    """Unpack a package, whole or not at all, into the layout that `create` takes."""
    with vib.opened(package) as opened:
        vib.extract(opened, directory, absolute_links=absolute_links)


@app.command()
def diff(
    left: Annotated[Path, typer.Argument(help="A package's file.")],
    right: Annotated[Path, typer.Argument(help="Another's.")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what differs between two packages; exit code 1 if anything does."""
    with vib.opened(left) as ours, vib.opened(right) as theirs:
        found = [
            {"where": it.where, "left": it.left, "right": it.right} for it in vib.diff(ours, theirs)
        ]
    emit(found, output, _differences)
    if found:
        raise typer.Exit(DIFFERENT)


def _differences(found: list[dict[str, str]]) -> str:
    lines = []
    for it in found:
        lines.append(clean(it["where"]))
        lines += [f"  - {clean(it['left'])}"] if it["left"] else []
        lines += [f"  + {clean(it['right'])}"] if it["right"] else []
    return "\n".join(lines)
