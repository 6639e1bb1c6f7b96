"""Whom a question concerns, and what is said of an address that is nobody's; pure."""

from pathlib import Path
from typing import Any

import pytest

from chronovisor.errors import InvalidInput, NotFound
from chronovisor.net.dhcp.place import Place
from chronovisor.net.explain import Condition, Question, Service, explain, resolve
from chronovisor.net.explain.observed import Device, Lookup, Observed, Way
from chronovisor.net.intent import Intent, build
from chronovisor.net.settings import IpProtocol

FOUR = {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"}
SIX = {"prefix": "2001:db8::/64", "gateway": "2001:db8::1"}
AT = Place(Path("/nowhere"))


def port(number: int, *addresses: str, **more: Any) -> dict[str, Any]:
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "network": "lan",
        "addresses": list(addresses),
        **more,
    }


@pytest.fixture
def intent() -> Intent:
    return build(
        {
            "host/net/networks/lan": {"subnets": [FOUR, SIX]},
            "host/net/ports/both": port(1, "10.0.0.11", "2001:db8::11"),
            "host/net/ports/four": port(2, "10.0.0.12"),
            "host/net/ports/six": port(3, "2001:db8::13"),
            "host/net/ports/pair": port(
                4, "10.0.0.14", allowed_address_pairs=[{"prefix": "10.0.0.100/32"},
                                                       {"prefix": "10.0.7.0/24"}]
            ),
            "host/net/ports/off": port(5, "10.0.0.15", enabled=False),
            "host/net/ports/twin": port(6, "10.0.0.12"),
            "host/net/ports/bare": port(7),
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "owner", "on_host"),
    [
        ("10.0.0.11", "both", False),
        ("2001:DB8:0::11", "both", False),
        ("four", "four", False),
        ("10.0.0.100", "pair", False),
        ("10.0.7.9", "pair", False),
        ("10.0.0.15", "off", False),
        ("twin", "twin", False),
        ("10.0.0.99", "", False),
        ("192.0.2.1", "", False),
        ("10.0.0.1", "", True),
        ("169.254.169.254", "", True),
        ("fe80::a9fe:a9fe", "", True),
    ],
)
def test_whose_an_address_is(intent: Intent, text: str, owner: str, on_host: bool) -> None:
    target = resolve(Question(text), intent).target
    assert (target.port, target.on_host) == (owner, on_host)


@pytest.mark.parametrize(
    ("source", "target", "addresses"),
    [
        ("both", "four", ("10.0.0.11", "10.0.0.12")),
        ("both", "six", ("2001:db8::11", "2001:db8::13")),
        ("both", "both", ("10.0.0.11", "10.0.0.11")),
        ("2001:db8::11", "six", ("2001:db8::11", "2001:db8::13")),
        ("four", "192.0.2.1", ("10.0.0.12", "192.0.2.1")),
    ],
)
def test_the_family_that_both_ends_have(
    intent: Intent, source: str, target: str, addresses: tuple[str, str]
) -> None:
    ends = resolve(Question(target, source), intent).ends
    assert tuple(str(one.address) for one in ends) == addresses


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("four", "six", InvalidInput),
        ("four", "2001:db8::11", InvalidInput),
        ("bare", "four", InvalidInput),
        ("", "nothing", NotFound),
        ("10.0.0", "four", NotFound),
        ("four", "fe80::1%eth0", InvalidInput),
    ],
)
def test_what_makes_no_sense(
    intent: Intent, source: str, target: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        resolve(Question(target, source), intent)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("10.0.0.99", "no port of this host has 10.0.0.99, though it is in network lan"),
        ("192.0.2.1", "no port of this host has 192.0.2.1"),
        ("off", "port off is disabled"),
        ("twin", "port four has address 10.0.0.12 already"),
        ("bare", "port bare has no address"),
    ],
)
def test_what_the_settings_alone_tell(intent: Intent, target: str, words: str) -> None:
    seen = Observed(devices={"tap7": Device()}, lookups=_lookups(target, intent))
    first = explain(Question(target), intent, seen, AT).first_broken
    assert first is not None
    assert (first.link, words in first.evidence) == ("settings", True)


def test_without_a_device_nothing_of_it_is_judged(intent: Intent) -> None:
    service = Service(IpProtocol.TCP, 443)
    seen = Observed(devices={"tap2": Device()}, lookups=_lookups("four", intent))
    found = explain(Question("four", service=service), intent, seen, AT)
    conditions = {one.link: one.condition for one in found.findings}
    assert conditions["device"] is Condition.BROKEN
    assert {conditions[one] for one in ("switches", "gateway", "guest", "route")} == {
        Condition.UNKNOWN
    }
    assert found.first_broken is not None
    assert found.first_broken.link == "device"


def _lookups(target: str, intent: Intent) -> dict[Way, Lookup]:
    addresses = resolve(Question(target), intent).target.addresses
    return {Way(one): Lookup(refusal="there is no route") for one in addresses}


def test_a_service_as_people_write_it() -> None:
    assert str(Service(IpProtocol.UDP, 53)) == "udp/53"
    question = Question("vm2", "vm1", Service(IpProtocol.ICMP))
    assert str(question) == "vm1 to vm2 by icmp echo"
