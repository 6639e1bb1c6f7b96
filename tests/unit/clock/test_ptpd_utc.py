"""How ptpd is told to count its master's time, as a table: what Announce says, what follows."""

from pathlib import Path

import pytest

from chronovisor.clock.ptpd import utc
from chronovisor.clock.ptpd.engine import Ptpd
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import SystemTime

SETTINGS = SystemTime.model_validate(
    {
        "enabled": True,
        "engine": "ptpd",
        "ptp_config": {"port": [{"index": 0, "device": "eth0"}]},
    }
)


def said(timescale: str, offset_s: int, *, valid: bool) -> TimeProperties:
    return TimeProperties(
        utc_offset_s=offset_s, utc_offset_valid=valid, ptp_timescale=timescale == "PTP"
    )


def given(value: object) -> SystemTime:
    changed = SETTINGS.model_dump() | {"options": {"ptpd": {utc.OPTION: value}}}
    return SystemTime.model_validate(changed)


@pytest.mark.parametrize(
    ("master_time", "takes_off", "words"),
    [
        (None, None, "not known yet"),
        (TimeProperties(), None, "not known yet"),
        (said("PTP", 37, valid=True), True, ""),
        (said("PTP", 37, valid=False), True, ""),
        (said("PTP", 0, valid=True), True, ""),
        (said("PTP", 0, valid=False), None, "does not know how far"),
        (said("ARB", 37, valid=False), False, ""),
        (said("ARB", 0, valid=False), False, ""),
        (said("ARB", 0, valid=True), False, ""),
        (said("ARB", 37, valid=True), None, "ptpd would take that off"),
    ],
)
def test_what_is_known_decides(
    master_time: TimeProperties | None, takes_off: bool | None, words: str
) -> None:
    assert utc.takes_offset_off(SETTINGS, master_time) is takes_off
    (daemon,) = Ptpd(Path("/run")).daemons(SETTINGS, steers=True, master_time=master_time)
    assert daemon.steers is (takes_off is not None)
    doubt = utc.doubt(SETTINGS, daemon.spec.argv, master_time)
    assert words in doubt
    assert bool(doubt) is bool(words)


@pytest.mark.parametrize(("value", "takes_off"), [(True, True), ("y", True), ("false", False)])
def test_an_option_of_the_operator_decides(value: object, takes_off: bool) -> None:
    settings = given(value)
    assert utc.takes_offset_off(settings, None) is takes_off
    assert utc.doubt(settings, (), said("ARB", 37, valid=False)) == ""


def test_a_ptpd_that_counts_otherwise_is_doubted() -> None:
    ahead, alike = said("PTP", 37, valid=True), said("ARB", 37, valid=False)
    engine = Ptpd(Path("/run"))
    (daemon,) = engine.daemons(SETTINGS, steers=False, master_time=ahead)
    assert engine.doubt(SETTINGS, daemon.spec.argv, ahead) == ""
    assert "the other timescale" in engine.doubt(SETTINGS, daemon.spec.argv, alike)
    assert "the other timescale" in engine.doubt(SETTINGS, (), ahead)
