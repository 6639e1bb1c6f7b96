"""VIBs: packages of files for a host's image, as ESXi has them.

::

    with opened(path) as package:            # container and descriptor are read and checked
        report = verify(package, Policy(trust.load(directory)))
        report.demand()                      # raises Denied with every reason
        extract(package, target)             # whole or not at all

    build(recipe.load(directory), output, key=signature.load_key(key, certificate))

What comes from outside is never trusted: whatever a file holds, reading it ends in an answer or in
one of `ProtocolError`, `InvalidInput` and `Denied`, in bounded memory, and with nothing written.
"""

from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.build import Built, build, sign
from chronovisor.image.vib.descriptor import Descriptor, Payload, PayloadType
from chronovisor.image.vib.diff import Difference, diff
from chronovisor.image.vib.extract import extract
from chronovisor.image.vib.package import Package, opened
from chronovisor.image.vib.relation import Relation
from chronovisor.image.vib.signature import SignedBy, SigningKey
from chronovisor.image.vib.tarball import Entry, Kind
from chronovisor.image.vib.trust import Trust
from chronovisor.image.vib.verify import Check, Outcome, Policy, Report, verify

__all__ = [
    "AcceptanceLevel",
    "Built",
    "Check",
    "Descriptor",
    "Difference",
    "Entry",
    "Kind",
    "Outcome",
    "Package",
    "Payload",
    "PayloadType",
    "Policy",
    "Relation",
    "Report",
    "SignedBy",
    "SigningKey",
    "Trust",
    "build",
    "diff",
    "extract",
    "opened",
    "sign",
    "verify",
]
