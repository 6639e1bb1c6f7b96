"""A change touches what changed; its result is what the whole would have been."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chronovisor.net.firewall import static
from chronovisor.net.firewall.names import FAMILIES, STATIC_MARK
from chronovisor.net.firewall.observe import Observed
from chronovisor.net.firewall.plan import (
    Action,
    AddElements,
    AddSet,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    LoadStatic,
    WriteChain,
    merged,
    plan,
)
from chronovisor.net.firewall.rules import Part
from chronovisor.net.firewall.wanted import Wanted
from chronovisor.net.intent import Intent, build

NETWORK = {"subnets": [{"prefix": "10.0.0.0/24", "gateway": "10.0.0.1"}]}
GROUPS = ["ga", "gb", "gc"]
PATTERNS = static.TAP_PATTERNS

rule = st.fixed_dictionaries(
    {"direction": st.sampled_from(["ingress", "egress"])},
    optional={"remote_group": st.sampled_from(GROUPS)},
)
group = st.fixed_dictionaries(
    {
        "rules": st.lists(rule, max_size=3),
        "members": st.lists(st.sampled_from(["10.0.0.9", "192.0.2.0/24"]), max_size=2, unique=True),
        "stateful": st.booleans(),
    }
)


def _port(number: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "device": st.just(f"tap{number}"),
            "mac": st.just(f"02:00:00:00:00:{number:02x}"),
            "network": st.just("lan"),
            "addresses": st.just([f"10.0.0.{number + 1}"]),
            "security_groups": st.lists(st.sampled_from(GROUPS), max_size=3, unique=True),
            "port_security": st.booleans(),
            "enabled": st.booleans(),
            "allowed_address_pairs": st.lists(
                st.sampled_from([{"prefix": "10.0.0.99"}, {"prefix": "10.0.0.128/25"}]),
                max_size=2,
            ),
        }
    )


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """Return an intent of up to three groups and ports; ports of missing groups are refused."""
    values: dict[str, Any] = {"host/net/networks/lan": NETWORK}
    for name in draw(st.sets(st.sampled_from(GROUPS))):
        values[f"host/net/security_groups/{name}"] = draw(group)
    for number in draw(st.sets(st.integers(1, 4))):
        values[f"host/net/ports/vm{number}"] = draw(_port(number))
    return build(values)


def done(part: Part, actions: list[Action]) -> Part:
    """Return what a part is after actions; each must make sense where it stands."""
    chains, elements, sets = dict(part.chains), set(part.elements), set(part.sets)
    for action in actions:
        match action:
            case AddSet(where):
                assert where not in sets
                sets.add(where)
            case DeleteSet(where):
                elements = {one for one in elements if one.where != where}
                sets.remove(where)
            case WriteChain(chain, rules, new):
                assert new is (chain not in chains)
                chains[chain] = rules
            case DeleteChain(chain):
                del chains[chain]
            case AddElements(_, some):
                assert elements.isdisjoint(some)
                elements.update(some)
            case DeleteElements(_, some):
                assert elements.issuperset(some)
                elements.difference_update(some)
            case LoadStatic():
                raise AssertionError("no change of intent loads the static part")
    return Part(chains, frozenset(elements), frozenset(sets))


@settings(max_examples=150, deadline=None)
@given(st.lists(intents(), min_size=1, max_size=4))
def test_changes_one_after_another_end_where_the_whole_is(steps: list[Intent]) -> None:
    wanted, there = Wanted(Intent()), Part()
    for intent in steps:
        there = done(there, wanted.change(intent))
        whole = merged(Wanted.of(intent).parts.values())
        assert there == whole
    assert wanted.change(steps[-1]) == []


def observed(part: Part, **more: Any) -> Observed:
    """Return what the kernel shows when it holds the static part and a part."""
    loaded = Observed(
        marks=frozenset([static.mark()]),
        static=static.rule_counts(),
        chains={chain: tuple(one.comment for one in rules) for chain, rules in part.chains.items()},
        sets=part.sets,
        elements=part.elements,
    )
    return replace(loaded, **more)


@settings(max_examples=100, deadline=None)
@given(intents(), intents())
def test_the_plan_leads_from_any_intent_to_any_other(old: Intent, new: Intent) -> None:
    before = merged(Wanted.of(old).parts.values())
    after = Wanted.of(new).parts.values()
    assert done(before, plan(after, observed(before), PATTERNS)) == merged(after)
    assert plan(after, observed(merged(after)), PATTERNS) == []


def test_one_port_touches_nothing_else() -> None:
    values: dict[str, Any] = {"host/net/networks/lan": NETWORK}
    values["host/net/security_groups/ga"] = {"rules": [{"direction": "egress"}]}
    for number in range(1, 50):
        values[f"host/net/ports/vm{number}"] = {
            "device": f"tap{number}",
            "mac": f"02:00:00:00:00:{number:02x}",
            "network": "lan",
            "addresses": [f"10.0.0.{number + 1}"],
            "security_groups": ["ga"],
        }
    wanted = Wanted.of(build(values))
    values["host/net/ports/vm7"] |= {"addresses": ["10.0.0.200"]}
    actions = wanted.change(build(values))
    touched = {one for action in actions for one in getattr(action, "elements", ())}
    assert all(one.key.startswith(b"tap7\0") for one in touched)
    assert len(touched) == 4  # guard4 and guard, old and new
    assert not any(isinstance(one, WriteChain) for one in actions)
    assert str(actions[0]) == "delete 1 elements of inet chronovisor guard4"
    assert actions[0].reason == "changed: port vm7"


def test_a_group_s_rules_touch_only_its_chains() -> None:
    values: dict[str, Any] = {"host/net/networks/lan": NETWORK}
    values["host/net/security_groups/ga"] = {"rules": [{"direction": "egress"}]}
    wanted = Wanted.of(build(values))
    values["host/net/security_groups/ga"] = {"rules": [{"direction": "ingress"}]}
    assert sorted(map(str, wanted.change(build(values)))) == [
        "rewrite chain inet chronovisor group-from-ga with 0 rules",
        "rewrite chain inet chronovisor group-to-ga with 1 rules",
    ]


def test_the_static_part_is_loaded_where_it_is_missing_or_differs() -> None:
    assert isinstance(plan([], Observed(), PATTERNS)[0], LoadStatic)
    assert plan([], observed(Part()), PATTERNS) == []
    fewer = {**static.rule_counts(), ("inet", "to_host"): 1}
    (action,) = plan([], observed(Part(), static=fewer), PATTERNS)
    assert action.reason == "rules of chain inet to_host are missing or were added"
    both = frozenset([static.mark(), f"{static.LAYOUT_MARK}0123456789ab"])
    (action,) = plan([], observed(Part(), marks=both), PATTERNS)
    assert isinstance(action, LoadStatic)
    assert f"delete chain inet chronovisor {static.LAYOUT_MARK}0123456789ab" in action.text


def test_another_layout_is_replaced_whole_in_one_transaction() -> None:
    marks = frozenset([f"{STATIC_MARK}0-0123456789ab"])
    values = {"host/net/security_groups/ga": {"rules": [{"direction": "egress"}]}}
    parts = Wanted.of(build(values)).parts.values()
    (action,) = plan(parts, observed(Part(), marks=marks), PATTERNS)
    assert isinstance(action, LoadStatic)
    assert action.text.startswith("delete table inet chronovisor\ndelete table arp chronovisor\n")
    assert "add rule inet chronovisor group-from-ga meta nfproto ipv4 accept" in action.text
    assert len(FAMILIES) == 2
