"""Packages, archives and certificates for tests, made without the writers under test."""

import hashlib
import io
import struct
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 6, 1, tzinfo=UTC)

Files = Sequence[tuple[str, bytes]]
TREE: Files = (
    ("etc/vmware/service/trx.xml", b"<service/>\n"),
    ("opt/trx/bin/trx", b"#!/bin/sh\n" * 300),
)


def info(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    """Return a header; `name` may be as hostile as it likes."""
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname, member.mode = size, kind, link, 0o755
    return member


def tar(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], style: int = tarfile.USTAR_FORMAT
) -> bytes:
    """Return a tar archive as Python's tarfile writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=style) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def tree(files: Files = TREE) -> bytes:
    """Return a tar archive of plain files."""
    return tar((info(name, len(data)), data) for name, data in files)


def gzip_n(data: bytes) -> bytes:
    """Return what `gzip -n` makes of it (but for the compressor's own choices)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    head = bytes.fromhex("1f8b0800000000000003")
    return head + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def vmtar(files: Files, *, gap: int = 0) -> bytes:
    """Return a vmtar: headers first, data at the end, each on a page."""
    blocks, data = b"", b""
    start = -(-(len(files) + 2) * 512 // 4096) * 4096 + gap
    for name, content in files:
        header = bytearray(info(name, len(content)).tobuf(tarfile.USTAR_FORMAT))
        header[257:265] = b"visor  \0"
        offset = start + len(data) if content else 0
        struct.pack_into("<IIII", header, 496, offset, 0, 0, 0)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blocks += bytes(header)
        data += content + bytes(-len(content) % 4096)
    return blocks + bytes(start - len(blocks)) + data


@dataclass(frozen=True)
class Stored:
    """A payload as it is to be stored; `unpacked` is what its second checksum is of."""

    name: str
    data: bytes
    unpacked: bytes | None = None
    kind: str = "tgz"

    @classmethod
    def of(cls, unpacked: bytes, name: str = "payload1", kind: str = "tgz") -> "Stored":
        return cls(name, gzip_n(unpacked), unpacked, kind)

    def xml(self) -> str:
        digest = hashlib.sha256(self.data).hexdigest()
        lines = [f'<checksum checksum-type="sha-256">{digest}</checksum>']
        if self.unpacked is not None:
            for kind, algorithm in (("sha-256", "sha256"), ("sha-1", "sha1")):
                digest = hashlib.new(algorithm, self.unpacked).hexdigest()
                head = f'<checksum checksum-type="{kind}" verify-process="gunzip">'
                lines.append(f"{head}{digest}</checksum>")
        inner = "\n".join(lines)
        head = f'<payload name="{self.name}" type="{self.kind}" size="{len(self.data)}">'
        return f"{head}\n{inner}\n</payload>"


def descriptor(
    payloads: Sequence[Stored],
    files: Iterable[str] = (),
    *,
    name: str = "trx-conf",
    version: str = "1.0-1",
    level: str = "community",
    extra: str = "",
    relations: str = "<depends/><conflicts/><replaces/><provides/><compatibleWith/>",
) -> bytes:
    """Return a descriptor in the form that the community's scripts write."""
    listed = "".join(f"\n    <file>{path}</file>" for path in files)
    inner = "\n".join(payload.xml() for payload in payloads)
    return f"""<vib version="5.0">
  <type>bootbank</type>
  <name>{name}</name>
  <version>{version}</version>
  <vendor>example</vendor>
  <summary>Time settings</summary>
  <description>For tests</description>
  <release-date>2026-01-02T03:04:05</release-date>
  <urls><url key="kb">https://example.org/?a=1&amp;b=2</url></urls>
  <relationships>{relations}</relationships>
  <software-tags/>
  <system-requires><maintenance-mode>false</maintenance-mode></system-requires>
  <file-list>{listed}
  </file-list>
  <acceptance-level>{level}</acceptance-level>
  <live-install-allowed>true</live-install-allowed>
  <live-remove-allowed>true</live-remove-allowed>
  <cimom-restart>false</cimom-restart>
  <stateless-ready>true</stateless-ready>
  <overlay>false</overlay>{extra}
  <payloads>
{inner}
  </payloads>
</vib>
""".encode()


def member(name: str, data: bytes, *, size: int | None = None) -> bytes:
    """Return one member of an ar archive, as GNU ar writes it."""
    head = f"{name + '/':<16}{1700000000:<12}{0:<6}{0:<6}{100644:<8}"
    head += f"{len(data) if size is None else size:<10}`\n"
    return head.encode() + data + (b"\n" if len(data) % 2 else b"")


def package(text: bytes, payloads: Sequence[Stored], signature: bytes = b"") -> bytes:
    """Return a package with a given descriptor."""
    parts = [member("descriptor.xml", text), member("sig.pkcs7", signature)]
    parts += [member(payload.name, payload.data) for payload in payloads]
    return b"!<arch>\n" + b"".join(parts)


def sample(files: Files = TREE, *, level: str = "community", name: str = "trx-conf") -> bytes:
    """Return a sound package of plain files."""
    payloads = [Stored.of(tree(files))]
    text = descriptor(payloads, [path for path, _ in files], level=level, name=name)
    return package(text, payloads)


def hostile(archive: bytes, files: Iterable[str] = (), kind: str = "tgz") -> bytes:
    """Return a package with sound checksums around any archive."""
    payloads = [Stored.of(archive, kind=kind)]
    return package(descriptor(payloads, files), payloads)


def written(directory: Path, raw: bytes, name: str = "sample.vib") -> Path:
    """Write a package to a file and return its path."""
    path = directory / name
    path.write_bytes(raw)
    return path


Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """A key, its certificate, and those above it."""

    key: Key
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def pem(self) -> bytes:
        own = (self.certificate, *self.chain)
        return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in own)


_KEYS: list[rsa.RSAPrivateKey] = []


def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """Return one of a few keys: making one takes a while, and tests need no secrets."""
    while len(_KEYS) <= number:
        _KEYS.append(rsa.generate_private_key(65537, 2048))
    return _KEYS[number]


def identity(
    name: str,
    issuer: Identity | None = None,
    *,
    key: Key | None = None,
    authority: bool = False,
    first: datetime = NOW - timedelta(days=100),
    last: datetime = NOW + timedelta(days=3000),
    signs_code: bool = True,
    usage: bool = True,
    issues: bool | None = None,
    length: int | None = None,
) -> Identity:
    """Return an identity, by default a signer's, issued by another or by itself."""
    own = key or rsa_key(0 if issuer is None else 1)

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    above = named(name) if issuer is None else issuer.certificate.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(above)
        .public_key(own.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(authority, length), critical=True)
    )
    purpose = ExtendedKeyUsageOID.CODE_SIGNING if signs_code else ExtendedKeyUsageOID.SERVER_AUTH
    if not authority or not signs_code:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if not authority:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False
        )
    builder = builder.add_extension(
        x509.KeyUsage(
            digital_signature=usage and not authority,
            key_cert_sign=usage and authority if issues is None else issues,
            content_commitment=False,
            key_encipherment=not usage,
            data_encipherment=False,
            key_agreement=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        ),
        critical=True,
    )
    certificate = builder.sign(own if issuer is None else issuer.key, hashes.SHA256())
    chain = (
        ()
        if issuer is None or (issuer.chain == () and _is_root(issuer))
        else (
            issuer.certificate,
            *issuer.chain,
        )
    )
    return Identity(own, certificate, chain)


def _is_root(item: Identity) -> bool:
    return item.certificate.issuer == item.certificate.subject
