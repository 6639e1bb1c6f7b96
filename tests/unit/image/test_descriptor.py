"""descriptor.xml: round trips, the scripts' form, and refusals that name their line."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vib_samples as samples
from chronovisor.errors import InvalidInput, ProtocolError
from chronovisor.image import xmltree
from chronovisor.image.limits import Limits
from chronovisor.image.vib import descriptor_read, descriptor_write
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.descriptor import (
    Checksum,
    Descriptor,
    Payload,
    PayloadType,
    SoftwarePlatform,
    instant,
)
from chronovisor.image.vib.relation import OPERATORS, Relation, relation, version_key

text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20).map(
    str.strip
)
safe = text.filter(lambda it: "\ufffe" not in it and "\uffff" not in it)
word = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,12}", fullmatch=True)
relations = st.lists(
    st.builds(Relation, word) | st.builds(Relation, word, st.sampled_from(OPERATORS), word),
    max_size=3,
).map(tuple)
hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
payloads = st.lists(
    st.builds(
        Payload,
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", fullmatch=True),
        st.sampled_from(PayloadType),
        st.none() | st.integers(0, 10**12),
        st.lists(
            st.builds(Checksum, st.just("sha-256"), st.sampled_from(["", "gunzip"]), hexes),
            max_size=2,
        ).map(tuple),
    ),
    max_size=3,
    unique_by=lambda payload: payload.name,
).map(tuple)
descriptors = st.builds(
    Descriptor,
    name=word,
    version=word,
    vendor=word,
    summary=safe,
    description=safe,
    release_date=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    kind=st.sampled_from(["bootbank", "locker", "meta"]),
    urls=st.lists(st.tuples(safe, safe), max_size=2).map(tuple),
    depends=relations,
    conflicts=relations,
    replaces=relations,
    provides=relations,
    compatible_with=relations,
    tags=st.lists(safe, max_size=2).map(tuple),
    maintenance_mode=st.booleans(),
    software_platforms=st.lists(st.builds(SoftwarePlatform, word, word, word), max_size=2).map(
        tuple
    ),
    files=st.lists(word.filter(lambda it: ".." not in it), max_size=3).map(tuple),
    acceptance_level=st.sampled_from(AcceptanceLevel),
    live_install_allowed=st.booleans(),
    live_remove_allowed=st.booleans(),
    cimom_restart=st.booleans(),
    stateless_ready=st.booleans(),
    overlay=st.booleans(),
    payloads=payloads,
)


@given(descriptors)
@settings(max_examples=40)
def test_what_is_rendered_is_parsed_to_the_same(descriptor: Descriptor) -> None:
    assert descriptor_read.parse(descriptor_write.render(descriptor)) == descriptor


def test_the_scripts_form_is_read() -> None:
    stored = samples.Stored.of(samples.tree())
    found = descriptor_read.parse(samples.descriptor([stored], ["opt/trx/bin/trx"]))
    assert found.id == "example_bootbank_trx-conf_1.0-1"
    assert found.file_name == "example_bootbank_trx-conf_1.0-1.vib"
    assert found.release_date == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "no zone means UTC"
    assert found.urls == (("kb", "https://example.org/?a=1&b=2"),)
    assert found.files == ("opt/trx/bin/trx",)
    (payload,) = found.payloads
    assert payload.size == len(stored.data)
    assert payload.digest("sha-1", "gunzip") is not None
    assert payload.digest("sha-512") is None


def test_what_published_builders_vary_is_read() -> None:
    raw = samples.descriptor([], relations="").replace(b' version="5.0"', b"")
    raw = raw.replace(
        b"</maintenance-mode>",
        b'</maintenance-mode><softwarePlatform version="8.*" locale="" '
        b'productLineID="esxio"/><hardwarePlatform vendor="HP"/>',
    )
    found = descriptor_read.parse(raw)
    assert found.format_version == ""
    assert found.software_platforms == (SoftwarePlatform("8.*", "", "esxio"),)
    assert found.hardware_platforms == ("HP",)


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ('<constraint name="a"/>', Relation("a")),
        ('<depend name="a" relation=">=" version="5.5"/>'.replace(">=", "&gt;="),
         Relation("a", ">=", "5.5")),
        ('<constraint name="a" relation="&lt;" version="1"/>', Relation("a", "<<", "1")),
        ('<constraint name="a" version="1.0-nsx"/>', Relation("a", "=", "1.0-nsx")),
    ],
)  # fmt: skip
def test_relations_are_read_leniently(spelled: str, meant: Relation) -> None:
    raw = samples.descriptor([], relations=f"<depends>{spelled}</depends>")
    assert descriptor_read.parse(raw).depends == (meant,)


def test_unknown_elements_are_named() -> None:
    found = descriptor_read.parse(samples.descriptor([], extra="\n  <surprise/>"))
    assert [(it.path, it.line) for it in found.unknown] == [("vib/surprise", 21)]


def test_every_problem_is_told_at_once_with_its_line() -> None:
    raw = b"""<vib>
<type>exe</type>
<name>../a</name>
<vendor>v</vendor>
<release-date>yesterday</release-date>
<relationships><depends><constraint relation="~" version="1"/></depends></relationships>
<file-list><file>/etc/passwd</file><file>a/../../b</file></file-list>
<acceptance-level>great</acceptance-level>
<overlay>maybe</overlay>
<payloads><payload name="sig.pkcs7" type="zip" size="-1">
<checksum checksum-type="crc">1</checksum><checksum checksum-type="sha-256">xyz</checksum>
</payload></payloads>
</vib>"""
    with pytest.raises(InvalidInput) as caught:
        descriptor_read.parse(raw)
    lines = [problem.where for problem in caught.value.problems]
    numbers = (3, 1, 5, 2, 7, 7, 8, 10, 10, 10, 11, 11, 6, 9)
    assert sorted(lines) == sorted(f"descriptor.xml:{number}" for number in numbers)
    assert "and 13 more" in caught.value.message


def test_the_number_of_problems_is_bounded() -> None:
    raw = samples.descriptor([], ["/x"] * 5000)
    with pytest.raises(InvalidInput) as caught:
        descriptor_read.parse(raw)
    assert len(caught.value.problems) == descriptor_read.MOST_PROBLEMS


LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<vib><name>&b;</name></vib>"""
HOSTILE = {
    "billion laughs": (LAUGHS, "line 2, byte 34: document type and entity declarations"),
    "external": (
        b'<!DOCTYPE v SYSTEM "file:///etc/passwd"><vib/>',
        "document type and entity declarations are not allowed",
    ),
    "no XML": (b"hello", "line 1, byte 0: not XML"),
    "empty": (b"", "not XML: no element found"),
    "cut": (b"<vib><name>x", "not XML: no element found"),
    "entity": (b"<vib>&unknown;</vib>", "not XML: undefined entity"),
    "deep": (b"<a>" * 40, "nested deeper than 32"),
    "not a vib": (b"<svg/>", "the document is <svg>, not <vib>"),
    "encoding": (b'<?xml version="1.0" encoding="x-none"?><vib/>', "not XML"),
    "not UTF-8": (b"<vib>\xff</vib>", "not XML: not well-formed"),
    "zero": (b"<vib>\0</vib>", "not XML"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_xml_is_refused(case: str) -> None:
    raw, words = HOSTILE[case]
    with pytest.raises(ProtocolError) as caught:
        descriptor_read.parse(raw)
    assert words in caught.value.message


def test_size_and_number_of_elements_are_bounded() -> None:
    with pytest.raises(ProtocolError, match="larger than 100 bytes"):
        descriptor_read.parse(b"<vib>" + b" " * 200, limits=Limits(descriptor_bytes=100))
    with pytest.raises(ProtocolError, match="more than 50 elements"):
        descriptor_read.parse(b"<vib>" + b"<a/>" * 60, limits=Limits(xml_nodes=50))


def test_what_xml_cannot_hold_is_not_written() -> None:
    with pytest.raises(InvalidInput, match="cannot be written in XML"):
        xmltree.render(xmltree.element("a", "bell \x07"))


@given(safe, safe)
def test_attributes_survive(key: str, value: str) -> None:
    root = xmltree.element("a", value, key=key + "\n\t", other=value)
    found = xmltree.parse(xmltree.render(root), "x")
    assert found.attributes == {"key": key + "\n\t", "other": value}


def test_texts_that_would_be_read_otherwise_are_seen() -> None:
    found = descriptor_read.parse(samples.descriptor([]))
    changed = replace(found, summary=" x ")
    assert descriptor_read.parse(descriptor_write.render(changed)) != changed


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2019-02-27T21:49:56.000000+00:00", datetime(2019, 2, 27, 21, 49, 56, tzinfo=UTC)),
        ("2019-02-27T21:49:56", datetime(2019, 2, 27, 21, 49, 56, tzinfo=UTC)),
        ("2019-02-27T23:49:56+02:00", datetime(2019, 2, 27, 21, 49, 56, tzinfo=UTC)),
        ("2019-02-27", datetime(2019, 2, 27, tzinfo=UTC)),
        ("", None),
        ("now", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9" * 5000, None),
    ],
)
def test_instants(written: str, meant: datetime | None) -> None:
    assert instant(written) == meant
    if meant:
        assert instant(meant.astimezone(timezone(timedelta(hours=-5))).isoformat()) == meant


VERSIONS = [
    *("1.0~a", "1.0", "1.0-1", "1.0-2", "1.0-10", "1.0.1-1", "1.9", "1.10", "5.5", "6.0.0"),
    *("218.0.38.0-1OEM.650", "218.0.38.0-1OEM.700", "218.0.38.0-1OEM.700.1.0.15843807"),
]


def test_versions_are_ordered_as_released() -> None:
    # 1.0~a is not below 1.0: that is Debian's rule, nobody's here
    assert sorted(VERSIONS[1:], key=version_key) == VERSIONS[1:]


@given(st.lists(word, min_size=3, max_size=3))
def test_versions_have_one_order(texts: list[str]) -> None:
    low, middle, high = sorted(texts, key=version_key)
    assert version_key(low) <= version_key(middle) <= version_key(high)
    assert Relation("a", "<=", high).admits(low)
    assert not Relation("a", ">>", high).admits(low)


@pytest.mark.parametrize(
    ("wanted", "offered", "is_met"),
    [
        ("esx-base >= 5.5", "esx-base = 6.0.0", True),
        ("esx-base << 6.0.0", "esx-base = 6.0.0", False),
        ("esx-base = 6.0", "esx-base = 6.0.0", False),
        ("vmkapi_2_2_0_0", "vmkapi_2_2_0_0", True),
        ("com.vmware.vxlan >= 1", "com.vmware.vxlan", True),
        ("a", "b", False),
    ],
)
def test_relations_are_met(wanted: str, offered: str, is_met: bool) -> None:
    assert relation(wanted).met_by(relation(offered)) is is_met


@given(relations)
def test_relations_print_as_they_are_written(found: tuple[Relation, ...]) -> None:
    assert tuple(map(relation, map(str, found))) == found


def test_levels_are_ordered_and_named_both_ways() -> None:
    ranked = sorted(AcceptanceLevel, key=lambda level: level.rank)
    assert [level.value for level in ranked] == ["community", "partner", "accepted", "certified"]
    assert AcceptanceLevel.ACCEPTED.meets(AcceptanceLevel.PARTNER)
    assert not AcceptanceLevel.COMMUNITY.meets(AcceptanceLevel.PARTNER)
    for level in AcceptanceLevel:
        assert AcceptanceLevel.named(level.shown) is AcceptanceLevel.named(level.value) is level
    with pytest.raises(InvalidInput, match="not an acceptance level"):
        AcceptanceLevel.named("best")
