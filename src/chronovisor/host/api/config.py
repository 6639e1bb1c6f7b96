"""`/v1/config`: the Config Store. Every change is one transaction, judged whole before it is kept.

Endpoints are plain functions where they may wait for a disk: FastAPI runs those in a thread.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict

from chronovisor.config import Change, ConfigStore, Entry, KeyPath, StaleKey
from chronovisor.config.fields import assign, parse_place
from chronovisor.errors import InvalidInput, NotFound, Problem
from chronovisor.host.api.context import visord_of
from chronovisor.host.api.peer import Peer, writer
from chronovisor.host.api.shapes import CommitShape, commit_shape, iso_time
from chronovisor.host.visord import Visord

router = APIRouter(prefix="/v1/config", tags=["config"])

Writer = Annotated[Peer, Depends(writer)]


NEWEST_REVISION = 2**63 - 1
"""The largest number that SQLite can hold, and so be asked for."""


class EntryShape(BaseModel):
    """A stored value with the revision that last changed it."""

    path: str
    value: dict[str, Any]
    revision: int
    changed_at: str


class KeyShape(BaseModel):
    """A key that can be set."""

    path: str
    instances: bool
    description: str


class OriginShape(BaseModel):
    """A field's value and where it comes from: `default`, `store` or `file:NAME:LINE`."""

    field: str
    value: Any
    origin: str


class DifferenceShape(BaseModel):
    """A field that differs between two revisions; `null` is "not there"."""

    path: str
    field: str
    old: Any
    new: Any


class TrialShape(BaseModel):
    """A change that goes away unless it is confirmed."""

    revision: int
    base_revision: int
    seconds_left: float
    author: str


class RollbackShape(BaseModel):
    """Which revision's values come back, of all keys or of one."""

    revision: int
    path: str | None = None


class How(BaseModel):
    """How a change is made: on trial, only at a revision, with a remark, to an instance.

    A word that is not known is refused: a misspelt `try_s` must not make a change for good.
    """

    model_config = ConfigDict(extra="forbid")

    instance: str | None = None
    try_s: Annotated[float | None, Query(gt=0)] = None
    expected_revision: Annotated[int | None, Query(ge=0, le=NEWEST_REVISION)] = None
    comment: str = ""

    def options(self) -> dict[str, Any]:
        """Return what `ConfigStore.commit` takes of it."""
        return self.model_dump(include={"try_s", "expected_revision", "comment"})


class HowToSet(How):
    """How one key is changed; with `expected_key_revision` only if that last changed it.

    0 is "not there". Changes of other keys in between are fine.
    """

    expected_key_revision: Annotated[int | None, Query(ge=0, le=NEWEST_REVISION)] = None


class HowToImport(How):
    """How a document is imported; with `replace` the keys that it does not have go."""

    replace: bool = False


HowQuery = Annotated[How, Query()]
SetQuery = Annotated[HowToSet, Query()]

ATTEMPTS = 20
"""How often fields are set anew in a value that others change in between."""


def _store(request: Request) -> ConfigStore:
    return visord_of(request).store


@router.get("")
def entries(request: Request, prefix: str = "") -> list[EntryShape]:
    """Return what is stored, secrets masked."""
    return [
        _entry(visord_of(request), entry, secrets=False)
        for entry in _store(request).entries(prefix)
    ]


def _entry(visord: Visord, entry: Entry, *, secrets: bool) -> EntryShape:
    value = entry.value if secrets else visord.registry.mask(entry.path, entry.value)
    return EntryShape(
        path=str(entry.path),
        value=value or {},
        revision=entry.revision,
        changed_at=iso_time(entry.changed_at_ns),
    )


@router.get("/keys")
def keys(request: Request) -> list[KeyShape]:
    """Return every key that can be set."""
    registry = visord_of(request).registry
    specs = map(registry.spec, registry.keys())
    return [
        KeyShape(path=str(spec.path), instances=spec.instances, description=spec.description)
        for spec in specs
    ]


@router.get("/schema/{component}/{group}/{key}")
def schema(request: Request, component: str, group: str, key: str) -> dict[str, Any]:
    """Return a key's JSON Schema (draft 2020-12)."""
    return visord_of(request).registry.json_schema(KeyPath(component, group, key))


@router.get("/history")
def history(
    request: Request, path: str | None = None, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> list[CommitShape]:
    """Return the changes, newest first."""
    return [commit_shape(commit) for commit in _store(request).history(path, limit)]


@router.get("/diff")
def diff(request: Request, a: int, b: int) -> list[DifferenceShape]:
    """Return what differs between two revisions."""
    return [
        DifferenceShape(path=str(one.path), field=one.field, old=one.old, new=one.new)
        for one in _store(request).diff(a, b)
    ]


@router.post("/rollback")
def rollback(request: Request, body: RollbackShape, peer: Writer, how: HowQuery) -> CommitShape:
    """Bring back the values of an earlier revision, as a new change."""
    commit = _store(request).rollback(
        body.revision, author=str(peer), path=body.path, **how.options()
    )
    return _shown(request, commit)


@router.get("/trial")
def trial(request: Request) -> TrialShape | None:
    """Return the change that is on trial, null when there is none."""
    now = _store(request).trial
    if now is None:
        return None
    return TrialShape(
        revision=now.revision,
        base_revision=now.base_revision,
        seconds_left=now.seconds_left,
        author=now.author,
    )


@router.post("/trial/confirm")
def confirm(request: Request, peer: Writer) -> CommitShape:
    """Keep the change that is on trial."""
    return _shown(request, _store(request).confirm(author=str(peer)))


@router.post("/trial/abandon")
def abandon(request: Request, peer: Writer) -> CommitShape:
    """End the trial now; the old values come back."""
    return _shown(request, _store(request).abandon(author=str(peer)))


@router.get("/document", response_class=PlainTextResponse)
def export_document(request: Request, secrets: bool = False) -> PlainTextResponse:
    """Return the whole store as one YAML document. Secrets are shown to those who may write."""
    if secrets:
        writer(request)
    text = _store(request).export_document(secrets=secrets)
    return PlainTextResponse(text, media_type="application/yaml")


async def _body(request: Request) -> bytes:
    return await request.body()


@router.put("/document")
def import_document(
    request: Request,
    peer: Writer,
    how: Annotated[HowToImport, Query()],
    body: Annotated[bytes, Depends(_body)],
) -> CommitShape:
    """Set every key of a YAML document in one change."""
    text = text_of(body, "the document")
    options = how.model_dump(include={"replace", "try_s", "expected_revision"})
    commit = _store(request).import_document(text, author=str(peer), **options)
    return _shown(request, commit)


def text_of(body: bytes, what: str) -> str:
    """Return a request's body as text, or refuse it with the place of the first bad byte."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} is not UTF-8 text (byte {error.start})") from None


@router.get("/{component}/{group}/{key}")
def get(
    request: Request,
    component: str,
    group: str,
    key: str,
    instance: str | None = None,
    secrets: bool = False,
) -> EntryShape:
    """Return what is stored for a key. Secrets are shown to those who may write."""
    if secrets:
        writer(request)
    path = _known(request, component, group, key, instance)
    entry = _store(request).get(path)
    if entry is None:
        raise NotFound(
            f"nothing is stored at {path}; its defaults hold", hint=_effective_hint(path)
        )
    return _entry(visord_of(request), entry, secrets=secrets)


def _effective_hint(path: KeyPath) -> str:
    words = f"-c {path.component} -g {path.group} -k {path.key}"
    return f"see them with `visorctl config current get {words} --effective`"


def _known(request: Request, component: str, group: str, key: str, instance: str | None) -> KeyPath:
    path = KeyPath(component, group, key, instance)
    visord_of(request).registry.spec(path)  # an unknown key says which is nearest
    return path


@router.get("/{component}/{group}/{key}/effective")
def effective(
    request: Request,
    component: str,
    group: str,
    key: str,
    instance: str | None = None,
    secrets: bool = False,
) -> list[OriginShape]:
    """Return every field of a key that holds now, with its origin."""
    if secrets:
        writer(request)
    path = _known(request, component, group, key, instance)
    return [
        OriginShape(field=one.field, value=one.value, origin=one.origin)
        for one in visord_of(request).origins(path, secrets=secrets)
    ]


@router.put("/{component}/{group}/{key}")
def put(
    request: Request,
    component: str,
    group: str,
    key: str,
    peer: Writer,
    how: SetQuery,
    value: Annotated[Any, Body()],
) -> CommitShape:
    """Set a key's whole value."""
    if value is None:
        raise InvalidInput(
            "null is not a value", hint="to bring the defaults back, delete the key's value"
        )
    return _commit(request, KeyPath(component, group, key, how.instance), value, peer, how)


@router.patch("/{component}/{group}/{key}")
def patch(
    request: Request,
    component: str,
    group: str,
    key: str,
    peer: Writer,
    how: SetQuery,
    fields: Annotated[dict[str, Any], Body()],
) -> CommitShape:
    """Change single fields of a key: `{"ptp_config.domain": 24}`.

    Nobody's change in between is lost: if the key has another value meanwhile, the fields are set
    in that one. Changes of other keys do not matter.
    """
    path = _known(request, component, group, key, how.instance)
    tries_left = ATTEMPTS
    while True:
        tries_left -= 1
        entry = _store(request).get(path)
        value = with_fields(entry.value if entry else {}, fields)
        decided = how
        if how.expected_key_revision is None:
            seen = entry.revision if entry else 0
            decided = how.model_copy(update={"expected_key_revision": seen})
        try:
            return _commit(request, path, value, peer, decided)
        except StaleKey:
            if how.expected_key_revision is not None or not tries_left:
                raise


def with_fields(value: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return a value with fields set by their paths; raises `InvalidInput` with every problem."""
    problems: list[Problem] = []
    for name, leaf in fields.items():
        try:
            assign(value, parse_place(name), leaf)
        except InvalidInput as error:
            problems += error.problems
        except LookupError:
            problems.append(Problem(name, "leads through something that is not there", str(leaf)))
    if problems:
        raise InvalidInput("some fields cannot be set one by one", problems)
    return value


@router.delete("/{component}/{group}/{key}")
def delete(
    request: Request, component: str, group: str, key: str, peer: Writer, how: SetQuery
) -> CommitShape:
    """Delete a key's value; the defaults hold again."""
    return _commit(request, KeyPath(component, group, key, how.instance), None, peer, how)


def _commit(request: Request, path: KeyPath, value: Any, peer: Peer, how: HowToSet) -> CommitShape:
    visord = visord_of(request)
    visord.refuse_impossible(path, value)
    change = Change(path, value, how.expected_key_revision)
    commit = visord.store.commit([change], author=str(peer), **how.options())
    return _shown(request, commit)


def _shown(request: Request, commit: Any) -> CommitShape:
    return commit_shape(_store(request).masked(commit))
