"""The whole store as one YAML document, out and in.

::

    chronovisor_config: 1
    settings:
      host/system/system_time:
        enabled: true

Reading takes a plain subset of YAML: no anchors, aliases, tags or repeated names, so a small text
cannot grow into a large value and no text can name a Python object. Every problem has its line.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from chronovisor.config.fields import DEPTH_MAX, Place, parse_place, place_text
from chronovisor.config.keys import KeyPath
from chronovisor.config.records import Value
from chronovisor.config.registry import Registry
from chronovisor.config.staging import storable_value
from chronovisor.config.words import listed, nearest, shown
from chronovisor.errors import InvalidInput, NotFound, Problem

SIZE_MAX = 4 * 1024 * 1024
"""Most characters that a document may have."""

VERSION = 1

_HEAD, _BODY = "chronovisor_config", "settings"
# libyaml is some twenty times as fast; both are the safe loader.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Lines = dict[Place, int]
"""The line of every place of a document, from 1."""


class _Dumper(yaml.SafeDumper):
    """Writes text so that it reads back the same; PyYAML loses a NEL (U+0085) in plain quotes."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = None if text.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def document_text(values: Mapping[KeyPath, Value | None], revision: int) -> str:
    """Return `values` as a document that `staged_document` reads."""
    body = {str(path): values[path] or {} for path in sorted(values)}
    document = {_HEAD: VERSION, _BODY: body}
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return f"# Chronovisor Config Store, revision {revision}\n{text}"


def staged_document(
    registry: Registry, values: Mapping[KeyPath, Value], text: str
) -> dict[KeyPath, Value]:
    """Return what the document sets, judged and in the form that is stored.

    `values` are in force now; a mask in the document keeps the secret that they hold. Raises
    `InvalidInput` with every problem and its line.
    """
    document, lines = read_plain(text)
    problems = list(_frame_problems(document, lines))
    settings = document.get(_BODY) if isinstance(document, dict) else None
    staged: dict[KeyPath, Value] = {}
    for name, value in (settings if isinstance(settings, dict) else {}).items():
        try:
            path = KeyPath.parse(name)
            if path in staged:
                line = lines[(_BODY, name)]
                problems.append(Problem(f"line {line}", f"{path} is given more than once"))
            staged[path] = storable_value(registry, path, value, values.get(path))
        except (InvalidInput, NotFound) as error:
            problems += _with_lines(name, error, lines)
    if problems:
        raise _refused(problems)
    return staged


def read_plain(text: str) -> tuple[Any, Lines]:
    """Return the value of a text in the plain subset of YAML, and the line of every place.

    Raises `InvalidInput` with every problem and its line.
    """
    if len(text) > SIZE_MAX:
        raise _refused([Problem("", f"has {len(text)} characters, more than {SIZE_MAX}")])
    try:
        text.encode()
        if problems := list(_trickery(text)):
            raise _refused(problems)
        root = yaml.compose(text, _Loader)
        if root is None:
            raise _refused([Problem("line 1", "the document is empty")])
        lines: Lines = {}
        faults: list[Problem] = []
        document = _built(root, (), lines, faults)
    except yaml.YAMLError as error:
        raise _refused([_yaml_problem(text, error)]) from error
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise _refused([Problem(f"line {line}", "has a character that is not Unicode")]) from error
    if faults:
        raise _refused(faults)
    return document, lines


def _trickery(text: str) -> Iterator[Problem]:
    """Yield what makes a document larger or deeper than it looks, before anything is built."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        line = f"line {event.start_mark.line + 1}" if event.start_mark else ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield Problem(line, "anchors (&) and aliases (*) are not taken; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                yield Problem(line, f"is nested deeper than {DEPTH_MAX} levels")
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _built(node: yaml.Node, place: Place, lines: Lines, faults: list[Problem]) -> Any:
    """Return the value of a node, noting the line of every place."""
    line = node.start_mark.line + 1
    lines.setdefault(place, line)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, faults)
    plain = "tag:yaml.org,2002:map" if isinstance(node, yaml.MappingNode) else None
    if node.tag not in (plain, "tag:yaml.org,2002:seq"):
        faults.append(Problem(f"line {line}", f"the tag {node.tag} is not taken"))
    elif isinstance(node, yaml.SequenceNode):
        return [_built(n, (*place, i), lines, faults) for i, n in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines, faults)
    return None


def _mapping(
    node: yaml.MappingNode, place: Place, lines: Lines, faults: list[Problem]
) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        # What stands before a colon is a name, also where YAML would read a number or a boolean.
        if not isinstance(key_node, yaml.ScalarNode):
            faults.append(Problem(f"line {line}", "a name cannot be a mapping or a list"))
            continue
        name = str(key_node.value)
        if name in built:
            where = place_text((*place, name))
            faults.append(Problem(f"line {line}", f"{where} is given more than once"))
        lines[(*place, name)] = line
        built[name] = _built(value_node, (*place, name), lines, faults)
    return built


def _scalar(node: yaml.ScalarNode, faults: list[Problem]) -> Any:
    try:
        value = SafeConstructor().construct_object(node)
    except (ValueError, OverflowError):  # a date like 2026-99-99, a number of 5,000 digits
        faults.append(_line_problem(node, f"{shown(node.value)} cannot be read; quote text"))
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    kind = type(value).__name__
    faults.append(_line_problem(node, f"{shown(node.value)} is read as a {kind}; quote text"))
    return None


def _line_problem(node: yaml.Node, text: str) -> Problem:
    return Problem(f"line {node.start_mark.line + 1}", text)


def _frame_problems(document: Any, lines: Lines) -> Iterator[Problem]:
    if not isinstance(document, dict):
        yield Problem("line 1", f"the document is {shown(document)}", "", f"{_HEAD} and {_BODY}")
        return
    if document.get(_HEAD) != VERSION or isinstance(document.get(_HEAD), bool):
        found = shown(document[_HEAD]) if _HEAD in document else "missing"
        line = lines.get((_HEAD,), 1)
        yield Problem(f"line {line}", f"{_HEAD} is {found}", found, f"{_HEAD}: {VERSION}")
    if not isinstance(document.get(_BODY), dict):
        line = lines.get((_BODY,), 1)
        yield Problem(f"line {line}", f"{_BODY} is missing or not a mapping")
    for name in document.keys() - {_HEAD, _BODY}:
        guess = nearest(name, [_HEAD, _BODY])
        text = f"unknown name {shown(name)}" + (f"; did you mean {guess}?" if guess else "")
        yield Problem(f"line {lines[(name,)]}", text, name, listed([_HEAD, _BODY]))


def _with_lines(name: str, error: InvalidInput | NotFound, lines: Lines) -> Iterator[Problem]:
    """Yield the problems of one key, each with the line of the nearest place that was written."""
    key: Place = (_BODY, name)
    if isinstance(error, NotFound):
        yield Problem(f"line {lines[key]}", error.message, name, error.hint or "")
        return
    for problem in error.problems:
        place = (*key, *_readable(problem.where))
        while place not in lines:
            place = place[:-1]
        where = f"line {lines[place]}: {name}" + (f": {problem.where}" if problem.where else "")
        yield Problem(where, problem.message, problem.value, problem.valid)


def _readable(where: str) -> Place:
    try:
        return parse_place(where)
    except InvalidInput:  # a key's own check may say where in its own way
        return ()


def _yaml_problem(text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        line = error.problem_mark.line + 1
        return Problem(f"line {line}", f"is not YAML: {error.problem or error.context}")
    at = getattr(error, "position", 0)
    reason = getattr(error, "reason", None) or "it cannot be read"
    return Problem(f"line {text.count(chr(10), 0, at) + 1}", f"is not YAML: {reason}")


def _refused(problems: list[Problem]) -> InvalidInput:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    text = "; ".join(str(problem) for problem in problems[:3])
    return InvalidInput(f"the document was refused: {count}: {text}", problems)
