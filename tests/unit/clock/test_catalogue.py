import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.clock.catalogue import (
    KNOWN,
    LATER,
    OptionType,
    Release,
    Scope,
    Verdict,
    catalogue,
    nearest,
)
from chronovisor.clock.settings import OptionValue
from chronovisor.errors import InvalidInput

DEBIAN_12 = Release(3, 1, 1)
OPTIONS_OF_LATER = catalogue(LATER).options


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("3.1.1\n", Release(3, 1, 1)),
        ("4.0", Release(4, 0)),
        ("v4.2\n", Release(4, 2)),
        ("4.4-00012-gf98cb5d\n", Release(4, 4, 0, 12)),
        ("4.4-00012-gf98cb5d-dirty\n", Release(4, 4, 0, 12)),
        ("4.2+ds1-1", Release(4, 2)),
    ],
)
def test_release_is_read_from_what_ptp4l_prints(text: str, release: Release) -> None:
    assert Release.parse(text) == release


@pytest.mark.parametrize("text", ["", "ptp4l", "4", "4.x", "4.4.4.4", "-1.2", "99999.1"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a linuxptp version"):
        Release.parse(text)


def test_releases_compare_and_print() -> None:
    texts = ["3.1", "3.1.1", "4.0", "4.4", "4.4-00012-gabc", "4.4.1", "5.0"]
    releases = [Release.parse(text) for text in texts]
    assert sorted(releases) == releases
    assert [str(r) for r in releases] == ["3.1", "3.1.1", "4.0", "4.4", "4.4+12", "4.4.1", "5.0"]


@pytest.mark.parametrize(
    ("text", "known", "notice"),
    [
        ("3.1.1", "3.1.1", None),
        ("4.2", "4.2", None),
        ("4.4", "4.4", None),
        ("4.4-00001-gabc", "4.4+1", None),
        ("4.4-00312-gabc", "4.4+1", None),
        ("3.1.2", "3.1.1", "linuxptp 3.1.2 is not known; options are judged as for 3.1.1"),
        ("4.2.1", "4.2", "linuxptp 4.2.1 is not known"),
        ("4.5", "4.4+1", "linuxptp 4.5 is not known"),
        ("1.9.2", "3.1.1", "linuxptp 1.9.2 is older than the oldest known release"),
    ],
)
def test_unknown_release_maps_to_the_newest_that_is_not_newer(
    text: str, known: str, notice: str | None
) -> None:
    found, said = nearest(Release.parse(text))
    assert str(found) == known
    assert (said is None) == (notice is None)
    assert (said or "").startswith(notice or "")


def test_number_of_options_of_each_release() -> None:
    # 110, 146 and 152 with the deprecated names, counted in the sources of the releases.
    counts = {str(release): len(catalogue(release).options) for release in KNOWN}
    assert counts == {
        "3.1.1": 110,
        "4.0": 129,
        "4.1": 129,
        "4.2": 131,
        "4.3": 144,
        "4.4": 146,
        "4.4+1": 152,
    }


@pytest.mark.parametrize("release", KNOWN, ids=str)
def test_every_option_is_whole(release: Release) -> None:
    descriptions = set()
    for name, option in catalogue(release).options.items():
        assert option.name == name
        assert re.fullmatch(r"[A-Za-z][^\n]{10,110}[^.\n]", option.description), name
        descriptions.add(option.description)
        assert option.read_by or option.alias_of, name
        assert option.since <= release
        assert bool(option.values) == (option.type is OptionType.ENUM), name
        if option.is_number:
            assert option.minimum < option.maximum, name
        if option.alias_of:
            assert option.alias_of in catalogue(release).options
        outside = {"ts2phc.perout_phase", "ts2phc.pulsewidth"}  # -1 there means unset
        if option.default is not None and name not in outside:
            assert option.ptp4l_verdict(str(option.default)) is None, name
    assert len(descriptions) == len(catalogue(release).options)


def test_catalogue_is_loaded_once_and_frozen() -> None:
    known = catalogue(DEBIAN_12)
    assert catalogue(DEBIAN_12) is known
    with pytest.raises(FrozenInstanceError):
        known.release = LATER  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize("release", KNOWN, ids=str)
def test_deprecated_names(release: Release) -> None:
    known = catalogue(release)
    new = release >= Release(4, 0)
    assert known.canonical("slaveOnly") == ("clientOnly" if new else "slaveOnly")
    assert known.canonical("masterOnly") == ("serverOnly" if new else "masterOnly")
    assert known.canonical("pi_offset_const") == "step_threshold"
    assert known.judge("ptp4l", Scope.GLOBAL, "slaveOnly", 1) is None
    assert (known.judge("ptp4l", Scope.GLOBAL, "clientOnly", 1) is None) == new


WRONG: list[tuple[str, Scope, str, OptionValue, str]] = [
    ("ptp4l", Scope.GLOBAL, "priority1", 256, "priority1: '256' is out of range (valid: 0..255)"),
    (
        "ptp4l",
        Scope.GLOBAL,
        "priority1",
        "x",
        "priority1: 'x' is not a whole number (valid: 0..255)",
    ),
    ("ptp4l", Scope.GLOBAL, "priority1", 1.0, "priority1: '1.0' is not a whole number"),
    ("ptp4l", Scope.GLOBAL, "priority1", "", "priority1: the value is empty"),
    (
        "ptp4l",
        Scope.GLOBAL,
        "prority1",
        1,
        "'prority1' is not an option of linuxptp 3.1.1 (valid: priority1)",
    ),
    ("ptp4l", Scope.GLOBAL, "zzz", 1, "'zzz' is not an option of linuxptp 3.1.1"),
    ("ptp4l", Scope.GLOBAL, "clientOnly", 1, "clientOnly is known since 4.0, installed is 3.1.1"),
    ("ptp4l", Scope.GLOBAL, "clientOnly", 1, "this release calls it slaveOnly"),
    ("ptp4l", Scope.GLOBAL, "user", "a", "user is known since the release after 4.4"),
    ("ptp4l", Scope.GLOBAL, "domainNumber", 1, "set ptp_config.domain instead"),
    ("ptp4l", Scope.GLOBAL, "free_running", 1, "set discipline to monitor"),
    ("ptp4l", Scope.GLOBAL, "logging_level", 1, "set log_level instead"),
    ("ptp4l", Scope.GLOBAL, "delay_mechanism", "P2P", "set ptp_config.port[].delay_mechanism"),
    ("ptp4l", Scope.GLOBAL, "time_stamping", "software", "set ptp_config.port[].time_stamping"),
    ("ptp4l", Scope.PORT, "delay_mechanism", "P3P", "'P3P' is not among its values (valid: Auto,"),
    ("ptp4l", Scope.PORT, "priority1", 1, "holds for the whole of ptp4l"),
    ("ptp4l", Scope.PORT, "logSyncInterval", 200, "(valid: -128..127 log2 s)"),
    (
        "ptp4l",
        Scope.PORT,
        "ptp_dst_mac",
        "01:1B",
        "the form that ptp4l needs (valid: six hex octets",
    ),
    ("ptp4l", Scope.GLOBAL, "ts2phc.pulsewidth", 5000000, "ignored by ptp4l: it is read by ts2phc"),
    ("ptp4l", Scope.GLOBAL, "step_threshold", "nan", "is not a number"),
    ("ptp4l", Scope.GLOBAL, "clock_servo", "ntpshm", "servo 'ntpshm' does not discipline"),
    ("ptp4l", Scope.GLOBAL, "clockIdentity", "1", "(valid: 6.4.6 hex digits"),
    ("ptp4l", Scope.GLOBAL, "productDescription", "a", "(valid: manufacturer;model;instance"),
    ("ptp4l", Scope.GLOBAL, "userDescription", "a\n[global]", "the value has a control character"),
    ("ptp4l", Scope.GLOBAL, "userDescription", " a", "white space around it"),
    ("ptp4l", Scope.GLOBAL, "userDescription", "a" * 1200, "ptp4l reads 1022 of a line"),
    ("ptp4l", Scope.GLOBAL, "userDescription", "a" * 129, "at most 128 characters"),
    ("ptp4l", Scope.GLOBAL, "userDescription", "\ud800", "the value is not Unicode text"),
    ("phc2sys", Scope.GLOBAL, "logSyncInterval", 1, "ignored by phc2sys: it is read by ptp4l"),
    ("phc2sys", Scope.GLOBAL, "S", 1, "phc2sys -S is written as step_threshold here"),
    ("phc2sys", Scope.GLOBAL, "s", "eth0", "Chronovisor chooses the clocks"),
    ("phc2sys", Scope.GLOBAL, "R", 0, "R: '0' is out of range (valid: 1e-09..1.8e308 Hz)"),
    ("phc2sys", Scope.GLOBAL, "N", 0, "R: '0' is out of range"[1:]),
    ("phc2sys", Scope.GLOBAL, "u", -1, "is out of range"),
    ("phc2sys", Scope.GLOBAL, "transportSpecific", 1, "the value that ptp4l has in [global]"),
    ("sys2vmw", Scope.GLOBAL, "x", 1, "no options are passed through to 'sys2vmw'"),
    ("ptp4l", Scope.GLOBAL, "R", 8, "'R' is not an option"),
]


@pytest.mark.parametrize(("program", "scope", "name", "value", "said"), WRONG)
def test_what_is_wrong_is_said(
    program: str, scope: Scope, name: str, value: OptionValue, said: str
) -> None:
    problem = catalogue(DEBIAN_12).judge(program, scope, name, value, where="here")
    assert problem is not None
    assert problem.where == "here"
    assert said in str(problem)


RIGHT: list[tuple[str, Scope, str, OptionValue]] = [
    ("ptp4l", Scope.GLOBAL, "priority1", 255),
    ("ptp4l", Scope.GLOBAL, "priority1", "0xFF"),
    ("ptp4l", Scope.GLOBAL, "slaveOnly", False),
    ("ptp4l", Scope.GLOBAL, "clock_servo", "linreg"),
    ("ptp4l", Scope.GLOBAL, "logSyncInterval", -3),
    ("ptp4l", Scope.GLOBAL, "step_threshold", 0.5),
    ("ptp4l", Scope.GLOBAL, "productDescription", "a;b;c"),
    ("ptp4l", Scope.PORT, "delay_mechanism", "p2p"),
    ("ptp4l", Scope.PORT, "time_stamping", "onestep"),
    ("ptp4l", Scope.PORT, "network_transport", "L2"),
    ("ptp4l", Scope.PORT, "fault_reset_interval", "ASAP"),
    ("phc2sys", Scope.GLOBAL, "R", 8),
    ("phc2sys", Scope.GLOBAL, "O", -37),
    ("phc2sys", Scope.GLOBAL, "step_threshold", 1),
    ("phc2sys", Scope.GLOBAL, "pi_proportional_const", "0.7"),
]


@pytest.mark.parametrize(("program", "scope", "name", "value"), RIGHT)
def test_what_is_right_passes(program: str, scope: Scope, name: str, value: OptionValue) -> None:
    assert catalogue(DEBIAN_12).judge(program, scope, name, value) is None


def test_values_change_with_the_release() -> None:
    def verdict(release: Release, name: str, value: str) -> Verdict | None:
        return catalogue(release).ptp4l_verdict(Scope.GLOBAL, name, value)

    old, new = DEBIAN_12, Release(4, 4)
    assert verdict(old, "domainNumber", "128") is Verdict.OUT_OF_RANGE
    assert verdict(new, "domainNumber", "128") is None
    assert verdict(old, "delay_mechanism", "NONE") is Verdict.BAD_VALUE
    assert verdict(Release(4, 0), "delay_mechanism", "NONE") is None
    assert verdict(Release(4, 2), "delay_mechanism", "COMMON_P2P") is Verdict.BAD_VALUE
    assert verdict(Release(4, 3), "delay_mechanism", "COMMON_P2P") is None


@given(
    st.sampled_from(("ptp4l", "phc2sys")),
    st.sampled_from(Scope),
    st.one_of(st.sampled_from(sorted(OPTIONS_OF_LATER)), st.text(max_size=20)),
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
)
def test_our_rules_never_take_what_ptp4l_refuses(
    program: str, scope: Scope, name: str, value: OptionValue
) -> None:
    known = catalogue(DEBIAN_12)
    problem = known.judge(program, scope, name, value)
    if problem is None and program == "ptp4l" and name != "time_stamping":
        text = str(int(value)) if isinstance(value, bool) else str(value)
        assert known.ptp4l_verdict(scope, name, text) is None
