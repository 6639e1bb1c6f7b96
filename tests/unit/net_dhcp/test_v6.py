"""IPv6 without sockets: wire formats both ways, what is answered, hostile bytes."""

import os
import struct
import time
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError
from chronovisor.net.dhcp.v6 import advertisement, answer, frames, message, record
from chronovisor.net.dhcp.v6.message import Code, Kind, Message, Status
from chronovisor.net.dhcp.v6.record import Record
from chronovisor.net.dhcp.v6.records import Records

OURS = IPv6Address("2001:db8::10")
ANOTHER = IPv6Address("2001:db8::99")
RECORD = Record(
    device="tap1",
    mac=bytes.fromhex("020000000001"),
    router=IPv6Address("fe80::1"),
    router_mac="02:63:76:00:00:01",
    prefix=IPv6Network("2001:db8::/64"),
    addresses=(OURS,),
    lifetime_s=3600,
    mtu=1442,
    advertise=True,
    managed=True,
    other=True,
    autonomous=False,
    dns_servers=(IPv6Address("2001:db8::53"),),
    ntp_servers=(IPv6Address("2001:db8::123"),),
    routes=(IPv6Network("2001:db8:9::/48"),),
    domain="example.org",
    hostname="web",
)
CLIENT = (int(Code.CLIENT_ID), b"\0\3\0\1abcdef")
SERVER = (int(Code.SERVER_ID), answer.SERVER_ID)


def association(*addresses: IPv6Address, code: Code = Code.IA_NA) -> message.Option:
    inner = message.pack_options([message.address(one, 60) for one in addresses])
    return int(code), struct.pack("!III", 7, 0, 0) + inner


def ask(kind: Kind, *options: message.Option, record: Record = RECORD) -> Message | None:
    return answer.answer(Message(kind, b"xyz", options), record)


def given_addresses(reply: Message | None) -> dict[IPv6Address, int]:
    """Return the addresses of the first association with their lifetimes."""
    assert reply is not None
    inner = message.unpack_options(reply.all(Code.IA_NA)[0][12:])
    return {
        IPv6Address(value[:16]): struct.unpack("!II", value[16:24])[1]
        for code, value in inner
        if code == Code.IA_ADDRESS
    }


def status_in(options: tuple[message.Option, ...]) -> int:
    (value,) = (value for code, value in options if code == Code.STATUS)
    return int.from_bytes(value[:2], "big")


@pytest.mark.parametrize(
    ("kind", "options", "answered"),
    [
        (Kind.SOLICIT, [CLIENT, association()], Kind.ADVERTISE),
        (Kind.SOLICIT, [CLIENT, association(), (14, b"")], Kind.REPLY),
        (Kind.REQUEST, [CLIENT, SERVER, association()], Kind.REPLY),
        (Kind.RENEW, [CLIENT, SERVER, association(OURS)], Kind.REPLY),
        (Kind.REBIND, [CLIENT, association(OURS)], Kind.REPLY),
    ],
)
def test_the_port_s_address_is_given(
    kind: Kind, options: list[message.Option], answered: Kind
) -> None:
    reply = ask(kind, *options)
    assert reply is not None
    assert (reply.kind, reply.transaction) == (answered, b"xyz")
    assert reply.options[:2] == (CLIENT, SERVER)
    assert given_addresses(reply) == {OURS: 3600}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Kind.SOLICIT, [association()]),  # no client
        (Kind.SOLICIT, [CLIENT, SERVER, association()]),
        (Kind.REQUEST, [CLIENT, association()]),  # to no server
        (Kind.REQUEST, [CLIENT, (2, b"another"), association()]),
        (Kind.RENEW, [SERVER, association()]),
        (Kind.REBIND, [CLIENT, SERVER]),
        (Kind.CONFIRM, [CLIENT, association()]),  # nothing to confirm
        (Kind.INFORMATION_REQUEST, [(2, b"another")]),
        (Kind.INFORMATION_REQUEST, [CLIENT, association()]),
        (Kind.ADVERTISE, [CLIENT, SERVER]),
        (Kind.REPLY, [CLIENT, SERVER]),
        (Kind.RECONFIGURE, [CLIENT, SERVER]),
    ],
)
def test_what_must_be_discarded_is(kind: Kind, options: list[message.Option]) -> None:
    assert ask(kind, *options) is None


def test_a_foreign_address_is_taken_away() -> None:
    reply = ask(Kind.RENEW, CLIENT, SERVER, association(ANOTHER))
    assert given_addresses(reply) == {OURS: 3600, ANOTHER: 0}


@pytest.mark.parametrize(
    ("claimed", "code"), [(OURS, Status.SUCCESS), (ANOTHER, Status.NOT_ON_LINK)]
)
def test_a_moved_vm_learns_whether_its_address_holds(claimed: IPv6Address, code: Status) -> None:
    reply = ask(Kind.CONFIRM, CLIENT, association(claimed))
    assert reply is not None
    assert status_in(reply.options) == code


def test_there_is_one_association_no_temporary_address_and_no_prefix() -> None:
    reply = ask(
        Kind.SOLICIT,
        CLIENT,
        association(),
        association(),
        (int(Code.IA_TA), b"\0\0\0\1"),
        association(code=Code.IA_PD),
    )
    assert reply is not None
    assert given_addresses(reply) == {OURS: 3600}
    assert status_in(message.unpack_options(reply.all(Code.IA_NA)[1][12:])) == Status.NO_ADDRESSES
    assert status_in(message.unpack_options(reply.all(Code.IA_TA)[0][4:])) == Status.NO_ADDRESSES
    assert status_in(message.unpack_options(reply.all(Code.IA_PD)[0][12:])) == Status.NO_PREFIX


def test_a_network_without_addresses_still_answers_the_rest() -> None:
    asked = (int(Code.REQUESTED), struct.pack("!H", Code.DNS_SERVERS))
    stateless = replace(RECORD, addresses=())
    reply = ask(Kind.INFORMATION_REQUEST, CLIENT, asked, record=stateless)
    assert reply is not None
    assert reply.first(Code.DNS_SERVERS) == RECORD.dns_servers[0].packed
    assert reply.first(Code.DOMAINS) is None  # not asked for
    assert given_addresses(ask(Kind.SOLICIT, CLIENT, association(), record=stateless)) == {}


@pytest.mark.parametrize("kind", [Kind.RELEASE, Kind.DECLINE])
def test_a_release_is_acknowledged(kind: Kind) -> None:
    reply = ask(kind, CLIENT, SERVER, association(OURS))
    assert reply is not None
    assert status_in(reply.options) == Status.SUCCESS


def test_a_client_that_asks_gets_its_name() -> None:
    reply = ask(Kind.REQUEST, CLIENT, SERVER, association(), (int(Code.FQDN), b"\0\3foo"))
    assert reply is not None
    assert reply.first(Code.FQDN) == b"\4\3web\7example\3org\0"


_OPTIONS = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=8)


@given(st.sampled_from(Kind), st.binary(min_size=3, max_size=3), _OPTIONS)
def test_messages_survive_the_wire(
    kind: Kind, transaction: bytes, options: list[message.Option]
) -> None:
    sent = Message(kind, transaction, tuple(options))
    assert message.unpack(message.pack(sent)) == sent


_HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda kind, options, cut: message.pack(Message(kind, b"xyz", (CLIENT, *options)))[:cut],
        st.sampled_from([Kind.SOLICIT, Kind.REBIND, Kind.CONFIRM]),
        st.lists(st.tuples(st.sampled_from([3, 4, 6, 14, 25, 39]), st.binary(max_size=60))),
        st.one_of(st.none(), st.integers(0, 200)),
    ),
)


@given(_HOSTILE)
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        reply = answer.answer(message.unpack(data), RECORD)
    except ProtocolError:
        return
    if reply is not None:
        message.pack(reply)


def test_an_advertisement_by_the_byte() -> None:
    packet = advertisement.pack(RECORD)
    assert packet[:8] == bytes((134, 0, 0, 0, 64, 0xC0)) + (1800).to_bytes(2, "big")
    options, rest = {}, packet[16:]
    while rest:
        options[rest[0]] = rest[2 : rest[1] * 8]
        rest = rest[rest[1] * 8 :]
    assert options[1] == bytes.fromhex("026376000001")
    assert options[3][:2] == bytes((64, 0))  # neither on-link nor autonomous
    assert options[5] == struct.pack("!HI", 0, 1442)
    assert options[24][:2] == bytes((48, 0))
    assert options[31][6:] == b"\7example\3org\0" + bytes(3)


def test_the_largest_advertisement_fits_the_smallest_mtu() -> None:
    largest = replace(
        RECORD,
        dns_servers=RECORD.dns_servers * advertisement.MOST_SERVERS,
        routes=RECORD.routes * advertisement.MOST_ROUTES,
        domain=".".join(["a" * 62] * 4),
    )
    assert len(advertisement.pack(largest)) <= 1280 - 40


@pytest.mark.parametrize(
    ("packet", "hop_limit", "valid"),
    [
        (bytes((133, 0, 0, 0, 0, 0, 0, 0)), 255, True),
        (bytes((133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1)), 255, True),
        (bytes((133, 0, 0, 0, 0, 0, 0, 0)), 64, False),
        (bytes((133, 1, 0, 0, 0, 0, 0, 0)), 255, False),
        (bytes((133, 0, 0, 0)), 255, False),
        (bytes((133, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 1)), 255, False),
        (bytes((133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 0, 0, 0, 1)), 255, False),
    ],
)
def test_only_valid_solicitations_count(packet: bytes, hop_limit: int, valid: bool) -> None:
    assert advertisement.is_solicitation(packet, hop_limit) is valid


def test_packets_by_the_byte() -> None:
    """RFC 8200 section 8.1: summing all words with the checksum in place gives all ones."""
    router, vm = RECORD.router, IPv6Address("fe80::10")
    for packet, protocol in (
        (frames.icmp6(router, vm, advertisement.pack(RECORD)), 58),
        (frames.udp(router, vm, (547, 546), b"odd"), 17),
    ):
        assert packet[:4] == b"\x60\0\0\0"
        assert packet[4:6] == (len(packet) - 40).to_bytes(2, "big")
        assert packet[6:8] == bytes((protocol, 255))
        assert packet[8:40] == router.packed + vm.packed
        summed = packet[8:40] + struct.pack("!II", len(packet) - 40, protocol) + packet[40:]
        summed += bytes(len(summed) % 2)
        assert sum(struct.unpack(f"!{len(summed) // 2}H", summed)) % 0xFFFF == 0


@given(
    st.builds(
        Record,
        device=st.from_regex(r"[A-Za-z0-9_.-]{1,15}", fullmatch=True),
        mac=st.binary(min_size=6, max_size=6),
        router=st.ip_addresses(v=6),
        router_mac=st.just("02:00:00:00:00:01"),
        prefix=st.ip_addresses(v=6).map(IPv6Network),
        addresses=st.lists(st.ip_addresses(v=6), max_size=3).map(tuple),
        lifetime_s=st.integers(120, 31_536_000),
        mtu=st.integers(1280, 65520),
        advertise=st.booleans(),
        managed=st.booleans(),
        other=st.booleans(),
        autonomous=st.booleans(),
        routes=st.lists(st.ip_addresses(v=6).map(IPv6Network), max_size=2).map(tuple),
    )
)
def test_records_survive_their_file(one: Record) -> None:
    assert record.from_text(record.to_text(one)) == one


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"router": 3}', '{"device": "x"'])
def test_a_broken_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        record.from_text(text)


def test_the_directory_is_always_as_it_is_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = Records(tmp_path)
    assert records.current() == {}
    now_ns = time.time_ns()
    for number in range(5):
        (tmp_path / f"p{number}").write_text(
            record.to_text(replace(RECORD, device=f"tap{number}", mtu=1280 + number))
        )
        os.utime(tmp_path, ns=(now_ns, now_ns))  # all within one step of the file system's clock
        assert records.current()[f"tap{number}"].mtu == 1280 + number
    (tmp_path / "p0").unlink()
    (tmp_path / "broken").write_text("nonsense")
    assert "tap0" not in records.current()
    assert len(records.changed) == 5
    assert "broken" in capsys.readouterr().err
