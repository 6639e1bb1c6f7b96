"""Whom this host believes: trusted root certificates, by acceptance level.

A directory with up to four others in it, `certified`, `accepted`, `partner` and `community`, each
with certificates in PEM files (`*.pem`, `*.crt`). A root vouches for packages of its level and
below.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from chronovisor.errors import InvalidInput
from chronovisor.image.limits import MIB
from chronovisor.image.refusal import about
from chronovisor.image.vib.acceptance import AcceptanceLevel

MOST_FILE_BYTES = MIB


@dataclass(frozen=True, slots=True)
class Trust:
    """Root certificates by the level they may vouch for."""

    roots: dict[AcceptanceLevel, tuple[x509.Certificate, ...]] = field(default_factory=dict)

    def vouching_for(self, level: AcceptanceLevel) -> tuple[x509.Certificate, ...]:
        """Return the roots that may stand behind a package of `level`."""
        return tuple(
            root for granted, roots in self.roots.items() if granted.meets(level) for root in roots
        )


def load(directory: Path) -> Trust:
    """Return the trust in a directory; none where it does not exist."""
    return Trust(
        {
            level: certificates
            for level in AcceptanceLevel
            if (certificates := _directory(directory / level.value))
        }
    )


def _directory(directory: Path) -> tuple[x509.Certificate, ...]:
    with about(directory):
        if not directory.is_dir():
            return ()
        files = sorted(path for path in directory.iterdir() if path.suffix in (".pem", ".crt"))
    return tuple(certificate for path in files for certificate in certificates(path))


def certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates in a PEM file."""
    with about(path), path.open("rb") as stream:
        raw = stream.read(MOST_FILE_BYTES + 1)
    try:
        if len(raw) > MOST_FILE_BYTES:
            raise ValueError("it is too large")
        return x509.load_pem_x509_certificates(raw)
    except ValueError as error:
        raise InvalidInput(
            f"{path} holds no certificate: {error}",
            hint="it must be PEM: '-----BEGIN CERTIFICATE-----'",
        ) from None
