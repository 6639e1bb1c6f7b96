"""What several command groups read from a command line in the same way."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.errors import InvalidInput, Problem, Unavailable

ComponentOption = Annotated[
    str, typer.Option("--component", "-c", help="Component: host (esx is accepted).")
]
GroupOption = Annotated[str, typer.Option("--group", "-g", help="Group, for example system.")]
KeyOption = Annotated[str, typer.Option("--key", "-k", help="Key, for example system_time.")]
InstanceOption = Annotated[
    str | None, typer.Option("--instance", "-i", help="Instance, for keys that have several.")
]
TryOption = Annotated[
    str | None,
    typer.Option(
        "--try", metavar="TIME", help="Go back after this time (60s, 5m) unless confirmed."
    ),
]
RevisionOption = Annotated[
    int | None,
    typer.Option("--revision", help="Change only if the store is still at this revision."),
]
CommentOption = Annotated[str, typer.Option("--comment", help="A remark for the history.")]
FieldsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FIELD=VALUE]...", help="Fields to change; a value is JSON or text."),
]

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str | None) -> float | None:
    """Return a time such as `60s`, `5m`, `1.5h` or `30` in seconds."""
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if not match:
        raise InvalidInput(f"{text!r} is not a time", hint="write it like 60s, 5m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def fields(words: list[str]) -> dict[str, Any]:
    """Return `field=value` words as a mapping; a value that is no JSON is text."""
    problems = [
        Problem(word, "is not of the form field=value", word)
        for word in words
        if not word.partition("=")[0] or "=" not in word
    ]
    if problems:
        raise InvalidInput("the fields to change cannot be read", problems)
    return {name: value_of(text) for name, _, text in (word.partition("=") for word in words)}


def value_of(text: str) -> Any:
    """Return the value that a word of the command line stands for: JSON where it is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_value(text: str) -> Any:
    """Return what JSON text stands for; raises `InvalidInput` with the place of the error."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--value is not JSON: {error}") from None


def read_document(path: Path) -> Any:
    """Return what a JSON or YAML file holds; `-` is standard input."""
    import yaml

    text = read_text(path)
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is neither JSON nor YAML: {error}") from None


def read_text(path: Path) -> str:
    """Return a file's text; `-` is standard input."""
    import sys

    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start})") from None
