"""The static part: its text, its mark, what is refused."""

import pytest

from chronovisor.errors import InvalidInput
from chronovisor.net.firewall import static


def test_every_word_is_filled_in() -> None:
    text = static.text(("tap*", "vm-*"))
    assert "@TABLE@" not in text
    assert "@MARK@" not in text
    assert "@PATTERN@" not in text
    assert "@METADATA" not in text
    assert (
        text.count('iifname "tap*" counter name unclaimed drop')
        == text.count('iifname "vm-*" counter name unclaimed drop')
        == 4
    )
    assert text.count('oifname "vm-*" counter name unclaimed drop') == 2


def test_the_mark_says_what_is_loaded() -> None:
    assert static.mark() == static.mark(("tap*",))
    assert static.mark(("vnet*",)) != static.mark()
    assert f"chain {static.mark()} {{ }}" in static.text()


def test_rules_are_counted_where_they_stand() -> None:
    counts = static.rule_counts(("tap*", "vm-*"))
    assert counts["inet", "prerouting"] == 3
    assert counts["arp", "output"] == 3
    assert counts["inet", static.mark(("tap*", "vm-*"))] == 0


def test_all_wrong_patterns_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        static.check_patterns(["tap*", "*", "lo", "a" * 16])
    assert [one.where for one in caught.value.problems] == [
        "tap_patterns[1]",
        "tap_patterns[2]",
        "tap_patterns[3]",
    ]
