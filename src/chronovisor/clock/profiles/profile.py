"""What a PTP profile says (IEEE 1588-2019 clause 20.3): read from `data/<name>.toml`.

A file has the profile's name, title, standard and identifier, and its options in linuxptp's words,
each with the value that the profile gives, what it leaves free, and the clause that says so. An
option may hold in one role alone. Nothing in a file depends on a release of linuxptp: what a
release lacks is found out from the catalogue.
"""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from chronovisor.clock.catalogue import Option
from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.ptp_settings import ProfileName, PtpRole
from chronovisor.clock.settings import OptionValue
from chronovisor.config.settings import Settings
from chronovisor.errors import NotFound


class ProfileOption(Settings):
    """One option of a profile.

    Without `fixed`, a range or `among`, `value` is a default and everything else is allowed, too.
    An option that is not `needed` is left out for a release that does not have it.
    """

    name: Annotated[str, Field(min_length=1, description="linuxptp's name of it")]
    value: Annotated[OptionValue, Field(description="What holds where nobody says otherwise")]
    source: Annotated[str, Field(min_length=1, description="The clause that says so")]
    fixed: Annotated[bool, Field(description="No other value is allowed")] = False
    minimum: Annotated[int | None, Field(description="Least value that is allowed")] = None
    maximum: Annotated[int | None, Field(description="Greatest value that is allowed")] = None
    among: Annotated[tuple[str, ...], Field(description="The values that are allowed")] = ()
    role: Annotated[PtpRole | None, Field(description="Holds in this role alone")] = None
    needed: Annotated[bool, Field(description="A release without it cannot do the profile")] = True

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.minimum is None) != (self.maximum is None):
            raise ValueError(f"{self.name}: minimum and maximum go together")
        rules = (self.fixed, self.minimum is not None, bool(self.among))
        if sum(rules) > 1:
            raise ValueError(f"{self.name}: fixed, minimum..maximum and among exclude each other")
        if not self._is_among_its_own():
            raise ValueError(f"{self.name}: {self.text} is not among {self.allowed}")
        return self

    @property
    def text(self) -> str:
        """Return the value as linuxptp reads it."""
        return as_text(self.value)

    @property
    def allowed(self) -> str:
        """Return what the profile allows: `24..43`, `UDPv4, UDPv6`, empty for everything."""
        if self.fixed:
            return self.text
        if self.minimum is not None:
            return f"{self.minimum}..{self.maximum}"
        return ", ".join(self.among)

    def allows(self, text: str, option: Option) -> bool:
        """Return whether the profile allows a value that is right for `option` by itself."""
        if self.fixed:
            return option.same(text, self.text)
        if self.among:
            return any(option.same(text, one) for one in self.among)
        if self.minimum is None or self.maximum is None:
            return True
        return self.minimum <= option.number(text) <= self.maximum

    def _is_among_its_own(self) -> bool:
        if self.minimum is not None and self.maximum is not None:
            return self.minimum <= int(self.value) <= self.maximum
        return not self.among or self.value in self.among


class Profile(Settings):
    """A profile as its standard has it."""

    name: ProfileName
    title: Annotated[str, Field(min_length=1, description="What it is for")]
    standard: Annotated[str, Field(min_length=1, description="Who says so")]
    identity: Annotated[
        str,
        Field(
            pattern=r"^([0-9A-F]{2}-){5}[0-9A-F]{2}$",
            description="profileIdentifier (IEEE 1588-2019 clause 20.3.3)",
        ),
    ]
    unicast: Annotated[
        Literal["never", "allowed", "required"],
        Field(description="Whether a client asks its masters by unicast"),
    ]
    boundary: Annotated[bool, Field(description="Whether there are boundary clocks")] = True
    notes: Annotated[tuple[str, ...], Field(description="What linuxptp does not do of it")] = ()
    option: Annotated[tuple[ProfileOption, ...], Field(description="Its options")]

    @model_validator(mode="after")
    def _options_are_distinct(self) -> Self:
        for role in PtpRole:
            names = [option.name for option in self.options(role)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{self.name}: {', '.join(twice)} more than once for a {role}")
        return self

    def options(self, role: PtpRole) -> tuple[ProfileOption, ...]:
        """Return the options that hold in a role."""
        return tuple(option for option in self.option if option.role in (None, role))


@cache
def profile(name: ProfileName) -> Profile:
    """Return a profile."""
    text = files(__package__).joinpath("data", f"{name.value}.toml").read_text("utf-8")
    return Profile.model_validate(tomllib.loads(text))


def profiles() -> tuple[Profile, ...]:
    """Return all profiles in the order of their names in the settings."""
    return tuple(profile(name) for name in ProfileName)


def named(text: str) -> Profile:
    """Return the profile that a person named, in any case; raises NotFound."""
    for name in ProfileName:
        if name.value.casefold() == text.casefold():
            return profile(name)
    raise NotFound(
        f"there is no profile {text[:80]!r}",
        hint=f"profiles: {', '.join(name.value for name in ProfileName)}",
    )
