"""What a rule's handle means: for ours the port or group it belongs to, for others' nft's text."""

import re
import subprocess
from dataclasses import dataclass

from chronovisor.net.explain.packet import FAMILY_NAMES
from chronovisor.net.firewall.names import TABLE

_HANDLE = re.compile(r"^\s*(?P<rule>.*?)\s*# handle (?P<handle>\d+)$")
_COMMENT = re.compile(r'\s*comment "(?P<origin>[^"]*?)(?: [0-9a-f]{8})?"')
_NFT_TIMEOUT_S = 10.0

_PREFIXES = (
    ("group-from-", "what security group {} lets out"),
    ("group-to-", "what security group {} lets in"),
    ("from-", "what port {} may send"),
    ("to-", "what may be sent to port {}"),
    ("guard-", "prefixes that port {} may send from"),
)


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule as nft writes it, and what of ours it comes from (empty for others' rules)."""

    text: str
    origin: str = ""


def parse(listing: str) -> dict[int, RuleText]:
    """Return the rules of `nft -a list chain` by handle."""
    found = {}
    for line in listing.splitlines():
        match = _HANDLE.match(line)
        if match and not match["rule"].endswith("{"):
            comment = _COMMENT.search(match["rule"])
            text = _COMMENT.sub("", match["rule"])
            found[int(match["handle"])] = RuleText(text, comment["origin"] if comment else "")
    return found


def meaning(table: str, chain: str, origin: str) -> str:
    """Return in words whose a rule of ours is; empty for a rule of others."""
    if table != TABLE:
        return ""
    for prefix, words in _PREFIXES:
        if chain.startswith(prefix):
            name = chain.removeprefix(prefix)
            rule = origin.removeprefix(f"{name}.")
            numbered = f", rule {rule}" if prefix.startswith("group-") and rule.isdecimal() else ""
            return words.format(name) + numbered
    return ""


class Rules:
    """The texts of rules, each chain listed when one of its rules is met for the first time."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], dict[int, RuleText]] = {}

    def text(self, family: int, table: str, chain: str, handle: int) -> RuleText:
        """Return a rule; one that cannot be found is named by its handle. Blocks."""
        place = family, table, chain
        if handle not in self._known.get(place, {}):
            self._known[place] = self._known.get(place, {}) | _listed(*place)
        return self._known[place].get(handle, RuleText(f"rule {handle}"))


def _listed(family: int, table: str, chain: str) -> dict[int, RuleText]:
    words = ("nft", "-a", "list", "chain", FAMILY_NAMES.get(family, "inet"), table, chain)
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_NFT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse(done.stdout)
