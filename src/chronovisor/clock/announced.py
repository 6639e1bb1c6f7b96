"""What the parent's Announce messages tell where the engine does not; pure."""

from dataclasses import fields, replace
from typing import TypeVar

from chronovisor.clock.ptp import AnnounceSource
from chronovisor.clock.ptp.datasets.clock_sets import (
    FREQUENCY_TRACEABLE,
    LEAP59,
    LEAP61,
    PTP_TIMESCALE,
    TIME_TRACEABLE,
    UTC_OFFSET_VALID,
)
from chronovisor.clock.reading import Parent, TimeProperties

_Part = TypeVar("_Part", Parent, TimeProperties)


def completed(
    source: AnnounceSource, parent: Parent, properties: TimeProperties
) -> tuple[Parent, TimeProperties]:
    """Return what an engine said, with what it does not know taken from its parent's Announce."""
    announce = source.announce
    quality = announce.grandmaster_clock_quality
    flags = announce.header.flags  # IEEE 1588-2019 table 37, the second octet
    told_parent = Parent(
        port=source.port_identity,
        grandmaster=str(announce.grandmaster_identity),
        steps_removed=announce.steps_removed + 1,  # clause 8.2.2.2: as we count them
        priority1=announce.grandmaster_priority1,
        priority2=announce.grandmaster_priority2,
        clock_class=quality.clock_class,
        clock_accuracy=quality.clock_accuracy.name,
    )
    told_properties = TimeProperties(
        time_source=announce.time_source.name,
        utc_offset_s=announce.current_utc_offset_s,
        utc_offset_valid=flags & UTC_OFFSET_VALID != 0,
        ptp_timescale=flags & PTP_TIMESCALE != 0,
        leap61=flags & LEAP61 != 0,
        leap59=flags & LEAP59 != 0,
        time_traceable=flags & TIME_TRACEABLE != 0,
        frequency_traceable=flags & FREQUENCY_TRACEABLE != 0,
    )
    return _filled(parent, told_parent), _filled(properties, told_properties)


def _filled(known: _Part, told: _Part) -> _Part:
    missing = [one.name for one in fields(known) if getattr(known, one.name) is None]
    return replace(known, **{name: getattr(told, name) for name in missing})
