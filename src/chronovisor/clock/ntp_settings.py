"""Settings of NTP and of the fallback to it: parts of the key `host/system/system_time`.

Names follow vSphere's HostNtpConfig where it has one (`server`). A server may be written as its
name alone, as there, or as an object with its options.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from chronovisor.config.settings import Settings

MOST_SERVERS = 16
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_NUMERIC = re.compile(r"[0-9.]+\Z")
_LONGEST_NAME = 253  # RFC 1035 section 2.3.4, as text without the last dot


class NtpServer(Settings):
    """One NTP server (chrony.conf(5), `server`)."""

    address: Annotated[str, Field(description="Host name or address")]
    iburst: Annotated[
        bool, Field(description="Ask four times in the first seconds, to have the time soon")
    ] = True
    prefer: Annotated[bool, Field(description="Prefer it to servers without this mark")] = False
    min_poll: Annotated[
        int | None,
        Field(ge=-6, le=24, description="Shortest interval, a power of two in s; chrony's is 6"),
    ] = None
    max_poll: Annotated[
        int | None,
        Field(ge=-6, le=24, description="Longest interval, a power of two in s; chrony's is 10"),
    ] = None
    port: Annotated[int | None, Field(ge=1, le=65535, description="UDP port; NTP's is 123")] = None
    key: Annotated[
        int | None, Field(ge=1, le=2**32 - 1, description="Key of key_file that proves its answers")
    ] = None
    nts: Annotated[bool, Field(description="Network Time Security (RFC 8915)")] = False

    @field_validator("address")
    @classmethod
    def _is_name_or_address(cls, text: str) -> str:
        if not is_host(text):
            raise ValueError(f"{text!r} is neither an address nor a host name")
        return text

    @model_validator(mode="after")
    def _options_fit(self) -> "NtpServer":
        least, most = self.min_poll, self.max_poll
        # chrony's defaults are 6 and 10; it raises the other one without a word
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_poll {least} is above max_poll {most}")
        if self.nts and self.key is not None:
            raise ValueError("nts and key exclude each other: one of the two proves the answers")
        return self


def is_host(text: str) -> bool:
    """Return whether a text is an IP address or could be a host's name (RFC 1123 section 2.1)."""
    try:
        ip_address(text)
    except ValueError:
        name = text.removesuffix(".")
        plausible = len(name) <= _LONGEST_NAME and not _NUMERIC.match(name)
        return plausible and all(_LABEL.match(label) for label in name.split("."))
    return "%" not in text


def _from_name(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


Server = Annotated[NtpServer, BeforeValidator(_from_name)]


class NtpConfig(Settings):
    """NTP of this host (vSphere HostNtpConfig)."""

    server: Annotated[
        tuple[Server, ...],
        Field(max_length=MOST_SERVERS, description="NTP servers; three or more can outvote a liar"),
    ] = ()
    key_file: Annotated[
        str | None,
        Field(
            pattern=r"^/[^\s\x00-\x1f\x7f]*$",
            description="File with the keys that servers name (chrony.conf(5), keyfile)",
        ),
    ] = None
    first_step_s: Annotated[
        float | None,
        Field(
            gt=0,
            description="Step once what is off by more than this, if the clock has not been right "
            "since the boot; without it every offset is slewed",
        ),
    ] = None

    @model_validator(mode="after")
    def _servers_fit(self) -> "NtpConfig":
        names = [one.address.lower().removesuffix(".") for one in self.server]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"server {', '.join(twice)} is given more than once")
        keyed = [one.address for one in self.server if one.key is not None]
        if keyed and self.key_file is None:
            raise ValueError(f"server {', '.join(keyed)} has a key, which needs key_file")
        return self


class Fallback(Settings):
    """What follows when PTP is lost (vSphere's `disableFallback` is `enabled` turned round)."""

    enabled: Annotated[
        bool, Field(description="Follow NTP while PTP is lost; needs ntp_config.server")
    ] = False
    after_s: Annotated[
        float, Field(ge=1, le=86400, description="How long PTP must be lost before NTP takes over")
    ] = 5.0
    return_after_s: Annotated[
        float,
        Field(ge=1, le=86400, description="How long PTP must be back and steady before it returns"),
    ] = 15.0
