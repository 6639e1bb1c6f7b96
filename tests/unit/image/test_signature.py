"""Signatures: good chains, and every way in which one does not hold."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

import vib_samples as samples
from chronovisor.errors import ChronovisorError, Denied, InvalidInput, ProtocolError
from chronovisor.image.vib import cms, signature, trust
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SignedBy, SigningKey
from chronovisor.image.vib.trust import Trust
from vib_samples import NOW, Identity, identity

TEXT = b"<vib>descriptor</vib>"
LEVEL = AcceptanceLevel.PARTNER
ROOT = identity("root", authority=True)
SIGNER = identity("signer", ROOT)
MIDDLE = identity("middle", ROOT, key=samples.rsa_key(2), authority=True, length=0)
BELOW = identity("below", MIDDLE)


def trusting(*roots: Identity, level: AcceptanceLevel = LEVEL) -> Trust:
    return Trust({level: tuple(root.certificate for root in roots)})


def key_of(item: Identity) -> SigningKey:
    return SigningKey(item.key, item.certificate, item.chain)


def signed(item: Identity = SIGNER, text: bytes = TEXT) -> bytes:
    return signature.sign(text, key_of(item))


def verified(
    raw: bytes,
    trusted: Trust | None = None,
    *,
    text: bytes = TEXT,
    level: AcceptanceLevel = LEVEL,
    days: int = 0,
) -> SignedBy:
    at = NOW + timedelta(days=days)
    return signature.verify(text, raw, trusted or trusting(ROOT), level, at)


def test_a_good_chain_holds() -> None:
    found = verified(signed())
    assert (found.subject, found.issuer, found.root) == ("CN=signer", "CN=root", "CN=root")
    assert found.fingerprint == SIGNER.certificate.fingerprint(hashes.SHA256()).hex()
    assert verified(signed(BELOW)).root == "CN=root"


def test_signing_twice_gives_the_same_bytes() -> None:
    assert signed() == signed()


def test_elliptic_curves_hold_too() -> None:
    own = identity("curve", ROOT, key=ec.generate_private_key(ec.SECP256R1()))
    assert verified(signed(own)).subject == "CN=curve"


def with_attributes(item: Identity = SIGNER, *options: pkcs7.PKCS7Options) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(TEXT)
    builder = builder.add_signer(item.certificate, item.key, hashes.SHA384())
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, *options])


def test_other_forms_are_read() -> None:
    detached = pkcs7.PKCS7Options.DetachedSignature
    assert verified(with_attributes()).subject == "CN=signer", "attached, with attributes"
    assert verified(with_attributes(SIGNER, detached)).subject == "CN=signer"
    bare = with_attributes(SIGNER, detached, pkcs7.PKCS7Options.NoCerts)
    everyone = Trust({LEVEL: (ROOT.certificate, SIGNER.certificate)})
    assert verified(bare, everyone).subject == "CN=signer", "the certificate is the host's"
    with pytest.raises(Denied, match="neither in it nor among the trusted"):
        verified(bare)


def test_pem_is_read() -> None:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(TEXT)
    builder = builder.add_signer(SIGNER.certificate, SIGNER.key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    raw = builder.sign(serialization.Encoding.PEM, options)
    assert verified(raw).subject == "CN=signer"
    assert verified(raw.replace(b"PKCS7", b"CMS")).subject == "CN=signer"
    with pytest.raises(ProtocolError):
        verified(raw.replace(b"BEGIN PKCS7", b"BEGIN CMS"))


def refused(raw: bytes, words: str, **options: object) -> None:
    with pytest.raises(Denied) as caught:
        verified(raw, **options)  # type: ignore[arg-type]  # a test's shorthand
    assert words in caught.value.message


def test_a_tampered_descriptor_is_refused() -> None:
    for raw in (signed(), with_attributes(SIGNER, pkcs7.PKCS7Options.DetachedSignature)):
        refused(raw, "the signature is not one of this descriptor", text=TEXT + b" ")
    refused(with_attributes(), "signed is another text", text=TEXT + b" ")


def test_a_tampered_signature_is_refused() -> None:
    raw = signed()
    refused(raw[:-1] + bytes([raw[-1] ^ 1]), "the signature is not one of this descriptor")


def test_the_wrong_key_is_refused() -> None:
    other = Identity(samples.rsa_key(3), SIGNER.certificate)
    refused(signed(other), "the signature is not one of this descriptor")


def test_an_unknown_root_is_refused() -> None:
    stranger = identity("root", key=samples.rsa_key(3), authority=True)
    refused(signed(identity("signer", stranger)), "is not trusted with packages of level partner")


def test_time_counts() -> None:
    last = (SIGNER.certificate.not_valid_after_utc - NOW).days
    refused(signed(), "has expired", days=last + 2)
    refused(signed(), "is not valid yet", days=-200)
    brief = identity("middle", ROOT, key=samples.rsa_key(2), authority=True,
                     last=NOW + timedelta(days=10))  # fmt: skip
    assert verified(signed(identity("below", brief)), days=5).subject == "CN=below"
    refused(signed(identity("below", brief)), "is not trusted", days=20)


def test_the_use_of_a_key_counts() -> None:
    refused(signed(identity("web", ROOT, signs_code=False)), "is not one to sign code")
    refused(signed(identity("mail", ROOT, usage=False)), "is not one for signatures")
    weak = identity("middle", ROOT, key=samples.rsa_key(2), authority=False)
    refused(signed(identity("below", weak)), "is not trusted")
    eager = identity("middle", ROOT, key=samples.rsa_key(2), authority=False, issues=True)
    refused(signed(identity("below", eager)), "basicConstraints.cA must be asserted")
    servers = identity("middle", ROOT, key=samples.rsa_key(2), authority=True, signs_code=False)
    refused(signed(identity("below", servers)), "is not one for signers of code")
    far = identity("far", MIDDLE, key=samples.rsa_key(3), authority=True)
    refused(signed(identity("below", far)), "path length")
    mute = identity("mute", ROOT, key=samples.rsa_key(2), authority=True, usage=False)
    refused(signed(identity("below", mute)), "is not trusted")


def test_a_missing_intermediate_is_refused() -> None:
    refused(signed(Identity(BELOW.key, BELOW.certificate)), "is not trusted")


def test_roots_vouch_for_their_level_and_below() -> None:
    partner = trusting(ROOT, level=AcceptanceLevel.PARTNER)
    assert verified(signed(), partner, level=AcceptanceLevel.COMMUNITY).subject == "CN=signer"
    words = "no certificate is trusted with packages of level certified"
    refused(signed(), words, trusted=partner, level=AcceptanceLevel.CERTIFIED)
    certified = trusting(ROOT, level=AcceptanceLevel.CERTIFIED)
    assert verified(signed(), certified, level=AcceptanceLevel.PARTNER).subject == "CN=signer"


def test_every_signature_must_hold() -> None:
    stranger = identity("stranger", key=samples.rsa_key(3), authority=True)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(TEXT)
    for item in (SIGNER, identity("other", stranger, key=samples.rsa_key(2))):
        builder = builder.add_signer(item.certificate, item.key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
    refused(builder.sign(serialization.Encoding.DER, options), "is not trusted")


def test_every_cut_and_every_changed_byte_is_refused() -> None:
    raw = signed()
    for length in range(0, len(raw), 7):
        with pytest.raises((ProtocolError, Denied)):
            verified(raw[:length])
    with pytest.raises(ProtocolError, match="something follows"):
        verified(raw + b"\0")
    for position in range(0, len(raw), 11):
        changed = bytearray(raw)
        changed[position] ^= 0x41
        try:
            verified(bytes(changed))
        except ChronovisorError:
            continue
        # what may differ is what nobody signs: copies of certificates, version numbers
        assert bytes(changed) != raw


def test_old_digests_are_refused() -> None:
    sha256 = bytes.fromhex("0609608648016503040201")
    raw = signed().replace(b"\x30\x0d" + sha256 + b"\x05\x00", b"\x30\x07\x06\x05+\x0e\x03\x02\x1a")
    with pytest.raises(ProtocolError):
        cms.parse(raw, "sig")
    shorter = bytearray(signed())
    at = shorter.rfind(sha256)
    shorter[at : at + 11] = bytes.fromhex("06052b0e03021a") + bytes.fromhex("05000500")
    with pytest.raises(ProtocolError, match="SHA-1, which can be forged"):
        cms.parse(bytes(shorter), "sig")


def test_short_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    weak = identity("weak", ROOT, key=rsa.generate_private_key(65537, 1024))
    refused(signed(weak), "RSA key of 1024 bits")


def test_keys_are_loaded_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(BELOW.key_pem())
    (tmp_path / "cert").write_bytes(BELOW.pem())
    loaded = signature.load_key(tmp_path / "key", tmp_path / "cert")
    assert signature.sign(TEXT, loaded) == signed(BELOW)
    (tmp_path / "other").write_bytes(ROOT.pem())
    with pytest.raises(InvalidInput, match="is not that of the key"):
        signature.load_key(tmp_path / "key", tmp_path / "other")
    with pytest.raises(InvalidInput, match="holds no usable private key"):
        signature.load_key(tmp_path / "cert", tmp_path / "cert")
    with pytest.raises(InvalidInput, match="holds no certificate"):
        signature.load_key(tmp_path / "key", tmp_path / "key")


def test_trust_is_a_directory_by_level(tmp_path: Path) -> None:
    assert trust.load(tmp_path / "none") == Trust({})
    (tmp_path / "partner").mkdir()
    (tmp_path / "partner" / "root.pem").write_bytes(ROOT.pem())
    (tmp_path / "partner" / "README").write_text("not a certificate")
    loaded = trust.load(tmp_path)
    assert verified(signed(), loaded).subject == "CN=signer"
    (tmp_path / "partner" / "broken.crt").write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(InvalidInput, match=r"broken\.crt holds no certificate"):
        trust.load(tmp_path)
