"""How `visorctl` shows a result: as text for people, or as one of four formats for programs."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """The formats that every command knows."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    KEYVALUE = "keyvalue"


FormatOption = Annotated[
    Format, typer.Option("--format", help="How to print the result.", show_choices=True)
]


def emit(data: Any, output: Format, text: Callable[[Any], str] | None = None) -> None:
    """Print `data` (JSON material) in a format; `text` renders it for people."""
    if output is Format.TEXT and text is not None:
        rendered = text(data)
    else:
        rendered = _RENDERERS[output](data)
    if rendered:
        sys.stdout.write(rendered if rendered.endswith("\n") else rendered + "\n")
        sys.stdout.flush()


def emit_event(event: Any, output: Format, text: Callable[[Any], str]) -> None:
    """Print one event of a stream; as JSON a line each, for programs that read lines."""
    if output is Format.JSON:
        emit(event, Format.TEXT, lambda one: json.dumps(one, ensure_ascii=False))
    else:
        emit(event, output, text)


def flatten(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of nested mappings and lists: `ports[0].device`."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, (list, tuple)) and data:
        for position, value in enumerate(data):
            yield from flatten(value, f"{prefix}[{position}]")
    else:
        yield prefix, data


def table(rows: Iterable[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows under a header as esxcli prints them: two spaces apart, a line of dashes."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max([len(title), *(len(row[column]) for row in cells)])
        for column, title in enumerate(header)
    ]
    lines = [list(header), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def pairs(rows: Iterable[tuple[str, Any]], indent: str = "   ") -> str:
    """Return names and values as esxcli prints an object: indented, a colon behind the name."""
    return "\n".join(f"{indent}{name}: {_cell(value)}".rstrip() for name, value in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _yaml(data: Any) -> str:
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _csv(data: Any) -> str:
    rows = data if isinstance(data, list) else [data]
    flat = [dict(flatten(row)) if isinstance(row, Mapping) else {"value": row} for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in flat)
    return stream.getvalue()


def _keyvalue(data: Any) -> str:
    return "\n".join(f"{name}={_cell(value)}" for name, value in flatten(data))


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    return "\n".join(f"{name}: {_cell(value)}" for name, value in flatten(data))


_RENDERERS: dict[Format, Callable[[Any], str]] = {
    Format.TEXT: _text,
    Format.JSON: lambda data: json.dumps(data, indent=2, ensure_ascii=False),
    Format.YAML: _yaml,
    Format.CSV: _csv,
    Format.KEYVALUE: _keyvalue,
}
