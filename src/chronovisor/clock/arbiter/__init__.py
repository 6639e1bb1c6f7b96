"""Who owns the system clock: decided from evidence alone, so that its tests are tables."""

from chronovisor.clock.arbiter.decide import decide
from chronovisor.clock.arbiter.evidence import (
    Decision,
    NtpEvidence,
    Owner,
    Phase,
    Policy,
    PtpEvidence,
    Record,
)

__all__ = [
    "Decision",
    "NtpEvidence",
    "Owner",
    "Phase",
    "Policy",
    "PtpEvidence",
    "Record",
    "decide",
]
