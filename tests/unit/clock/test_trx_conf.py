from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.clock.catalogue import Catalogue, Release, catalogue
from chronovisor.clock.settings import (
    DeviceType,
    IpConfig,
    PassthroughOptions,
    PtpConfig,
    PtpPort,
    SystemTime,
)
from chronovisor.clock.trx_conf import (
    MAX_BYTES,
    Entry,
    Origin,
    TrxConf,
    export,
    judge,
    overlay,
    parse,
    render,
)
from chronovisor.config.fields import assign, parse_place
from chronovisor.errors import InvalidInput, Problem

KNOWN = catalogue(Release(3, 1, 1))
SETTINGS = SystemTime(
    ptp_config=PtpConfig(
        port=(
            PtpPort(index=3, device="eth3", options={"logSyncInterval": 1}),
            PtpPort(index=0, device="eth0"),
        )
    ),
    options=PassthroughOptions(ptp4l={"priority1": 10}, phc2sys={"R": 2}),
)


def problems_of(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


def test_all_forms_are_read() -> None:
    text = (
        "# a comment\n"
        "\n"
        "ptp4l:priority1 200\n"
        "  \t# another\n"
        "\tptp4l:userDescription  rack 4; # not a comment  \n"
        "phc2sys:R\t8\n"
        "ptp4l:port0:delay_mechanism P2P\n"
        "ptp4l=port12:delay_mechanism E2E"
    )
    trx = parse(text)
    assert trx.entries == (
        Entry("ptp4l", None, "priority1", "200"),
        Entry("ptp4l", None, "userDescription", "rack 4; # not a comment"),
        Entry("phc2sys", None, "R", "8"),
        Entry("ptp4l", 0, "delay_mechanism", "P2P"),
        Entry("ptp4l", 12, "delay_mechanism", "E2E"),
    )
    places = [(e.line, e.column, e.value_column) for e in trx.entries]
    assert places == [(3, 7, 17), (5, 8, 25), (6, 9, 11), (7, 13, 29), (8, 14, 30)]


@pytest.mark.parametrize("text", ["", "\n", "\r\n", "# x", "\ufeff", "\ufeff# x\r\n\r\n"])
def test_a_file_without_options_is_fine(text: str) -> None:
    assert parse(text) == TrxConf()


def test_crlf_and_bom_make_no_difference() -> None:
    plain = "ptp4l:priority1 1\n\n# x\nptp4l:priority2 2\n"
    dos = "\ufeff" + plain.replace("\n", "\r\n")
    assert parse(dos) == parse(plain) == parse(dos.encode())
    assert parse(dos).entries[0].column == 7


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "trx.conf:1:1: this is not an option (valid: <namespace>:<key> <value>)"),
        ("  ptp4l priority1 1", "trx.conf:1:3: this is not an option"),
        ("pt4l:priority1 1", "trx.conf:1:1: 'pt4l' is not a namespace (valid: ptp4l)"),
        ("PTP4L:priority1 1", "trx.conf:1:1: 'PTP4L' is not a namespace (valid: ptp4l)"),
        (
            ":priority1 1",
            "trx.conf:1:1: '' is not a namespace (valid: ptp4l, phc2sys, ptpd, sys2vmw)",
        ),
        ("sys2vmw:x 1", "trx.conf:1:1: the sys2vmw program is not part of this release"),
        ("ptp4l:priority1", "trx.conf:1:16: priority1 has no value"),
        ("ptp4l:priority1  ", "trx.conf:1:16: priority1 has no value"),
        ("ptp4l:", "trx.conf:1:7: the key is missing"),
        ("ptp4l: priority1 1", "trx.conf:1:7: the key is missing"),
        ("ptp4l:prio/rity 1", "trx.conf:1:7: 'prio/rity' is not a key"),
        ("ptp4l:priority1=1 1", "trx.conf:1:7: 'priority1=1' is not a key"),
        ("ptp4l=priority1 1", "trx.conf:1:6: '=' after ptp4l needs a port"),
        ("ptp4l:eth0:x 1", "trx.conf:1:7: 'eth0' is not a port (valid: port<N>"),
        ("ptp4l:port:x 1", "trx.conf:1:7: 'port' is not a port"),
        ("ptp4l:port00:x 1", "trx.conf:1:7: 'port00' is not a port"),
        ("ptp4l:port-1:x 1", "trx.conf:1:7: 'port-1' is not a port"),
        ("ptp4l:port0: 1", "trx.conf:1:13: the key is missing"),
        ("phc2sys:port0:R 1", "trx.conf:1:9: phc2sys has no options of a port (valid: ptp4l)"),
        ("ptp4l:a 1\0", "trx.conf:1:10: a NUL byte cannot stand in this file"),
        ("ptp4l:a 1\x1b[0m", "trx.conf:1:10: the control character 0x1b cannot stand"),
        ("ptp4l:a 1\rptp4l:b 2", "trx.conf:1:10: the control character 0x0d"),
        ("ptp4l:a " + "x" * 2000, "trx.conf:1:1087: the line has 2008 bytes, at most 1086"),
    ],
)
def test_a_broken_line_is_named_with_its_column(line: str, said: str) -> None:
    (problem,) = problems_of(line)
    assert problem.startswith(said)


def test_invalid_utf8_is_named_with_its_position() -> None:
    (problem,) = problems_of("ptp4l:a 1\nptp4l:userDescription \u00e9".encode() + b"\xe9 x\n")
    assert problem == "trx.conf:2:24: byte 0xe9 is not UTF-8 here"
    (problem,) = problems_of("ptp4l:userDescription \udc80")
    assert problem.startswith("trx.conf:1:23: byte 0xed is not UTF-8")


def test_utf16_is_one_problem() -> None:
    for order in ("utf-16-le", "utf-16-be"):
        assert problems_of("\ufeffptp4l:a 1\n".encode(order)) == [
            "trx.conf: the file is UTF-16; save it as UTF-8"
        ]


def test_all_problems_come_at_once() -> None:
    text = "bad\nptp4l:priority1 1\nsys2vmw:a 1\n\nptp4l:port0:x 1\nptp4l=port0:x 2\n"
    text += "ptp4l:priority1 2\n"
    with pytest.raises(InvalidInput, match=r"^trx\.conf has 4 problems$"):
        parse(text)
    assert problems_of(text) == [
        "trx.conf:1:1: this is not an option (valid: <namespace>:<key> <value>)",
        "trx.conf:3:1: the sys2vmw program is not part of this release",
        "trx.conf:6:13: x is already set in line 5",
        "trx.conf:7:7: priority1 is already set in line 2",
    ]


def test_a_huge_file_is_one_problem() -> None:
    huge = b"ptp4l:priority1 1\n" * (10_000_000 // 18)
    assert problems_of(huge) == ["trx.conf: the file has more than 256 KiB; is it the one?"]
    assert parse(b"#" * 1000 + b"\n" * (MAX_BYTES - 1000)) == TrxConf()


def test_the_name_of_the_file_is_used() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse("x", name="/etc/chronovisor/trx.conf")
    assert caught.value.problems[0].where == "/etc/chronovisor/trx.conf:1:1"


KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60).filter(
    lambda text: text.strip(" \t") == text
)
ENTRIES = st.builds(Entry, st.just("ptp4l"), st.none() | st.integers(0, 99), KEYS, VALUES)
FILES = st.lists(
    ENTRIES | st.builds(Entry, st.just("phc2sys"), st.none(), KEYS, VALUES),
    unique_by=lambda entry: (entry.namespace, entry.port, entry.key),
).map(lambda entries: TrxConf(tuple(entries)))


@given(FILES)
def test_what_is_rendered_is_parsed_again(trx: TrxConf) -> None:
    assert parse(render(trx)) == trx


PIECES = st.sampled_from(
    (
        *("ptp4l", "phc2sys", "sys2vmw", ":", "=", "port0", "port", "priority1", "1", "P2P"),
        *(" ", "\t", "#", "\r", "\n", "\r\n", "\0", "\ufeff", "é", "\udc80", "x" * 1100),
    )
)


@given(st.text() | st.binary() | st.lists(PIECES, max_size=30).map("".join))
def test_hostile_text_raises_nothing_but_invalid_input(text: str | bytes) -> None:
    try:
        trx = parse(text)
    except InvalidInput as error:
        wheres = [problem.where for problem in error.problems]
    else:
        assert all(isinstance(p, Problem) for p in judge(trx, KNOWN, SETTINGS))
        overlay(SETTINGS, trx, KNOWN)
        return
    assert wheres
    assert all(where.startswith("trx.conf") for where in wheres)


def test_overlay_lays_the_file_over_the_store() -> None:
    trx = parse(
        "ptp4l:priority1 5\nptp4l:clockClass 248\nphc2sys:R 0.5\n"
        "ptp4l:port3:logSyncInterval -3\nptp4l:port0:delay_mechanism P2P\n"
    )
    laid = overlay(SETTINGS, trx, KNOWN)
    assert laid.settings.options.ptp4l == {"priority1": 5, "clockClass": 248}
    assert laid.settings.options.phc2sys == {"R": 0.5}
    three, zero = laid.settings.ptp_config.port
    assert three.options == {"logSyncInterval": -3}
    assert zero.options == {"delay_mechanism": "P2P"}
    assert laid.origins == {
        "options.ptp4l.priority1": Origin(5, 1, 7),
        "options.ptp4l.clockClass": Origin(248, 2, 7),
        "options.phc2sys.R": Origin(0.5, 3, 9),
        "ptp_config.port[0].options.logSyncInterval": Origin(-3, 4, 13),
        "ptp_config.port[1].options.delay_mechanism": Origin("P2P", 5, 13),
    }
    assert SETTINGS.options.ptp4l == {"priority1": 10}, "the store's settings are untouched"


def test_every_path_is_one_that_the_store_reads() -> None:
    lines = [f"ptp4l:{name} 1\nptp4l:port3:{name} 1\n" for name in KNOWN.options]
    document = SETTINGS.model_dump()
    for path, origin in overlay(SETTINGS, parse("".join(lines)), KNOWN).origins.items():
        assign(document, parse_place(path), origin.value)
    three = document["ptp_config"]["port"][0]["options"]
    for options in (document["options"]["ptp4l"], three):
        assert options == dict.fromkeys(KNOWN.options, 1)


def test_overlay_keeps_every_other_setting() -> None:
    static = IpConfig(
        dhcp=False,
        ip_address=IPv4Address("192.0.2.1"),
        subnet_mask=IPv4Address("255.255.255.0"),
    )
    passthru = DeviceType.PCI_PASSTHRU_NIC
    port = PtpPort(index=0, device_type=passthru, device="eth0", ip_config=static)
    settings = SystemTime(enabled=True, ptp_config=PtpConfig(domain=3, port=(port,)))
    assert overlay(settings, TrxConf(), KNOWN).settings == settings


def test_overlay_replaces_an_option_under_its_old_name() -> None:
    store = SystemTime(options=PassthroughOptions(ptp4l={"slaveOnly": 1}))
    laid = overlay(store, parse("ptp4l:clientOnly 0"), catalogue(Release(4, 4)))
    assert laid.settings.options.ptp4l == {"clientOnly": 0}


def test_export_and_import_agree() -> None:
    bare = SystemTime(
        ptp_config=PtpConfig(
            port=(PtpPort(index=3, device="eth3"), PtpPort(index=0, device="eth0"))
        )
    )
    text = render(export(SETTINGS))
    assert text == "ptp4l:priority1 10\nphc2sys:R 2\nptp4l:port3:logSyncInterval 1\n"
    assert overlay(bare, parse(text), KNOWN).settings == SETTINGS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ptp4l:priority1 300", "trx.conf:1:17: priority1: '300' is out of range (valid: 0..255)"),
        ("ptp4l:prority1 1", "trx.conf:1:7: 'prority1' is not an option of linuxptp 3.1.1"),
        ("ptp4l:domainNumber 1", "trx.conf:1:7: domainNumber is set by Chronovisor"),
        ("ptp4l:port7:BMCA ptp", "trx.conf:1:13: there is no PTP port with index 7"),
        ("ptp4l:port0:priority1 1", "trx.conf:1:13: priority1 holds for the whole of ptp4l"),
        ("ptp4l:port0:BMCA noop\nptp4l:slaveOnly 0", "trx.conf:1:13: PTP port 0 (eth0): BMCA noop"),
        ("ptp4l:clock_type P2P_TC", "trx.conf:1:7: clock_type P2P_TC needs"),
        ("ptp4l:twoStepFlag 0", "trx.conf:1:7: twoStepFlag 0 needs time stamps of hardware"),
        ("ptp4l:step_threshold 1\nptp4l:pi_offset_const 1", "trx.conf:2:7: pi_offset_const and"),
    ],
)
def test_judge_names_the_place_in_the_file(line: str, said: str) -> None:
    problems = [str(problem) for problem in judge(parse(line), KNOWN, SETTINGS)]
    assert any(problem.startswith(said) for problem in problems) or said in "\n".join(problems)


def test_judge_is_silent_about_what_the_store_had_wrong_before() -> None:
    store = SETTINGS.model_copy(update={"options": PassthroughOptions(ptp4l={"nonsense": 1})})
    assert judge(parse("ptp4l:priority2 1"), KNOWN, store) == []


def test_judge_follows_the_release() -> None:
    trx = parse("ptp4l:port0:delay_mechanism NONE\nptp4l:clientOnly 1\n")

    def count(known: Catalogue) -> int:
        return len(judge(trx, known, SETTINGS))

    assert count(KNOWN) == 2
    assert count(catalogue(Release(4, 4))) == 0
