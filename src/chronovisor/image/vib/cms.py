"""CMS SignedData (RFC 5652, before it PKCS #7): the fields that a detached signature is made of."""

import base64
import binascii
import re
from dataclasses import dataclass

from chronovisor.image.refusal import malformed
from chronovisor.image.vib import ber

# object identifiers as encoded: RFC 5652 sections 4, 5.1, 11.1, 11.2; RFC 5754; RFC 3447
SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
DIGESTS = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
OLD_DIGESTS = {bytes.fromhex("2b0e03021a"): "SHA-1", bytes.fromhex("2a864886f70d0205"): "MD5"}
RSA_PKCS1 = {
    bytes.fromhex("2a864886f70d010101"): None,
    bytes.fromhex("2a864886f70d01010b"): "sha256",
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
}
ECDSA = {
    bytes.fromhex("2a8648ce3d040302"): "sha256",
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
}

MOST_CERTIFICATES = 32
MOST_SIGNERS = 8
_PEM = re.compile(
    rb"-----BEGIN (PKCS7|CMS)-----\s+([A-Za-z0-9+/=\s]+?)-----END \1-----\s*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Signer:
    """One signature. `issuer` (a DER name) and `serial`, or else `key_id`, name its certificate.

    `attributes` is what was signed in place of the content, as a DER set, or nothing.
    """

    issuer: bytes
    serial: int
    key_id: bytes
    digest: str
    algorithm: bytes
    attributes: bytes
    message_digest: bytes
    signature: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class SignedData:
    """Certificates (DER) and signatures; `content` only where it is not detached."""

    content: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[Signer, ...]


def parse(raw: bytes, where: str) -> SignedData:
    """Return the signed data in DER, BER or PEM; ProtocolError where it is none of these."""
    outer = ber.Fields(_whole(_unwrapped(raw, where), where))
    kind = outer.required("content type", ber.OBJECT_ID)
    if kind.contents != SIGNED_DATA:
        raise malformed(where, kind.start, "not a CMS signature: its content is not signed data")
    explicit = outer.required("signed data", ber.CONTEXT_0)
    fields = ber.Fields(ber.Fields(explicit).required("signed data", ber.SEQUENCE))
    fields.required("version", ber.INTEGER)
    fields.required("list of digests", ber.SET)
    content = _content(fields.required("content", ber.SEQUENCE))
    certificates = fields.optional(ber.CONTEXT_0)
    fields.optional(ber.CONTEXT_1)  # revocation lists: the operator's, not the signer's, count
    signers = list(fields.required("list of signatures", ber.SET).children())
    if not 1 <= len(signers) <= MOST_SIGNERS:
        raise malformed(where, 0, f"{len(signers)} signatures; 1 to {MOST_SIGNERS} are allowed")
    return SignedData(content, _certificates(certificates), tuple(map(_signer, signers)))


def _unwrapped(raw: bytes, where: str) -> bytes:
    if not raw.lstrip().startswith(b"-----"):
        return raw
    found = _PEM.fullmatch(raw.strip())
    if not found:
        raise malformed(where, 0, "PEM, but not of a CMS signature")
    try:
        return base64.b64decode(b"".join(found[2].split()), validate=True)
    except binascii.Error as error:
        raise malformed(where, 0, f"broken PEM: {error}") from None


def _whole(raw: bytes, where: str) -> ber.Value:
    value = ber.read(raw, where)
    if value.tag != ber.SEQUENCE:
        raise malformed(where, 0, "not a CMS signature")
    if value.after != len(raw):
        raise malformed(where, value.after, "something follows the signature")
    return value


def _content(encapsulated: ber.Value) -> bytes | None:
    fields = ber.Fields(encapsulated)
    fields.required("kind of content", ber.OBJECT_ID)
    explicit = fields.optional(ber.CONTEXT_0)
    if explicit is None:
        return None
    octets = ber.OCTET_STRING
    return ber.Fields(explicit).required("content", octets, octets | 0x20).octets()


def _certificates(group: ber.Value | None) -> tuple[bytes, ...]:
    if group is None:
        return ()
    # other choices than certificates proper are context-tagged and obsolete: passed over
    found = [child for child in group.children() if child.tag == ber.SEQUENCE]
    if len(found) > MOST_CERTIFICATES:
        raise malformed(group.where, group.start, f"more than {MOST_CERTIFICATES} certificates")
    return tuple(child.encoded for child in found)


def _signer(value: ber.Value) -> Signer:
    if value.tag != ber.SEQUENCE:
        raise malformed(value.where, value.start, "not a signature's fields")
    fields = ber.Fields(value)
    fields.required("version", ber.INTEGER)
    issuer, serial, key_id = _identity(
        fields.required("signer's identity", ber.SEQUENCE, ber.CONTEXT_0_PRIMITIVE)
    )
    digest = _digest(fields.required("digest algorithm", ber.SEQUENCE))
    attributes = fields.optional(ber.CONTEXT_0)
    algorithm = _algorithm(fields.required("signature algorithm", ber.SEQUENCE))
    signature = fields.required("signature", ber.OCTET_STRING)
    message_digest = b"" if attributes is None else _message_digest(attributes)
    return Signer(
        issuer=issuer,
        serial=serial,
        key_id=key_id,
        digest=digest,
        algorithm=algorithm,
        # RFC 5652, section 5.4: signed under the tag of a SET, stored under that of the field
        attributes=b"" if attributes is None else b"\x31" + attributes.encoded[1:],
        message_digest=message_digest,
        signature=signature.contents,
        offset=value.start,
    )


def _identity(value: ber.Value) -> tuple[bytes, int, bytes]:
    if value.tag == ber.CONTEXT_0_PRIMITIVE:
        return b"", 0, value.contents
    fields = ber.Fields(value)
    issuer = fields.required("issuer's name", ber.SEQUENCE).encoded
    serial = fields.required("serial number", ber.INTEGER).contents
    return issuer, int.from_bytes(serial, "big", signed=True), b""


def _algorithm(value: ber.Value) -> bytes:
    return ber.Fields(value).required("algorithm", ber.OBJECT_ID).contents


def _digest(value: ber.Value) -> str:
    identifier = _algorithm(value)
    if old := OLD_DIGESTS.get(identifier):
        raise malformed(value.where, value.start, f"signed over {old}, which can be forged")
    if identifier not in DIGESTS:
        raise malformed(value.where, value.start, "signed over a digest other than SHA-2")
    return DIGESTS[identifier]


def _message_digest(attributes: ber.Value) -> bytes:
    found: dict[bytes, ber.Value] = {}
    for attribute in attributes.children():
        fields = ber.Fields(attribute)
        identifier = fields.required("attribute's name", ber.OBJECT_ID).contents
        if identifier in found:
            raise malformed(attribute.where, attribute.start, "a second attribute of one name")
        found[identifier] = fields.required("attribute's value", ber.SET)
    if MESSAGE_DIGEST not in found or CONTENT_TYPE not in found:
        raise malformed(attributes.where, attributes.start, "no digest among the attributes")
    values = ber.Fields(found[MESSAGE_DIGEST])
    return values.required("digest", ber.OCTET_STRING).contents
