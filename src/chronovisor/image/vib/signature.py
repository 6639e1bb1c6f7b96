"""Detached CMS signatures over a package's descriptor: made, and checked to a trusted root.

The descriptor's checksums cover the payloads, so a signature over it covers the package. Made are
DER signatures over SHA-256 that carry the signer's certificates and no attributes: a signing time
would make every rebuild differ.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from chronovisor.errors import Denied, InvalidInput
from chronovisor.image.limits import MIB
from chronovisor.image.refusal import about, malformed, printable
from chronovisor.image.vib import cms, trust
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.trust import Trust

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
SHORTEST_RSA_BITS = 2048
_BROKEN = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, its certificate, and the certificates between that and a root."""

    key: Key
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Who signed a package, for people and for the image profile."""

    subject: str
    issuer: str
    serial: str
    fingerprint: str  # SHA-256 of the certificate, hex
    root: str
    not_after: str


def load_key(key: Path, certificate: Path, password: bytes | None = None) -> SigningKey:
    """Return a key from PEM files; the certificate's file holds its own first, then the chain."""
    with about(key), key.open("rb") as stream:
        raw = stream.read(MIB)
    try:
        private = serialization.load_pem_private_key(raw, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            f"{key} holds no usable private key: {error}",
            hint="it must be an RSA or EC key in PEM; give the password of an encrypted one",
        ) from None
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise InvalidInput(f"{key}: packages are signed with RSA or EC keys only")
    own, *chain = trust.certificates(certificate)
    if own.public_key() != private.public_key():
        raise InvalidInput(
            f"{certificate}: its first certificate is not that of the key {key}",
            hint="put the signer's own certificate first, then those up to the root",
        )
    return SigningKey(private, own, tuple(chain))


def sign(descriptor: bytes, by: SigningKey) -> bytes:
    """Return the signature of a descriptor's bytes, in DER. Equal input, equal bytes with RSA."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(descriptor)
    builder = builder.add_signer(by.certificate, by.key, hashes.SHA256())
    for certificate in by.chain:
        builder = builder.add_certificate(certificate)
    options = pkcs7.PKCS7Options
    return builder.sign(
        serialization.Encoding.DER,
        [options.DetachedSignature, options.Binary, options.NoAttributes],
    )


def verify(
    descriptor: bytes,
    raw: bytes,
    trusted: Trust,
    level: AcceptanceLevel,
    at: datetime | None = None,
    where: str = "sig.pkcs7",
) -> SignedBy:
    """Return who signed a descriptor; every signature in the file must hold.

    Raises ProtocolError where `raw` is no signature, Denied where it is not one of this
    descriptor, or not by somebody who is trusted with `level` at the time `at` (now by default).
    """
    data = cms.parse(raw, where)
    if data.content is not None and data.content != descriptor:
        raise Denied(f"{where}: signed is another text than the descriptor")
    found = []
    with _strangers_certificates(where):
        certificates = [x509.load_der_x509_certificate(der) for der in data.certificates]
        for signer in data.signers:
            leaf = _signers_certificate(signer, certificates, trusted, level, where)
            _check_signature(descriptor, signer, leaf, where)
            moment = at or datetime.now(UTC)
            found.append(_chain(leaf, certificates, trusted, level, moment, where))
    return found[0]


@contextmanager
def _strangers_certificates(where: str) -> Iterator[None]:
    """Word what the library raises over a broken certificate, whose parts it parses when asked."""
    try:
        yield
    except _BROKEN as error:
        reason = printable(str(error)) or type(error).__name__
        raise malformed(where, 0, f"broken certificate: {reason}") from None


def _signers_certificate(
    signer: cms.Signer,
    certificates: Sequence[x509.Certificate],
    trusted: Trust,
    level: AcceptanceLevel,
    where: str,
) -> x509.Certificate:
    # a signature may leave out a certificate that the host has
    for certificate in (*certificates, *trusted.vouching_for(level)):
        if _is_meant(signer, certificate):
            return certificate
    raise Denied(f"{where}: the signer's certificate is neither in it nor among the trusted ones")


def _is_meant(signer: cms.Signer, certificate: x509.Certificate) -> bool:
    if signer.issuer:
        issuer = certificate.issuer.public_bytes()
        return (issuer, certificate.serial_number) == (signer.issuer, signer.serial)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return False
    return extension.value.digest == signer.key_id


def _check_signature(
    descriptor: bytes, signer: cms.Signer, certificate: x509.Certificate, where: str
) -> None:
    wrong = Denied(
        f"{where}: the signature is not one of this descriptor",
        hint="the package was changed after it was signed, or the signature is another one's",
    )
    signed = signer.attributes or descriptor
    digest = hashlib.new(signer.digest, descriptor).digest()
    if signer.attributes and digest != signer.message_digest:
        raise wrong
    algorithm = _HASHES[signer.digest]
    key = _public_key(certificate, where)
    try:
        if isinstance(key, rsa.RSAPublicKey) and _fits(signer, cms.RSA_PKCS1):
            key.verify(signer.signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and _fits(signer, cms.ECDSA):
            key.verify(signer.signature, signed, ec.ECDSA(algorithm))
        else:
            raise malformed(
                where, signer.offset, "signed by a method other than RSA (PKCS #1 v1.5) and ECDSA"
            )
    except InvalidSignature:
        raise wrong from None


def _fits(signer: cms.Signer, algorithms: dict[bytes, str | None] | dict[bytes, str]) -> bool:
    return signer.algorithm in algorithms and algorithms[signer.algorithm] in (None, signer.digest)


def _public_key(certificate: x509.Certificate, where: str) -> object:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SHORTEST_RSA_BITS:
        raise Denied(f"{where}: signed with an RSA key of {key.key_size} bits, which can be forged")
    return key


def _chain(
    leaf: x509.Certificate,
    certificates: list[x509.Certificate],
    trusted: Trust,
    level: AcceptanceLevel,
    at: datetime,
    where: str,
) -> SignedBy:
    roots = trusted.vouching_for(level)
    if not roots:
        raise Denied(
            f"{where}: no certificate is trusted with packages of level {level}",
            hint=f"put the root's certificate into the trust directory, under {level}/",
        )
    _check_lifetime(leaf, at, where)
    policy = verification.ExtensionPolicy
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(list(roots)))
        .time(at)
        .max_chain_depth(8)
        .extension_policies(ca_policy=_AUTHORITY, ee_policy=policy.permit_all())
        .build_client_verifier()
    )
    others = [certificate for certificate in certificates if certificate != leaf]
    try:
        chain = verifier.verify(leaf, others).chain
    except verification.VerificationError as error:
        raise Denied(
            f"{where}: '{_name(leaf.subject)}' is not trusted with packages of level {level}: "
            f"{printable(str(error), 200)}",
            hint="`visorctl vib verify --trust DIR` names another set of trusted certificates",
        ) from None
    _check_use(leaf, where)
    return SignedBy(
        subject=_name(leaf.subject),
        issuer=_name(leaf.issuer),
        serial=f"{leaf.serial_number:x}",
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        root=_name(chain[-1].subject),
        not_after=leaf.not_valid_after_utc.isoformat(),
    )


def _may_sign_certificates(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer's key may not sign certificates")


def _may_vouch_for_code(
    _policy: verification.Policy,
    _certificate: x509.Certificate,
    usage: x509.ExtendedKeyUsage | None,
) -> None:
    # not RFC 5280's rule but everybody's: an authority for web servers is none for packages
    if usage is not None and not _SIGNS_CODE.intersection(usage):
        raise ValueError("an issuer's key is not one for signers of code")


# RFC 5280, section 6.1.4 (n); the library itself checks signatures, names, times, path lengths,
# and of each issuer that it is a certificate authority (k)
_AUTHORITY = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _may_sign_certificates)
    .may_be_present(x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, _may_vouch_for_code)
)


def _check_lifetime(leaf: x509.Certificate, at: datetime, where: str) -> None:
    first, last = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not first <= at <= last:
        state = "has expired" if at > last else "is not valid yet"
        raise Denied(
            f"{where}: the certificate of '{_name(leaf.subject)}' {state}: "
            f"it is good from {first.date()} to {last.date()}",
            hint="sign the package anew; `vib verify --at TIME` checks as of another day",
        )


def _check_use(leaf: x509.Certificate, where: str) -> None:
    """Refuse a certificate that says it is for something else than signing code."""
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise Denied(f"{where}: the key of '{_name(leaf.subject)}' is not one for signatures")
        if isinstance(value, x509.ExtendedKeyUsage) and not _SIGNS_CODE.intersection(value):
            raise Denied(f"{where}: the key of '{_name(leaf.subject)}' is not one to sign code")


_SIGNS_CODE = frozenset(
    {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


def _name(name: x509.Name) -> str:
    return printable(name.rfc4514_string(), 200)
