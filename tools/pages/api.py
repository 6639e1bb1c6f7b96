"""docs/reference/api.md: the paths of the API, and who may call them."""

import importlib
import pkgutil
import typing
from collections.abc import Iterator, Mapping
from typing import Any, cast

from fastapi.params import Depends
from fastapi.routing import APIRoute
from pages.markdown import code, table

from chronovisor.cli import main as visorctl
from chronovisor.host import api as subjects
from chronovisor.host.api.app import create
from chronovisor.host.api.peer import Access, writer
from chronovisor.host.api.problems import KINDS
from chronovisor.host.visord import Visord


def page() -> Iterator[str]:
    """Yield the page's parts."""
    # Only the routes are looked at, so there need be no visord behind them.
    app = create(cast(Visord, None), Access())
    document = app.openapi()
    yield "# API"
    yield (
        "visord serves HTTP and JSON on the Unix socket `/run/chronovisor/visord.sock`. "
        "`GET /openapi.json` is the whole description (OpenAPI "
        f"{document['openapi']}); this page is its table of contents."
    )
    yield code(
        "curl -s --unix-socket /run/chronovisor/visord.sock http://localhost/v1/clock/status", "sh"
    )
    yield (
        "*Who*: `read` is everybody (or, with `visord --others none`, those who may write); "
        "`write` is root, the user that visord runs as, and the members of `visord --group`. The "
        "kernel says who is at the other end of the socket."
    )
    yield table(("Method", "Path", "Who", "Query", "What"), _operations(document))
    yield "## Errors"
    yield (
        "Errors are RFC 9457 problem documents (`application/problem+json`) with the text that "
        "`visorctl` prints: `detail`, `hint`, and for invalid input `problems`, each with "
        "`where`, `message`, `value` and `valid`."
    )
    codes = [
        (f"`urn:chronovisor:{kind}`", str(status), str(_exit_code(error)))
        for kind, (error, status) in KINDS.items()
    ]
    yield table(("Type", "HTTP status", "Exit code of visorctl"), codes)


def _exit_code(error: type[Exception]) -> int:
    return next(code for kind, code in visorctl.EXIT_CODES if issubclass(error, kind))


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    writes = _writing_paths()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            query = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            yield (
                method.upper(),
                f"`{path}`",
                "write" if (method.upper(), path) in writes else "read",
                ", ".join(f"`{name}`" for name in query),
                " ".join(operation["description"].split()),
            )


def _writing_paths() -> set[tuple[str, str]]:
    """Return (method, path) of the endpoints that only a writer may call."""
    found = set()
    for route in _routes():
        hints = typing.get_type_hints(route.endpoint, include_extras=True).values()
        marks = (mark for hint in hints for mark in getattr(hint, "__metadata__", ()))
        if any(isinstance(mark, Depends) and mark.dependency is writer for mark in marks):
            found |= {(method, route.path) for method in route.methods or ()}
    return found


def _routes() -> Iterator[APIRoute]:
    """Yield the routes of all subjects; the rest of the API, in `app`, only looks."""
    for module in pkgutil.iter_modules(subjects.__path__):
        router = getattr(
            importlib.import_module(f"{subjects.__name__}.{module.name}"), "router", None
        )
        for route in router.routes if router else ():
            assert isinstance(route, APIRoute)
            yield route
