"""`/v1/clock/profiles`: PTP profiles, what each says, and how they differ."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from chronovisor.clock import profile_report
from chronovisor.clock.profile_report import DifferenceRow, OptionRow, ProfileRow
from chronovisor.clock.profiles import named
from chronovisor.clock.ptp_settings import PtpRole
from chronovisor.host.api.context import visord_of

router = APIRouter(prefix="/v1/clock/profiles", tags=["clock"])

Role = Annotated[PtpRole, Query(description="Whose options: a client's or a boundary clock's")]


class ProfileShape(BaseModel):
    """A profile with its options; `profile` says whether the installed release can follow it."""

    profile: ProfileRow
    role: PtpRole
    options: list[OptionRow]


class ComparisonShape(BaseModel):
    """What differs between a profile and `other`: another one, or the settings that hold."""

    profile: str
    other: str
    role: PtpRole
    differences: list[DifferenceRow]


@router.get("")
def profiles(request: Request) -> list[ProfileRow]:
    """Return all profiles, in short."""
    return profile_report.all_rows(visord_of(request).engine.catalogue)


@router.get("/{name}")
def show(request: Request, name: str, role: Role = PtpRole.CLIENT) -> ProfileShape:
    """Return a profile: each option, its value, what else is allowed, and which clause says so."""
    known, one = visord_of(request).engine.catalogue, named(name)
    return ProfileShape(
        profile=profile_report.row(one, known),
        role=role,
        options=profile_report.rows(one, role, known),
    )


@router.get("/{name}/diff")
def diff(
    request: Request, name: str, other: str | None = None, role: Role = PtpRole.CLIENT
) -> ComparisonShape:
    """Return how a profile differs from another one; without `other` from what holds here.

    What holds here is compared in its own role.
    """
    visord, one = visord_of(request), named(name)
    known = visord.engine.catalogue
    if other is not None:
        second = named(other)
        found = profile_report.between(one, second, role, known)
        return ComparisonShape(
            profile=one.name.value, other=second.name.value, role=role, differences=found
        )
    settings = visord.system_time.effective()
    return ComparisonShape(
        profile=one.name.value,
        other="settings",
        role=settings.ptp_config.role,
        differences=profile_report.against(one, settings, known),
    )
