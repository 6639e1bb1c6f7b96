"""Profiles: their data, what they add to settings, and what they refuse."""

from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.clock.catalogue import KNOWN, LATER, Release, Scope, catalogue
from chronovisor.clock.linuxptp import check_settings
from chronovisor.clock.linuxptp.options import ptp4l_options
from chronovisor.clock.profile_report import against, between, row, rows
from chronovisor.clock.profiles import (
    Profile,
    ProfileName,
    PtpRole,
    expand,
    named,
    profile,
    profiles,
    usable_since,
)
from chronovisor.clock.profiles.profile import ProfileOption
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import NotFound

OLD, NEW = catalogue(Release(3, 1, 1)), catalogue(Release(4, 4))
TABLE = {"masters": ["192.0.2.1", "192.0.2.2"]}


def host(name: str | None, *ports: dict[str, Any], **config: Any) -> SystemTime:
    """Return settings with a profile, a plain port when none is given."""
    options = config.pop("ptp4l", {})
    listed = [{"index": i, "device": f"eth{i}", **port} for i, port in enumerate(ports or ({},))]
    return SystemTime.model_validate(
        {
            "enabled": True,
            "ptp_config": {"profile": name, "port": listed, **config},
            "options": {"ptp4l": options},
        }
    )


def plain(one: Profile, **config: Any) -> SystemTime:
    """Return the least that a host with a profile must say."""
    port = {"unicast_master_table": TABLE} if one.unicast == "required" else {}
    return host(one.name.value, port, **config)


def said(settings: SystemTime, known: Any = OLD) -> list[str]:
    return [str(problem) for problem in check_settings(settings, known)]


def test_every_file_is_a_profile_with_its_own_identity() -> None:
    names = {file.name for file in files("chronovisor.clock.profiles").joinpath("data").iterdir()}
    assert names == {f"{name.value}.toml" for name in ProfileName}
    assert [one.name for one in profiles()] == list(ProfileName)
    assert len({one.identity for one in profiles()}) == len(ProfileName)


@pytest.mark.parametrize("one", profiles(), ids=lambda one: one.name.value)
def test_every_value_is_one_that_linuxptp_takes(one: Profile) -> None:
    known = catalogue(LATER)
    for option in one.option:
        assert usable_since(option, known) is None, option.name
        name = option.name
        if name not in ("domainNumber", "network_transport", "delay_mechanism"):
            assert known.judge("ptp4l", Scope.GLOBAL, name, option.value) is None
        fact = known.options[known.canonical(name)]
        for text in option.among:
            assert fact.ptp4l_verdict(text) is None, (name, text)


@pytest.mark.parametrize("release", KNOWN, ids=str)
@pytest.mark.parametrize("one", profiles(), ids=lambda one: one.name.value)
def test_a_host_follows_every_profile_with_every_release(one: Profile, release: Release) -> None:
    known = catalogue(release)
    if row(one, known).problems:
        assert (one.name, str(release)) == (ProfileName.C37_238, "3.1.1")
        assert said(plain(one), known) != []
        assert said(plain(one, domain=93), known) == []
    else:
        assert said(plain(one), known) == []


def test_a_profile_fills_in_what_is_not_given() -> None:
    wanted = host("G.8275.1", {"options": {"announceReceiptTimeout": 4}}, domain=30)
    found = expand(wanted, OLD)
    config = found.settings.ptp_config
    assert (config.domain, config.port[0].network_transport.value) == (30, "L2")
    assert "ptp_config.domain" not in found.values
    assert found.values["ptp_config.port[0].network_transport"] == "L2"
    assert found.values["options.ptp4l.logSyncInterval"] == -4
    assert found.values['options.ptp4l["G.8275.portDS.localPriority"]'] == 128
    options = ptp4l_options(wanted, OLD)
    assert options.whole["dataset_comparison"].text == "G.8275.x"
    assert options.whole["priority2"].text == "255"
    assert options.ports[0].options["announceReceiptTimeout"].text == "4"


@given(
    st.sampled_from(ProfileName),
    st.sampled_from(PtpRole),
    st.sampled_from(KNOWN),
    st.integers(1, 3),
)
def test_expanding_again_adds_nothing(
    name: ProfileName, role: PtpRole, release: Release, ports: int
) -> None:
    known = catalogue(release)
    once = expand(host(name.value, *[{}] * ports, role=role.value), known)
    again = expand(once.settings, known)
    assert once.values
    assert (again.settings, again.values) == (once.settings, {})


def test_no_profile_adds_nothing() -> None:
    settings = host(None)
    assert expand(settings, OLD).settings is settings


@pytest.mark.parametrize(
    ("wanted", "problems"),
    [
        (
            host("802.1AS", {"delay_mechanism": "E2E"}),
            [
                "ptp_config.port[0].delay_mechanism: PTP port 0 (eth0): delay_mechanism E2E "
                "contradicts profile 802.1AS, which has P2P"
            ],
        ),
        (
            host("G.8275.1", {}, {"options": {"network_transport": "UDPv4"}}, domain=0),
            [
                "ptp_config.domain: ptp_config.domain 0 contradicts profile G.8275.1, "
                "which has 24..43",
                "ptp_config.port[1].options.network_transport: PTP port 1 (eth1): "
                "network_transport UDPv4 contradicts profile G.8275.1, which has L2",
            ],
        ),
        (
            host("G.8275.1", {"options": {"logSyncInterval": -3}}, ptp4l={"priority2": 7}),
            [
                "ptp_config.port[0].options.logSyncInterval: PTP port 0 (eth0): logSyncInterval -3 "
                "contradicts profile G.8275.1, which has -4",
                "options.ptp4l.priority2: priority2 7 contradicts profile G.8275.1, which has 255",
            ],
        ),
        (
            host("802.1AS", ptp4l={"slaveOnly": 0, "transportSpecific": "0x0"}),
            [
                "options.ptp4l.transportSpecific: transportSpecific 0x0 contradicts profile",
                "options.ptp4l.slaveOnly: clientOnly 0 contradicts profile 802.1AS",
            ],
        ),
        (
            host("AES67", ptp4l={"logSyncInterval": 9}),
            ["options.ptp4l.logSyncInterval: logSyncInterval 9 contradicts profile AES67, which"],
        ),
        (
            host("G.8275.1", {"unicast_master_table": TABLE}),
            [
                "ptp_config.port[0].unicast_master_table: PTP port 0 (eth0): unicast masters "
                "contradict profile G.8275.1"
            ],
        ),
        (
            host("G.8275.2", {"unicast_master_table": TABLE}, {}),
            [
                "ptp_config.port[1].unicast_master_table: PTP port 1 (eth1): profile G.8275.2 is "
                "unicast alone"
            ],
        ),
        (
            host("G.8265.1", {"unicast_master_table": TABLE}, {}, role="boundary"),
            ["ptp_config.role: profile G.8265.1 (ITU-T G.8265.1/Y.1365.1) has no boundary clocks"],
        ),
        (
            host("C37.238"),
            [
                "ptp_config.profile: profile C37.238 has domainNumber 254, known since 4.0; "
                "installed is 3.1.1; set ptp_config.domain"
            ],
        ),
        (  # what is wrong by itself is said as ever
            host("AES67", ptp4l={"logSyncInterval": "x"}),
            ["options.ptp4l.logSyncInterval: logSyncInterval: 'x' is not a whole number"],
        ),
    ],
)
def test_contradictions_name_both_sides(wanted: SystemTime, problems: list[str]) -> None:
    found = said(wanted)
    assert len(found) == len(problems), found
    for problem, start in zip(found, problems, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize(
    "wanted",
    [
        host("G.8275.1", {"network_transport": "L2"}, domain=43),
        host("G.8275.1", {"options": {"ptp_dst_mac": "01:1B:19:00:00:00"}}),
        host("802.1AS", ptp4l={"neighborPropDelayThresh": 20_000_000}),
        host("AES67", {"network_transport": "UDPv6"}, ptp4l={"logSyncInterval": -4}),
        host("G.8275.2", {"unicast_master_table": TABLE}, {}, role="boundary"),
    ],
)
def test_what_a_profile_leaves_free(wanted: SystemTime) -> None:
    assert said(wanted) == []


def test_roles_have_their_own_values() -> None:
    client, boundary = (
        ptp4l_options(host("802.1AS", {}, {}, role=role), NEW).whole
        for role in ("client", "boundary")
    )
    assert (client["priority1"].text, boundary["priority1"].text) == ("255", "246")
    assert (client["clientOnly"].text, boundary["clientOnly"].text) == ("1", "0")


def test_what_a_release_lacks_is_left_out_or_named() -> None:
    wanted = host("C37.238", {}, {}, role="boundary", domain=93)
    assert (said(wanted, OLD), said(wanted, NEW)) == ([], [])
    assert "power_profile.version" not in ptp4l_options(wanted, OLD).whole
    assert ptp4l_options(wanted, NEW).whole["power_profile.version"].text == "2017"
    (lacking,) = [
        one
        for one in rows(profile(ProfileName.C37_238), PtpRole.BOUNDARY, OLD)
        if one.needs and one.option != "domainNumber"
    ]
    assert (lacking.option, lacking.needs) == ("power_profile.version", "4.0")


def test_names_are_found_in_any_case() -> None:
    assert named("g.8275.1").name is ProfileName.G_8275_1
    with pytest.raises(NotFound, match=r"no profile 'G\.8275'") as caught:
        named("G.8275")
    assert "ST2059-2" in (caught.value.hint or "")


def test_profiles_are_compared_option_by_option() -> None:
    found = {
        one.option: (one.value, one.other, one.allowed)
        for one in between(
            profile(ProfileName.DEFAULT_E2E), profile(ProfileName.DEFAULT_P2P), PtpRole.CLIENT, OLD
        )
    }
    assert found == {
        "delay_mechanism": ("E2E", "P2P", False),
        "logMinDelayReqInterval": ("0", "", True),
        "logMinPdelayReqInterval": ("", "0", True),
    }


def test_settings_are_compared_port_by_port() -> None:
    settings = host(None, {"network_transport": "L2"}, {}, domain=30, ptp4l={"logSyncInterval": -4})
    found = {
        (one.option, one.where): (one.value, one.other, one.allowed)
        for one in against(profile(ProfileName.G_8275_1), settings, OLD)
    }
    assert found["domainNumber", ""] == ("24", "30", True)
    assert found["network_transport", "PTP port 1 (eth1)"] == ("L2", "UDPv4", False)
    assert ("network_transport", "PTP port 0 (eth0)") not in found
    assert not [key for key in found if key[0] == "logSyncInterval"]
    assert found["logAnnounceInterval", ""] == ("-3", "1", False)
    assert against(profile(ProfileName.G_8275_1), host("G.8275.1"), OLD) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"minimum": 1},
        {"minimum": 1, "maximum": 2, "fixed": True},
        {"among": ["7"], "fixed": True},
        {"minimum": 8, "maximum": 9},
        {"among": ["8"]},
        {"unknown": 1},
        {"source": ""},
    ],
)
def test_data_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    good = {"name": "logSyncInterval", "value": 7, "source": "clause 1"}
    assert ProfileOption.model_validate(good).allowed == ""
    with pytest.raises(ValueError, match=r"logSyncInterval|Extra inputs|at least 1"):
        ProfileOption.model_validate(good | wrong)


def test_an_option_stands_once_for_a_role() -> None:
    document = profile(ProfileName.AES67).model_dump()
    document["option"] = [*document["option"], document["option"][0]]
    with pytest.raises(ValueError, match="domainNumber more than once"):
        Profile.model_validate(document)
