"""Our bytecode is what nft makes of our text, for any intent; and nft can load what it shows."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronovisor.net.firewall import Firewall, static
from chronovisor.net.firewall.plan import merged
from chronovisor.net.firewall.text import part_text
from chronovisor.net.firewall.wanted import Wanted
from chronovisor.net.intent import Intent, build
from firewalled_hosts import inside, new_namespace, run

NETWORK = {
    "subnets": [
        {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1", "dns_servers": ["10.0.0.1"]},
        {"prefix": "2001:db8::/64", "gateway": "2001:db8::1"},
    ]
}
GROUPS = ["ga", "b.b", "0c-_"]  # ids may hold dots, dashes, and begin with a digit
PREFIXES = {
    "ipv4": ["0.0.0.0/0", "10.0.0.0/8", "10.128.0.0/9", "192.0.2.1/32", "192.0.2.2/31"],
    "ipv6": ["::/0", "2001:db8::/33", "2001:db8::7/128", "fe80::/10"],
}


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Return any rule that the settings allow."""
    family = draw(st.sampled_from(["ipv4", "ipv6"]))
    rule: dict[str, Any] = {
        "direction": draw(st.sampled_from(["ingress", "egress"])),
        "family": family,
        "protocol": draw(st.sampled_from([None, "tcp", "udp", "sctp", "icmp"])),
    }
    if rule["protocol"] == "icmp":
        rule["icmp_type"] = draw(st.none() | st.integers(0, 255))
        if rule["icmp_type"] is not None:
            rule["icmp_code"] = draw(st.none() | st.integers(0, 255))
    elif rule["protocol"] and draw(st.booleans()):
        rule["port_min"] = draw(st.integers(1, 65535))
        rule["port_max"] = draw(st.integers(rule["port_min"], 65535))
    far = draw(st.sampled_from(["anybody", "prefix", "group"]))
    if far == "prefix":
        rule["remote_prefix"] = draw(st.sampled_from(PREFIXES[family]))
    elif far == "group":
        rule["remote_group"] = draw(st.sampled_from(GROUPS))
    return rule


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """Return an intent of three groups and up to three ports."""
    prefixes = st.lists(
        st.sampled_from([*PREFIXES["ipv4"], *PREFIXES["ipv6"]]), max_size=3, unique=True
    )
    values: dict[str, Any] = {"host/net/networks/lan": NETWORK}
    for name in GROUPS:
        values[f"host/net/security_groups/{name}"] = {
            "rules": draw(st.lists(rules(), max_size=5)),
            "members": draw(prefixes),
            "stateful": draw(st.booleans()),
        }
    for number in range(1, draw(st.integers(1, 3)) + 1):
        values[f"host/net/ports/{number}.vm"] = {
            "device": f"tap{number}",
            "mac": f"02:00:00:00:00:{number:02x}",
            "network": "lan",
            "addresses": [f"10.0.0.{number + 1}", f"2001:db8::{number + 1}"],
            "security_groups": draw(st.lists(st.sampled_from(GROUPS), max_size=3, unique=True)),
            "allowed_address_pairs": [{"prefix": one} for one in draw(prefixes)],
            "port_security": draw(st.booleans()),
        }
    intent = build(values)
    assert not intent.refused, intent.refused
    return intent


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(intents())
def test_bytecode_and_text_are_one_ruleset(intent: Intent) -> None:
    text = static.text() + part_text(merged(Wanted.of(intent).parts.values()))
    with new_namespace() as namespace, inside(namespace), Firewall() as firewall:
        run("nft", "-c", "-f", "-", text=text)
        firewall.sync(intent)
        ours = run("nft", "list", "ruleset")
        run("nft", "flush", "ruleset")
        run("nft", "-f", "-", text=text)
        assert sorted_elements(ours) == sorted_elements(run("nft", "list", "ruleset"))
        assert firewall.plan(intent) == [], "what nft loaded from our text is what we want"
        run("nft", "flush", "ruleset")
        run("nft", "-f", "-", text=ours)
        assert sorted_elements(ours) == sorted_elements(run("nft", "list", "ruleset"))


def sorted_elements(listing: str) -> list[str]:
    """Return the lines of a listing, those with elements in an order that does not vary."""
    lines = listing.replace("elements = { ", "").replace(" }", "").splitlines()
    return sorted(line.strip().rstrip(",") for line in lines)
