"""`visorctl depot`: offline bundles, and depots on disks and web servers. Works without visord."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.cli.output import Format, FormatOption, emit, table
from chronovisor.cli.packages import progress_of, source_date
from chronovisor.image import depot
from chronovisor.image.depot import Listed, Vendor

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

SourceArgument = Annotated[
    str, typer.Argument(help="An offline bundle (zip), a directory, or an http(s) URL.")
]
FilesArgument = Annotated[list[Path], typer.Argument(metavar="VIB...", help="Packages to put in.")]
VendorOption = Annotated[str, typer.Option("--vendor", help="The publisher's name.")]
CodeOption = Annotated[str, typer.Option("--code", help="The publisher's short name.")]
PlatformOption = Annotated[
    list[str], typer.Option("--platform", help="Product version it is for; may be repeated.")
]
PLATFORMS = ["6.*", "7.*", "8.*"]


@app.command()
def create(
    bundle: Annotated[Path, typer.Argument(help="The zip file to write.")],
    files: FilesArgument,
    vendor: VendorOption = "Chronovisor",
    code: CodeOption = "cvr",
    platform: PlatformOption = PLATFORMS,
    output: FormatOption = Format.TEXT,
) -> None:
    """Write an offline bundle. Equal packages give equal bytes (see SOURCE_DATE_EPOCH)."""
    publisher = Vendor(vendor, code, tuple(platform))
    _emit(depot.write_bundle(files, bundle, publisher, source_date()), output)


@app.command()
def publish(
    directory: Annotated[Path, typer.Argument(help="The directory that a web server serves.")],
    files: FilesArgument,
    vendor: VendorOption = "Chronovisor",
    code: CodeOption = "cvr",
    platform: PlatformOption = PLATFORMS,
    output: FormatOption = Format.TEXT,
) -> None:
    """Add packages to a depot in a directory; those that are there stay."""
    publisher = Vendor(vendor, code, tuple(platform))
    _emit(depot.publish(files, directory, publisher, source_date()), output)


@app.command("list")
def list_packages(source: SourceArgument, output: FormatOption = Format.TEXT) -> None:
    """List the packages of a depot."""
    with depot.opened(source) as opened:
        _emit(opened.packages, output)


@app.command()
def fetch(
    source: SourceArgument,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or ids of packages; all if none is given.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Where to write them.")
    ] = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Fetch packages; a transfer that was broken off is resumed by the same command."""
    written = []
    with depot.opened(source) as opened:
        wanted = [opened.find(name) for name in names] if names else opened.packages
        for package in wanted:
            with progress_of(package.descriptor.id) as progress:
                path = opened.fetch(package, directory, progress)
            written.append({"id": package.descriptor.id, "path": str(path)})
    emit(written, output, lambda rows: "\n".join(row["path"] for row in rows))


def _emit(listed: list[Listed] | tuple[Listed, ...], output: Format) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": it.descriptor.name,
            "version": it.descriptor.version,
            "vendor": it.descriptor.vendor,
            "acceptance_level": it.descriptor.acceptance_level.shown,
            "size": it.size,
            "path": it.relative_path,
            "sha256": it.sha256,
        }
        for it in listed
    ]
    emit(rows, output, _table)


def _table(rows: list[dict[str, Any]]) -> str:
    header = ["Name", "Version", "Vendor", "Acceptance Level", "Size"]
    return table([tuple(row.values())[:5] for row in rows], header)
