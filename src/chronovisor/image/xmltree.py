"""XML from outside, as a small tree that knows its lines; and XML for outside.

The parser is expat without what makes XML dangerous: a document type declaration, and with it
every entity, is refused, and depth and number of elements are bounded.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from chronovisor.errors import InvalidInput, ProtocolError
from chronovisor.image.limits import DEFAULT, Limits
from chronovisor.image.refusal import malformed, printable

# XML 1.0, section 2.2: what may stand in a document at all
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})


@dataclass(slots=True)
class Element:
    """An element: name, attributes, children and its own text; `line` and `offset` for messages.

    A tree is built top down while it is parsed, hence not frozen.
    """

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    text: str = ""
    line: int = 0
    offset: int = 0

    def find(self, name: str) -> "Element | None":
        """Return the first child of that name."""
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator["Element"]:
        """Yield the children of that name."""
        return (child for child in self.children if child.name == name)

    def value(self, name: str, default: str = "") -> str:
        """Return the stripped text of the first child of that name."""
        child = self.find(name)
        return default if child is None else child.text.strip()


class _Builder:
    """Receives expat's calls. Text is kept in pieces, joined when an element ends."""

    def __init__(self, where: str, limits: Limits) -> None:
        self.where, self.limits, self.nodes = where, limits, 0
        self.root: Element | None = None
        self.open: list[tuple[Element, list[str]]] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.EntityDeclHandler = self.doctype
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters

    def refuse(self, message: str) -> ProtocolError:
        place = f"{self.where}, line {self.parser.CurrentLineNumber}"
        return malformed(place, self.parser.CurrentByteIndex, message)

    def doctype(self, *_: object) -> None:
        raise self.refuse("document type and entity declarations are not allowed")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.nodes += 1 + len(attributes)
        if self.nodes > self.limits.xml_nodes:
            raise self.refuse(f"more than {self.limits.xml_nodes} elements and attributes")
        if len(self.open) >= self.limits.xml_depth:
            raise self.refuse(f"elements are nested deeper than {self.limits.xml_depth}")
        line, offset = self.parser.CurrentLineNumber, self.parser.CurrentByteIndex
        element = Element(name, attributes, line=line, offset=offset)
        if self.open:
            self.open[-1][0].children.append(element)
        else:
            self.root = element
        self.open.append((element, []))

    def end(self, _: str) -> None:
        element, pieces = self.open.pop()
        element.text = "".join(pieces)

    def characters(self, text: str) -> None:
        if self.open:
            self.open[-1][1].append(text)


def parse(raw: bytes, where: str, limits: Limits = DEFAULT, most: int | None = None) -> Element:
    """Return the root of a document, or raise ProtocolError with line and byte.

    `most` bounds the document's size (`limits.descriptor_bytes` by default).
    """
    bound = limits.descriptor_bytes if most is None else most
    if len(raw) > bound:
        raise malformed(where, bound, f"the document is larger than {bound} bytes")
    builder = _Builder(where, limits)
    try:
        builder.parser.Parse(raw, True)
    except expat.ExpatError as error:
        place = f"{where}, line {error.lineno}"
        reason = expat.ErrorString(error.code) or "not XML"
        raise malformed(place, builder.parser.ErrorByteIndex, f"not XML: {reason}") from None
    except (ValueError, LookupError) as error:  # an encoding that Python cannot serve
        raise malformed(where, 0, f"not XML: {printable(str(error))}") from None
    if builder.root is None:
        raise malformed(where, 0, "the document is empty")
    return builder.root


def element(
    name: str, /, text: str = "", children: Sequence[Element] = (), **attributes: str
) -> Element:
    """Return an element to be written."""
    return Element(name, attributes, list(children), text)


def render(root: Element, *, declaration: bool = False) -> bytes:
    """Return a tree as UTF-8 XML, two spaces to a level, as the builders of VIBs write it."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n' if declaration else ""
    return (head + "".join(_lines(root, ""))).encode()


def _escape(text: str, where: str) -> str:
    if bad := _FORBIDDEN.search(text):
        raise InvalidInput(
            f"<{where}>: the character {bad.group()!a} cannot be written in XML",
            hint="take control characters out of the text",
        )
    return text.translate(_ESCAPES)


def _attribute(text: str, where: str) -> str:
    # white space in an attribute becomes a space when read back unless it is written so
    return _escape(text, where).replace("\n", "&#10;").replace("\t", "&#9;")


def _lines(node: Element, indent: str) -> Iterator[str]:
    attributes = "".join(
        f' {key}="{_attribute(value, node.name)}"' for key, value in node.attributes.items()
    )
    head = f"{indent}<{node.name}{attributes}"
    if node.children:
        yield f"{head}>\n"
        for child in node.children:
            yield from _lines(child, indent + "  ")
        yield f"{indent}</{node.name}>\n"
    elif node.text:
        yield f"{head}>{_escape(node.text, node.name)}</{node.name}>\n"
    else:
        yield f"{head}/>\n"
