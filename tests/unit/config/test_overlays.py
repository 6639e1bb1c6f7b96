import pytest

from chronovisor.clock.settings import SystemTime
from chronovisor.config import Overlay, Registry, effective, merge
from chronovisor.errors import InvalidInput

PATH = "host/system/system_time"
STORED = {
    "enabled": True,
    "ptp_config": {"domain": 24, "port": [{"index": 0, "device": "eth0"}]},
    "options": {"ptp4l": {"priority1": 1}},
}
TRX = Overlay(
    "trx.conf",
    {
        "ptp_config.port[0].delay_mechanism": ("P2P", 3),
        "options.ptp4l.priority2": (7, 4),
        "options.phc2sys": ({"step_threshold": 1.0}, 5),
    },
)


@pytest.fixture
def clock() -> Registry:
    registry = Registry()
    registry.register(PATH, SystemTime, description="How time is kept")
    return registry


def test_every_leaf_has_its_origin(clock: Registry) -> None:
    found = {o.field: (o.value, o.origin) for o in effective(clock, PATH, STORED, [TRX])}
    assert found["enabled"] == (True, "store")
    assert found["log_level"] == (6, "default")
    assert found["ptp_config.domain"] == (24, "store")
    assert found["ptp_config.port[0].device"] == ("eth0", "store")
    assert found["ptp_config.port[0].delay_mechanism"] == ("P2P", "file:trx.conf:3")
    assert found["ptp_config.port[0].time_stamping"] == ("software", "default")
    assert found["options.ptp4l.priority1"] == (1, "store")
    assert found["options.ptp4l.priority2"] == (7, "file:trx.conf:4")
    assert found["options.phc2sys.step_threshold"] == (1.0, "file:trx.conf:5")
    assert found["ptp_config.port[0].options"] == ({}, "default")


def test_a_key_that_is_not_set_is_all_defaults(clock: Registry) -> None:
    assert {o.origin for o in effective(clock, PATH, None)} == {"default"}
    assert merge(clock, PATH, None)["protocol"] == "ptp"


def test_the_last_file_wins_and_nothing_given_is_changed(clock: Registry) -> None:
    over = [Overlay("a", {"log_level": (1, 1)}), Overlay("b", {"log_level": (2, 9)})]
    (level,) = [o for o in effective(clock, PATH, STORED, over) if o.field == "log_level"]
    assert (level.value, level.origin) == (2, "file:b:9")
    assert merge(clock, PATH, STORED, [TRX])["ptp_config"]["port"][0]["delay_mechanism"] == "P2P"
    assert "delay_mechanism" not in str(STORED)


def test_a_replaced_mapping_takes_its_old_origins_with_it(clock: Registry) -> None:
    over = Overlay("f", {"options.ptp4l": ({}, 2)})
    found = {o.field: o.origin for o in effective(clock, PATH, STORED, [over])}
    assert found["options.ptp4l"] == "file:f:2"


def test_problems_name_the_file_and_line(clock: Registry) -> None:
    bad = Overlay("trx.conf", {"log_level": (99, 12), "ptp_config.port[0].index": (1, 13)})
    with pytest.raises(InvalidInput) as caught:
        merge(clock, PATH, STORED, [bad])
    assert caught.value.problems[0].message == "99 is too large (file:trx.conf:12)"


def test_all_places_that_are_not_there_are_named(clock: Registry) -> None:
    bad = Overlay("trx.conf", {"ptp_config.port[1].device": ("x", 1), "enabled.x": (1, 2)})
    with pytest.raises(InvalidInput) as caught:
        effective(clock, PATH, STORED, [bad])
    assert [p.where for p in caught.value.problems] == ["ptp_config.port[1].device", "enabled.x"]
