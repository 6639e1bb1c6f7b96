"""Makes changes in nftables: all actions but `LoadStatic` in one transaction of the kernel.

Changes go out as netlink messages of our own: with 3,000 ports `nft` and libnftables first read
the whole ruleset back (30 ms a change, 400 MB of memory for the load), the kernel alone takes a
tenth of it. Only the static part, loaded once, goes through `nft`, which everybody can read.
"""

import subprocess
from collections.abc import Iterable, Iterator, Sequence

from chronovisor.errors import ToolFailed
from chronovisor.net.firewall import messages
from chronovisor.net.firewall.netfilter import NetfilterSocket
from chronovisor.net.firewall.plan import (
    Action,
    AddElements,
    AddSet,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    LoadStatic,
    WriteChain,
)

_NFT_TIMEOUT_S = 60.0


def apply(actions: Iterable[Action], netfilter: NetfilterSocket) -> None:
    """Do what `plan` or `difference` returned.

    Raises:
        ToolFailed: nftables refused; then nothing of the transaction is changed.
    """
    rest: list[Action] = []
    for action in actions:
        if isinstance(action, LoadStatic):
            load(action.text)
        else:
            rest.append(action)
    netfilter.commit(transaction(rest))


def load(text: str) -> None:
    """Load a ruleset with `nft -f`, in the network namespace of this thread.

    Raises:
        ToolFailed: `nft` is missing or refused it.
    """
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=text,
            capture_output=True,
            text=True,
            timeout=_NFT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"cannot run nft: {error}", hint="install nftables") from error
    if done.returncode:
        first = done.stderr.strip().splitlines()[:1]
        raise ToolFailed(f"nft refused the firewall's ruleset: {' '.join(first)}")


def transaction(actions: Sequence[Action]) -> Iterator[bytes]:
    """Yield the messages of actions, each thing before what uses it.

    Chains are all added before the first rule, since rules jump to them; rules of chains that go
    are deleted before the chains.
    """
    chains = [one for one in actions if isinstance(one, WriteChain)]
    gone = [one.chain for one in actions if isinstance(one, DeleteChain)]
    yield from (messages.new_set(one.where) for one in actions if isinstance(one, AddSet))
    yield from (messages.new_chain(one.chain) for one in chains if one.new)
    yield from (messages.flush_chain(one.chain) for one in chains if not one.new)
    yield from (messages.flush_chain(chain) for chain in gone)
    for one in chains:
        yield from messages.new_rules(one.chain, one.rules)
    for action in actions:
        if isinstance(action, DeleteElements):
            yield from messages.elements(messages.DELETE_ELEMENT, action.where, action.elements)
        elif isinstance(action, AddElements):
            yield from messages.elements(messages.NEW_ELEMENT, action.where, action.elements)
    yield from (messages.delete_chain(chain) for chain in gone)
    yield from (messages.delete_set(one.where) for one in actions if isinstance(one, DeleteSet))
