"""Writes `descriptor.xml`, its elements in the order that every published builder keeps."""

from collections.abc import Sequence

from chronovisor.image import xmltree
from chronovisor.image.vib.descriptor import FLAGS, RELATIONS, Descriptor, Payload
from chronovisor.image.vib.relation import Relation
from chronovisor.image.xmltree import Element


def to_xml(descriptor: Descriptor, depot: Sequence[Element] = ()) -> Element:
    """Return a descriptor as elements; `depot` are those that a depot's copy has in addition."""
    element = xmltree.element
    root = element("vib", children=[*_head(descriptor), *_what(descriptor), *depot])
    if descriptor.format_version:
        root.attributes["version"] = descriptor.format_version
    root.children += [
        _requirements(descriptor),
        element("file-list", children=[element("file", path) for path in descriptor.files]),
        element("acceptance-level", descriptor.acceptance_level.value),
        *(element(name, _word(getattr(descriptor, field))) for name, field in FLAGS.items()),
        element("payloads", children=list(map(_payload_xml, descriptor.payloads))),
    ]
    return root


def render(descriptor: Descriptor) -> bytes:
    """Return the document of a descriptor, which `parse` reads back to an equal one."""
    return xmltree.render(to_xml(descriptor))


def _head(descriptor: Descriptor) -> list[Element]:
    element = xmltree.element
    return [
        element("type", descriptor.kind),
        element("name", descriptor.name),
        element("version", descriptor.version),
        element("vendor", descriptor.vendor),
        element("summary", descriptor.summary),
        element("description", descriptor.description),
        element("release-date", descriptor.release_date.isoformat(timespec="microseconds")),
        element("urls", children=[element("url", url, key=key) for key, url in descriptor.urls]),
    ]


def _what(descriptor: Descriptor) -> list[Element]:
    groups = [
        xmltree.element(name, children=_relations_xml(name, getattr(descriptor, field)))
        for name, field in RELATIONS.items()
    ]
    tags = [xmltree.element("tag", tag) for tag in descriptor.tags]
    return [
        xmltree.element("relationships", children=groups),
        xmltree.element("software-tags", children=tags),
    ]


def _relations_xml(group: str, relations: Sequence[Relation]) -> list[Element]:
    name = "provide" if group == "provides" else "constraint"
    return [
        xmltree.element(
            name,
            name=relation.name,
            relation=relation.operator,
            version=relation.version,
        )
        if relation.operator
        else xmltree.element(name, name=relation.name)
        for relation in relations
    ]


def _requirements(descriptor: Descriptor) -> Element:
    element = xmltree.element
    children = [element("maintenance-mode", _word(descriptor.maintenance_mode))]
    children += [
        element(
            "softwarePlatform",
            version=platform.version,
            locale=platform.locale,
            productLineID=platform.product,
        )
        for platform in descriptor.software_platforms
    ]
    children += [
        element("hardwarePlatform", vendor=vendor) for vendor in descriptor.hardware_platforms
    ]
    return element("system-requires", children=children)


def _payload_xml(payload: Payload) -> Element:
    children = []
    for checksum in payload.checksums:
        attributes = {"checksum-type": checksum.kind}
        if checksum.process:
            attributes["verify-process"] = checksum.process
        children.append(Element("checksum", attributes, [], checksum.value))
    attributes = {"name": payload.name, "type": payload.kind.value}
    if payload.size is not None:
        attributes["size"] = str(payload.size)
    return Element("payload", attributes, children)


def _word(value: bool) -> str:
    return "true" if value else "false"
