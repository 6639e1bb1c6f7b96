"""`visorctl image`: the packages of this host. Works without visord."""

import getpass
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.cli.output import Format, FormatOption, emit, pairs, table
from chronovisor.cli.packages import (
    IMAGE,
    TRUST,
    ForceOption,
    LinksOption,
    NoSignatureOption,
    TrustOption,
    progress_of,
    warn,
)
from chronovisor.errors import InvalidInput
from chronovisor.image import depot, profile
from chronovisor.image import install as installing
from chronovisor.image.install import Act
from chronovisor.image.plan import Plan
from chronovisor.image.profile import Profile
from chronovisor.image.vib import Policy, trust
from chronovisor.image.vib.acceptance import AcceptanceLevel

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

ProfileOption = Annotated[
    Path, typer.Option("--profile", metavar="DIR", help="Where the image profile is kept.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything and say what would be done.")
]
DONE = "Operation finished successfully."
REBOOT = (
    "The update completed successfully, but the system needs to be rebooted for the changes to be "
    "effective."
)
DRY_RUN = "Dryrun only, host not changed."


@app.command()
def install(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[VIB]...", help="Packages' files.")
    ] = None,
    source: Annotated[
        str, typer.Option("--depot", "-d", help="A bundle, directory or URL to take them from.")
    ] = "",
    names: Annotated[
        list[str] | None,
        typer.Option("--name", "-n", help="Package of the depot; may be repeated; all if none."),
    ] = None,
    trusted: TrustOption = TRUST,
    no_signature_check: NoSignatureOption = False,
    force: ForceOption = False,
    absolute_links: LinksOption = False,
    directory: ProfileOption = IMAGE,
    dry_run: DryRunOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Check packages and take them into this host's image profile."""
    if not files and not source:
        raise InvalidInput("nothing to install", hint="name files, or --depot and --name")
    policy = Policy(trust.load(trusted), no_signature_check, force, None, absolute_links)
    with tempfile.TemporaryDirectory(prefix="visorctl-") as temporary:
        fetched = _fetch(source, names or [], Path(temporary)) if source else []
        act = _act(policy)
        done = installing.install(directory, [*(files or []), *fetched], act, dry_run=dry_run)
    warn([str(problem) for problem in done.problems])
    emit(_result(done, dry_run), output, lambda it: "Installation Result\n" + _shown(it))


def _fetch(source: str, names: list[str], directory: Path) -> list[Path]:
    with depot.opened(source) as opened:
        wanted = [opened.find(name) for name in names] if names else opened.packages
        paths = []
        for package in wanted:
            with progress_of(package.descriptor.id) as progress:
                paths.append(opened.fetch(package, directory, progress))
        return paths


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Names or ids of packages.")],
    force: ForceOption = False,
    directory: ProfileOption = IMAGE,
    dry_run: DryRunOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Take packages out of this host's image profile."""
    done = installing.remove(directory, names, _act(Policy(force=force)), dry_run=dry_run)
    warn([str(problem) for problem in done.problems])
    emit(_result(done, dry_run), output, lambda it: "Removal Result\n" + _shown(it))


def _act(policy: Policy) -> Act:
    return Act(getpass.getuser(), datetime.now(UTC).isoformat(timespec="seconds"), policy)


def _result(done: Plan, dry_run: bool) -> dict[str, Any]:
    changed = bool(done.installed or done.removed)
    message = REBOOT if done.needs_reboot else DONE
    return {
        "message": DRY_RUN if dry_run else message,
        "vibs_installed": [vib.id for vib in done.installed],
        "vibs_removed": [vib.id for vib in done.removed],
        "vibs_skipped": [vib.id for vib in done.skipped],
        "reboot_required": changed and done.needs_reboot,
    }


def _shown(result: dict[str, Any]) -> str:
    titles = ("Message", "VIBs Installed", "VIBs Removed", "VIBs Skipped", "Reboot Required")
    values = [", ".join(it) if isinstance(it, list) else it for it in result.values()]
    return pairs(zip(titles, values, strict=True))


@app.command("list")
def list_packages(directory: ProfileOption = IMAGE, output: FormatOption = Format.TEXT) -> None:
    """List this host's packages, as `esxcli software vib list` does."""
    rows = [
        {
            "name": vib.name,
            "version": vib.version,
            "vendor": vib.vendor,
            "acceptance_level": vib.acceptance_level.shown,
            "install_date": vib.install_date[:10],
        }
        for vib in profile.load(directory).vibs
    ]
    header = ["Name", "Version", "Vendor", "Acceptance Level", "Install Date"]
    emit(rows, output, lambda found: table([tuple(row.values()) for row in found], header))


@app.command()
def status(directory: ProfileOption = IMAGE, output: FormatOption = Format.TEXT) -> None:
    """Show the acceptance level, the packages, and every override that was ever used."""
    current = profile.load(directory)
    emit(_status(current), output, _status_text)


def _status(current: Profile) -> dict[str, Any]:
    return {
        "acceptance_level": current.acceptance_level.shown,
        "generation": current.generation,
        "vibs": len(current.vibs),
        "overridden": sorted(vib.id for vib in current.vibs if vib.overridden),
        "overrides": [asdict(override) for override in current.overrides],
    }


def _status_text(data: dict[str, Any]) -> str:
    overridden = ", ".join(data["overridden"])
    lines = [
        pairs(
            [
                ("Acceptance Level", data["acceptance_level"]),
                ("Generation", data["generation"]),
                ("VIBs", data["vibs"]),
                ("VIBs Installed By Override", overridden or "none"),
                ("Overrides Ever Used", len(data["overrides"])),
            ]
        )
    ]
    for override in data["overrides"]:
        options = " ".join(override["options"])
        lines.append(f"\n   {override['at']}  {override['user']}  {options}  {override['vib']}")
        lines += [f"      {reason}" for reason in override["reasons"] or ["nothing to override"]]
    return "\n".join(lines)


@app.command()
def acceptance(
    level: Annotated[str, typer.Argument(help="The new level; without it the present one.")] = "",
    directory: ProfileOption = IMAGE,
) -> None:
    """Show or set the level that packages of this host must have at least."""
    if level:
        installing.set_level(directory, AcceptanceLevel.named(level))
    typer.echo(profile.load(directory).acceptance_level.shown)
