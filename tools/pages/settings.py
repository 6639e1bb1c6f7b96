"""docs/reference/settings.md: the fields of every key, out of its JSON Schema."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pages.markdown import table

from chronovisor.clock.engine import Engine
from chronovisor.host.schema import registry

_FORMATS = {
    "ipv4": "IPv4 address",
    "ipv4|ipv6": "IPv4 or IPv6 address",
    "ipv4network|ipv6network": "IPv4 or IPv6 prefix",
    "ipv6interface": "IPv6 address with prefix",
}


def page() -> Iterator[str]:
    """Yield the page's parts."""
    yield "# Settings"
    yield (
        "Every key of the Config Store with its fields. `visorctl config schema get -c … -g … "
        "-k …` prints the same as JSON Schema. `[]` stands for the items of a list; one is "
        "written `ptp_config.port[0].device`."
    )
    known = registry(Engine(Path("/run/chronovisor/clock")))
    keys = known.keys()
    for path in keys:
        schema = known.json_schema(path)
        yield f"## {path}"
        yield f"{schema['description']}."
        if known.spec(path).instances:
            yield "Set per instance: `-i NAME`."
        groups = schema.get("$defs", {})
        rows = list(_fields(schema, groups, ""))
        yield table(("Field", "Type", "Valid", "Default", "Meaning"), rows)
        if groups:
            yield "What the words and the groups of fields mean:"
            yield "\n".join(_definitions(groups))


def _fields(
    schema: Mapping[str, Any], known: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, form in schema.get("properties", {}).items():
        where = f"{prefix}{name}"
        target = _resolved(form, known)
        default = "required" if name in required else _default(form)
        yield (
            f"`{where}`",
            _type(target),
            _valid(target, known),
            default,
            form.get("description") or target.get("description", "").partition("\n")[0],
        )
        item = _resolved(target.get("items", {}), known)
        yield from _fields(target, known, f"{where}.")
        yield from _fields(item, known, f"{where}[].")


def _resolved(form: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a form refers to; null as an alternative counts only in its type."""
    if "$ref" in form:
        target: Mapping[str, Any] = known[form["$ref"].rpartition("/")[2]]
        return target
    every = form.get("anyOf", ())
    others = [_resolved(one, known) for one in every if one.get("type") != "null"]
    optional = {"optional": True} if len(others) < len(every) else {}
    if len(others) == 1:
        return {**form, **others[0], **optional}
    if others and len({one.get("type") for one in others}) == 1:  # two forms of address, say
        formats = [one.get("format", "") for one in others]
        return {**form, "type": others[0]["type"], "format": "|".join(formats), **optional}
    return form


def _type(form: Mapping[str, Any]) -> str:
    if "enum" in form:
        kind = "word"
    elif form.get("type") == "object":
        kind = "mapping"
    else:
        kind = {"array": "list"}.get(form.get("type", ""), form.get("type", "any"))
    return f"{kind} or null" if form.get("optional") else str(kind)


def _valid(form: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if "enum" in form:
        return ", ".join(f"`{word}`" for word in form["enum"])
    if "minimum" in form or "maximum" in form:
        return f"{form.get('minimum', '')} to {form.get('maximum', '')}".strip()
    if "additionalProperties" in form and not form.get("properties"):
        return "names of options and their values"
    if "items" in form:
        return _valid(_resolved(form["items"], known), known)
    valid = [_FORMATS.get(form.get("format", ""), "")]
    if "maxLength" in form:
        valid.append(f"at most {form['maxLength']} characters")
    if "pattern" in form:
        valid.append(f"`{form['pattern']}`")
    return ", ".join(filter(None, valid))


def _default(form: Mapping[str, Any]) -> str:
    match form.get("default"):
        case None:
            return "none"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case dict() as value if value:
            return "see below"
        case value:
            return f"`{value}`" if value not in ("", [], {}) else "empty"


def _definitions(known: Mapping[str, Any]) -> Iterator[str]:
    for name, form in sorted(known.items()):
        text = " ".join(form.get("description", "").split())
        yield f"- {name}: {text}"
