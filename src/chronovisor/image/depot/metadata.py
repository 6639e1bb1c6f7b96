"""Writes a depot's documents: index.xml, vendor-index.xml, vmware.xml, bulletins and packages.

The elements and their order are those of published bundles; a bulletin stands for one package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chronovisor.image import xmltree
from chronovisor.image.depot.listing import Listed
from chronovisor.image.vib import descriptor_write
from chronovisor.image.vib.descriptor import Descriptor
from chronovisor.image.xmltree import Element, element

CONTENT_TYPE = "http://www.vmware.com/depotmanagement/esx"
PRODUCT = "embeddedEsx"


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who publishes a depot, and the product versions that it is for."""

    name: str
    code: str
    platforms: tuple[str, ...] = ("6.*", "7.*", "8.*")


def index(vendor: Vendor) -> bytes:
    """Return index.xml."""
    content = element(
        "content",
        children=[element("name", "VMware ESX"), element("type", CONTENT_TYPE)],
    )
    return _document(
        element(
            "vendorList",
            children=[
                element(
                    "vendor",
                    children=[
                        element("name", vendor.name),
                        element("code", vendor.code),
                        element("indexfile", "vendor-index.xml"),
                        element("patchUrl"),
                        element("relativePath"),
                        content,
                    ],
                )
            ],
        )
    )


def vendor_index(vendor: Vendor) -> bytes:
    """Return vendor-index.xml."""
    entries = [
        element(
            "metadata",
            children=[
                element("productId", PRODUCT),
                element("version", version),
                element("locale"),
                element("url", "metadata.zip"),
                element("channelName", "default"),
            ],
        )
        for version in vendor.platforms
    ]
    return _document(element("metaList", children=entries))


def documents(listed: Sequence[Listed], vendor: Vendor, at: datetime) -> dict[str, bytes]:
    """Return what goes into metadata.zip, by name."""
    files = {"vendor-index.xml": vendor_index(vendor)}
    bulletins = []
    for package in listed:
        it = package.descriptor
        bulletins.append(_bulletin(it, vendor, [_package(package)]))
        thin = _bulletin(it, vendor, [element("vibID", it.id)])
        files[f"bulletins/{it.name}-{it.version}.xml"] = _document(thin)
        name = f"vibs/{it.name}-{package.sha256[:16]}.xml"
        files[name] = xmltree.render(descriptor_write.to_xml(it, _place(package)))
    response = element(
        "metadataResponse",
        children=[
            element("version", "3.0"),
            element("timestamp", at.isoformat(timespec="microseconds")),
            *bulletins,
        ],
    )
    return {"vmware.xml": _document(response), **files}


def _document(root: Element) -> bytes:
    return xmltree.render(root, declaration=True)


def _place(package: Listed) -> list[Element]:
    digest = Element("checksum", {"checksum-type": "sha-256"}, [], package.sha256)
    return [
        element("relative-path", package.relative_path),
        element("packed-size", str(package.size)),
        digest,
    ]


def _bulletin(it: Descriptor, vendor: Vendor, contents: list[Element]) -> Element:
    return element(
        "bulletin",
        children=[
            element("id", f"{it.name}-{it.version}"),
            element("vendor", vendor.name),
            element("summary", it.summary),
            element("severity", "general"),
            element("category", "enhancement"),
            element("urgency", "important"),
            element("releaseType", "extension"),
            element("description", it.description),
            element("kbUrl", it.urls[0][1] if it.urls else ""),
            element("contact"),
            element("releaseDate", it.release_date.isoformat(timespec="microseconds")),
            element("platforms", children=_platforms("softwarePlatform", vendor.platforms)),
            element("vibList", children=contents),
        ],
    )


def _platforms(name: str, versions: Sequence[str]) -> list[Element]:
    return [
        element(name, locale="", version=version, productLineID=PRODUCT) for version in versions
    ]


def _package(package: Listed) -> Element:
    it = package.descriptor
    full = descriptor_write.to_xml(it)
    requirements = [element("maintenanceMode", _word(it.maintenance_mode))]
    requirements += _platforms(
        "swPlatform", [platform.version for platform in it.software_platforms]
    )
    return element(
        "vib",
        children=[
            element("vibVersion", "1.4.5"),
            element("vibID", it.id),
            element("name", it.name),
            element("version", it.version),
            element("vendor", it.vendor),
            element("vibType", it.kind),
            element("summary", it.summary),
            element("systemReqs", children=requirements),
            *full.all("relationships"),
            element(
                "postInstall",
                children=[
                    element("rebootRequired", _word(not it.live_install_allowed)),
                    element("hostdRestart", _word(it.cimom_restart)),
                ],
            ),
            element("softwareTags", children=[element("tag", tag) for tag in it.tags]),
            element("vibFile", children=_file(package)),
        ],
    )


def _file(package: Listed) -> list[Element]:
    return [
        element("sourceUrl"),
        element("relativePath", package.relative_path),
        element("packedSize", str(package.size)),
        element(
            "checksum",
            children=[
                element("checksumType", "sha-256"),
                element("checksum", package.sha256),
            ],
        ),
    ]


def _word(value: bool) -> str:
    return "true" if value else "false"
