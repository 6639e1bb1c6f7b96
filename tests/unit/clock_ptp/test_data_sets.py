"""The registry of data sets: round trips, and nothing but ProtocolError for hostile octets."""

import copy
import dataclasses
import enum
import functools
import operator
import pickle
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronovisor.clock.ptp.datasets import (
    REGISTRY,
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    LogSyncInterval,
    MessageCounts,
    NullManagement,
    PortDataSet,
    PortStatsNp,
    Priority1,
    SubscribeEventsNp,
    TimePropertiesDataSet,
    UnicastMaster,
)
from chronovisor.clock.ptp.datasets.data_set import encode
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import (
    NS_PER_TIME_INTERVAL,
    PPB_PER_SCALED_RATE,
    ClockQuality,
    PortAddress,
)
from chronovisor.clock.ptp.vocabulary import (
    ClockAccuracy,
    Events,
    ManagementId,
    NetworkProtocol,
    TimeSource,
)
from chronovisor.errors import InvalidInput, ProtocolError

# Strategies for every data set, from the types and names of its fields.
IDENTITIES = st.binary(min_size=8, max_size=8).map(ClockIdentity)
PORT_IDENTITIES = st.builds(PortIdentity, IDENTITIES, st.integers(0, 0xFFFF))
TEXTS = st.text(max_size=60)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.tuples(*[st.integers(0, 2**64 - 1)] * 10).map(lambda c: MessageCounts(*c))

_SIGNED = ("log_",)
_BY_NAME: dict[str, st.SearchStrategy[typing.Any]] = {
    "current_utc_offset_s": st.integers(-(2**15), 2**15 - 1),
    "current_offset_s": INT32,
    "jump_s": INT32,
    "time_of_next_jump_s": st.integers(0, 2**48 - 1),
    "master_offset_ns": INT64,
    "ingress_time_ns": INT64,
    "phc_index": INT32,
    "offset_scaled_log_variance": st.integers(0, 0xFFFF),
    "observed_parent_offset_scaled_log_variance": st.integers(0, 0xFFFF),
    "number_ports": st.integers(0, 0xFFFF),
    "steps_removed": st.integers(0, 0xFFFF),
    "gm_time_base_indicator": st.integers(0, 0xFFFF),
    "duration_s": st.integers(0, 0xFFFF),
    "version": st.integers(0, 0xFFFF),
    "grandmaster_id": st.integers(0, 0xFFFF),
    "neighbor_prop_delay_threshold_ns": st.integers(0, 2**32 - 1),
    "version_number": st.integers(0, 15),
    "minor_version_number": st.integers(0, 15),
    "physical_address": st.binary(max_size=16),
    "manufacturer_identity": st.binary(min_size=3, max_size=3),
    "profile_identity": st.binary(min_size=6, max_size=6),
    "observed_parent_phase_change_rate_ppb": st.none()
    | st.integers(-(2**31), 2**31 - 2).map(lambda n: n * 1e9 / 2**40),
    "last_gm_phase_change_ns": st.integers(-(2**95), 2**95 - 1).map(
        lambda n: n * NS_PER_TIME_INTERVAL
    ),
    "received": COUNTS,
    "sent": COUNTS,
}


def _field(name: str, kind: typing.Any, owner: type) -> st.SearchStrategy[typing.Any]:
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.endswith("_inaccuracy_ns"):
        return st.integers(0, 2**32 - 1)
    if kind is float:
        unit = PPB_PER_SCALED_RATE if name.endswith("_ppb") else NS_PER_TIME_INTERVAL
        return (INT32 if name.endswith("_ppb") else INT64).map(lambda n: n * unit)
    if kind is bool:
        return st.booleans()
    if kind is int:
        if owner.__name__ == "PortServiceStatsNp":
            return st.integers(0, 2**64 - 1)
        return st.integers(-128, 127) if name.startswith(_SIGNED) else st.integers(0, 255)
    if kind is str:
        return TEXTS
    if kind is ClockIdentity:
        return IDENTITIES
    if kind is PortIdentity:
        return PORT_IDENTITIES
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        if issubclass(kind, enum.Flag):
            return st.sets(st.sampled_from(list(kind))).map(
                lambda flags: functools.reduce(operator.or_, flags, kind(0))
            )
        return st.sampled_from(list(kind))
    if kind is PortAddress:
        return st.builds(PortAddress, st.sampled_from(NetworkProtocol), st.binary(max_size=20))
    if dataclasses.is_dataclass(kind):
        return instances(typing.cast(type, kind))
    assert typing.get_origin(kind) is tuple, f"no strategy for {owner.__name__}.{name}"
    return st.lists(instances(UnicastMaster), max_size=4).map(tuple)


def instances(kind: type) -> st.SearchStrategy[typing.Any]:
    """Return a strategy for a dataclass."""
    hints = typing.get_type_hints(kind)
    fields = {
        field.name: _field(field.name, hints[field.name], kind)
        for field in dataclasses.fields(kind)
    }
    return st.builds(kind, **fields)


# What pmc of 3.1.1, of 4.4 and of the development branch can get, set or command.
PMC_IDS = {
    "ALTERNATE_TIME_OFFSET_ENABLE",
    "ALTERNATE_TIME_OFFSET_NAME",
    "ALTERNATE_TIME_OFFSET_PROPERTIES",
    "ANNOUNCE_RECEIPT_TIMEOUT",
    "CLOCK_ACCURACY",
    "CLOCK_DESCRIPTION",
    "CMLDS_INFO_NP",
    "CURRENT_DATA_SET",
    "DEFAULT_DATA_SET",
    "DELAY_MECHANISM",
    "DISABLE_PORT",
    "DOMAIN",
    "ENABLE_PORT",
    "EXTERNAL_GRANDMASTER_PROPERTIES_NP",
    "GRANDMASTER_SETTINGS_NP",
    "LOG_ANNOUNCE_INTERVAL",
    "LOG_MIN_PDELAY_REQ_INTERVAL",
    "LOG_SYNC_INTERVAL",
    "MASTER_ONLY",
    "NULL_MANAGEMENT",
    "PARENT_DATA_SET",
    "PORT_CORRECTIONS_NP",
    "PORT_DATA_SET",
    "PORT_DATA_SET_NP",
    "PORT_HWCLOCK_NP",
    "PORT_PROPERTIES_NP",
    "PORT_SERVICE_STATS_NP",
    "PORT_STATS_NP",
    "POWER_PROFILE_SETTINGS_NP",
    "PRIORITY1",
    "PRIORITY2",
    "SLAVE_ONLY",
    "SUBSCRIBE_EVENTS_NP",
    "SYNCHRONIZATION_UNCERTAIN_NP",
    "TIMESCALE_PROPERTIES",
    "TIME_PROPERTIES_DATA_SET",
    "TIME_STATUS_NP",
    "TRACEABILITY_PROPERTIES",
    "UNICAST_MASTER_TABLE_NP",
    "USER_DESCRIPTION",
    "VERSION_NUMBER",
}

KINDS = [pytest.param(kind, id=kind.__name__) for kind in REGISTRY.values()]
FEW = settings(max_examples=12, deadline=None)


def test_the_registry_is_what_pmc_knows() -> None:
    assert {ManagementId(number).name for number in REGISTRY} == PMC_IDS


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(data=st.data())
def test_round_trip(kind: type[DataSet], data: st.DataObject) -> None:
    value = data.draw(instances(kind))
    octets = encode(value)
    assert len(octets) % 2 == 0
    assert kind.unpack(octets) == value
    assert kind.unpack(octets + b"\x5a" * 8) == value, "a newer release may append"


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(data=st.data())
def test_truncation(kind: type[DataSet], data: st.DataObject) -> None:
    octets = data.draw(instances(kind)).pack()
    cut = data.draw(st.integers(0, len(octets)))
    if cut == len(octets):
        kind.unpack(octets)
    else:
        with pytest.raises(ProtocolError):
            kind.unpack(octets[:cut])


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(data=st.data())
def test_hostile_octets(kind: type[DataSet], data: st.DataObject) -> None:
    valid = bytearray(data.draw(instances(kind)).pack())
    for position in data.draw(st.lists(st.integers(0, max(0, len(valid) * 8 - 1)), max_size=6)):
        if valid:
            valid[position // 8] ^= 1 << position % 8
    for octets in (bytes(valid), data.draw(st.binary(max_size=300))):
        try:
            value = kind.unpack(octets)
        except ProtocolError:
            continue
        assert kind.unpack(value.pack()) == value, "what was accepted can be said again"


@pytest.mark.parametrize("kind", KINDS)
def test_data_sets_are_frozen_and_slotted(kind: type[DataSet]) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert "__dict__" not in dir(kind)


def test_golden_default_data_set() -> None:
    # IEEE 1588-2019 table 64: flags, reserved, numberPorts, priority1, clockQuality, priority2,
    # clockIdentity, domainNumber, reserved
    octets = bytes.fromhex("03 00 0002 80 f8 fe ffff 7f 8a30acfffea7ddaf 18 00")
    value = DefaultDataSet.unpack(octets)
    assert value.two_step
    assert value.slave_only
    assert value.number_ports == 2
    assert value.priority1 == 128
    assert value.clock_quality == ClockQuality(248, ClockAccuracy.UNKNOWN, 0xFFFF)
    assert value.priority2 == 127
    assert str(value.clock_identity) == "8a30ac.fffe.a7ddaf"
    assert value.domain_number == 24
    assert value.pack() == octets


def test_golden_current_data_set() -> None:
    # table 65; a TimeInterval is nanoseconds times 65536
    octets = bytes.fromhex("0001 fffffffffffd8000 0000000001234000")
    assert CurrentDataSet.unpack(octets) == CurrentDataSet(1, -2.5, 291.25)
    assert CurrentDataSet(1, -2.5, 291.25).pack() == octets


def test_golden_time_properties() -> None:
    # table 67: currentUtcOffset, flags FTRA TTRA PTP UTCV LI-59 LI-61, timeSource
    octets = bytes.fromhex("0025 3c 20")
    value = TimePropertiesDataSet.unpack(octets)
    assert value == TimePropertiesDataSet(
        37, False, False, True, True, True, True, False, TimeSource.GNSS
    )
    assert value.pack() == octets


def test_golden_port_data_set() -> None:
    # table 87, with minorVersionPTP 1 in the upper half of versionNumber
    octets = bytes.fromhex("8a30acfffea7ddaf 0001 09 fd 0000000000018000 fe 03 fd 02 00 12")
    value = PortDataSet.unpack(octets)
    assert value.port_state.name == "SLAVE"
    assert value.log_min_delay_req_interval == -3
    assert value.peer_mean_path_delay_ns == 1.5
    assert value.log_announce_interval == -2
    assert value.log_sync_interval == -3
    assert value.delay_mechanism.name == "P2P"
    assert (value.version_number, value.minor_version_number) == (2, 1)
    assert value.pack() == octets


def test_golden_port_stats_is_little_endian() -> None:
    counters = [0] * 32
    counters[0x0], counters[0xB], counters[16 + 0x1] = (
        7,
        9,
        11,
    )  # rx Sync, rx Announce, tx Delay_Req
    octets = bytes.fromhex("8a30acfffea7ddaf 0001") + b"".join(
        n.to_bytes(8, "little") for n in counters
    )
    value = PortStatsNp.unpack(octets)
    assert (value.received.sync, value.received.announce, value.sent.delay_req) == (7, 9, 11)
    assert sum(value.received) + sum(value.sent) == 27
    assert value.pack() == octets


def test_golden_subscription() -> None:
    value = SubscribeEventsNp(60, Events.PORT_STATE | Events.TIME_SYNC)
    assert value.pack() == bytes.fromhex("003c 03") + bytes(63)


def test_events_without_a_name_are_dropped() -> None:
    assert SubscribeEventsNp.unpack(b"\0\1" + b"\xff" * 64) == SubscribeEventsNp(1, Events(15))


def test_values_without_a_name_survive() -> None:
    accuracy = ClockAccuracy(0x55)
    assert accuracy.name == "RESERVED_0x55"
    assert ClockAccuracy(0x55) is accuracy
    assert copy.deepcopy(accuracy) is accuracy
    assert pickle.loads(pickle.dumps(accuracy)) is accuracy


def test_an_unknown_port_state_is_an_error() -> None:
    octets = bytearray.fromhex("8a30acfffea7ddaf 0001 09 fd 0000000000018000 fe 03 fd 02 00 12")
    octets[10] = 0
    with pytest.raises(ProtocolError, match="0 is no PortState"):
        PortDataSet.unpack(bytes(octets))


def test_intervals_are_signed() -> None:
    assert LogSyncInterval.unpack(b"\xfd\0") == LogSyncInterval(-3)


def test_nothing_is_a_data_set_too() -> None:
    assert NullManagement.unpack(b"") == NullManagement()


@pytest.mark.parametrize("value", [Priority1(256), Priority1(-1), SubscribeEventsNp(-1, Events(1))])
def test_values_that_do_not_fit(value: DataSet) -> None:
    with pytest.raises(InvalidInput):
        encode(value)


def test_a_time_interval_that_does_not_fit_is_the_largest_one() -> None:
    # IEEE 1588-2019 clause 5.3.2
    assert CurrentDataSet(0, 1e30, -1e30).pack()[2:] == bytes.fromhex(
        "7fffffffffffffff 8000000000000000"
    )
