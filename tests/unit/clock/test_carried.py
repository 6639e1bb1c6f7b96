"""The system clock beside a NIC's clock: when it is read, and what ahead of UTC means."""

import pytest

from chronovisor.clock import carried
from chronovisor.clock.carried import Carried, Comparison, is_carried, utc_offset_s
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import ToolFailed


def settings(stamping: str = "hardware", **more: object) -> SystemTime:
    port = {"index": 0, "device": "eth0", "time_stamping": stamping}
    return SystemTime.model_validate({"enabled": True, "ptp_config": {"port": [port]}} | more)


class FakePhc:
    """A clock at whose index each opening is counted; 9 has gone."""

    opened = 0

    def __init__(self, index: int) -> None:
        self.index = index

    def __enter__(self) -> "FakePhc":
        FakePhc.opened += 1
        if self.index == 9:
            raise ToolFailed("cannot open /dev/ptp9: No such device")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def beside_system_clock(self) -> tuple[int, int]:
        return -37_000_000_000 + 250, 100


def test_a_comparison_is_as_old_as_it_may_be_and_no_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "Phc", FakePhc)
    now_s = [100.0]
    comparison, FakePhc.opened = Comparison(lambda: now_s[0]), 0
    for at_s, opened in ((100.0, 1), (100.4, 1), (100.6, 2)):
        now_s[0] = at_s
        assert comparison.take(0, 37) == (250, 100.0, "")
        assert FakePhc.opened == opened
    offset_ns, _, unknown = comparison.take(9, 37)  # another clock is read at once
    assert (offset_ns, "No such device" in unknown) == (None, True)
    assert "UTC" in comparison.take(0, None)[2]
    assert "shows no clock" in comparison.take(None, 37)[2]


@pytest.mark.parametrize(
    ("properties", "phc2sys", "ahead_s"),
    [
        (TimeProperties(utc_offset_s=37, ptp_timescale=True), {}, 37),
        (TimeProperties(utc_offset_s=37, ptp_timescale=False), {}, 0),
        (TimeProperties(ptp_timescale=True), {}, None),
        (TimeProperties(utc_offset_s=37, ptp_timescale=True), {"O": -36}, 36),
    ],
)
def test_ahead_of_utc(
    properties: TimeProperties, phc2sys: dict[str, int], ahead_s: int | None
) -> None:
    given = settings(options={"phc2sys": phc2sys})
    assert utc_offset_s(given, properties) == ahead_s


def test_who_is_carried() -> None:
    assert is_carried(settings())
    assert not is_carried(settings("software"))
    assert not is_carried(settings(discipline="monitor"))


@pytest.mark.parametrize(
    ("offset_ns", "error_ns", "least_ns"),
    [(None, 0.0, 0.0), (-500.0, 100.0, 400.0), (500.0, 900.0, 0.0)],
)
def test_what_is_certain(offset_ns: float | None, error_ns: float, least_ns: float) -> None:
    assert Carried(offset_ns=offset_ns, error_ns=error_ns).at_least_ns == least_ns
