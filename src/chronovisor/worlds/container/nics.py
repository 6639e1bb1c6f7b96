"""Network devices of the host that a container has for its life, and how they come back.

The kernel returns a NIC to the first network namespace when the last reference to its own goes, and
destroys a virtual one; and visord's namespace need not be the first. So the container's namespace
is pinned (a bind mount of it, as ip-netns(8) does it) and outlives the container: the NIC waits in
there until visord moves it back, with its name, link state and addresses, as it was before. That is
done at the end of the world and at the next start of visord, level-triggered: `loan.json` says what
was lent before it is moved, and is removed when all is back.

While visord is dead a container's end leaves its NIC in the pinned namespace: safe, out of use, and
`nsenter --net=PIN ip link set NAME netns 1` gets it by hand.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronovisor.errors import ToolFailed
from chronovisor.worlds.container.runtime import run
from chronovisor.worlds.launcher import replace_file
from chronovisor.worlds.sandbox import Nic, OwnNetwork

_IFF_UP = "UP"


@dataclass(frozen=True, slots=True)
class Lent:
    """A device as it was before it was moved; `mac` finds it again under another name."""

    name: str
    mac: str
    up: bool
    addresses: tuple[str, ...]


class Loan:
    """The network namespace of one world's container, pinned at `pin`, and what is in there."""

    def __init__(self, pin: Path, record: Path) -> None:
        self.pin = pin
        self._record = record

    @property
    def open(self) -> bool:
        """Whether there is anything to give back or to unpin."""
        return self._record.exists() or self.pin.exists()

    async def lend(self, network: OwnNetwork) -> None:
        """Make the namespace and move the devices in; raise `ToolFailed` if one is not there.

        Run again it does only what is missing.
        """
        await self.check(network)
        await self._pin()
        lent = {one.name: one for one in self._lent()}
        here = await _links()
        for nic in network.nics:
            if nic.name in here:
                lent[nic.name] = _lent(here[nic.name])
                self._write(lent.values())
                await _ip("link", "set", "dev", nic.name, "netns", str(self.pin))
            await self._set_up(nic, lent.get(nic.name))
        await _ip("link", "set", "dev", "lo", "up", inside=self.pin)

    async def check(self, network: OwnNetwork) -> None:
        """Raise `ToolFailed` unless every device is here or lent already."""
        there = {*await _links(), *(await _links(self.pin) if self._pinned() else ())}
        missing = [nic.name for nic in network.nics if nic.name not in there]
        if missing:
            names = ", ".join(missing)
            text = f"network device {names}, which is to go into the container, is not there"
            raise ToolFailed(text, hint="`ip link` lists them; has another container got it?")

    async def give_back(self) -> None:
        """Move back what was lent and drop the namespace; raise `ToolFailed` where that fails."""
        lent = self._lent()
        if lent:
            here = await _links()
            inside = await _links(self.pin) if self._pinned() else {}
            for one in lent:
                await self._return(one, here, inside)
        await self._unpin()
        self._record.unlink(missing_ok=True)

    async def _return(
        self, lent: Lent, here: dict[str, dict[str, Any]], inside: dict[str, dict[str, Any]]
    ) -> None:
        name = next((name for name, link in inside.items() if link.get("address") == lent.mac), "")
        name = lent.name if lent.name in inside else name
        if name:
            if lent.name in here:
                text = f"network device {lent.name} cannot come back from its container"
                hint = f"another one has taken its name; rename that. It waits in {self.pin}"
                raise ToolFailed(text, hint=hint)
            home = ("netns", str(os.getpid()), "name", lent.name)
            await _ip("link", "set", "dev", name, *home, inside=self.pin)
        elif lent.name not in here:
            return  # unplugged, or destroyed with a namespace: nothing is left to give back
        if name or _lent(here[lent.name]) != lent:
            await _restore(lent)

    async def _set_up(self, nic: Nic, lent: Lent | None) -> None:
        addresses = nic.addresses
        if addresses is None:
            addresses = lent.addresses if lent else ()
        for address in addresses:
            await _ip("address", "replace", address, "dev", nic.name, inside=self.pin)
        await _ip("link", "set", "dev", nic.name, "up", inside=self.pin)

    def _lent(self) -> list[Lent]:
        try:
            return [
                Lent(str(one["name"]), str(one["mac"]), bool(one["up"]), tuple(one["addresses"]))
                for one in json.loads(self._record.read_bytes())["lent"]
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _write(self, lent: Iterable[Lent]) -> None:
        shown = [
            {"name": one.name, "mac": one.mac, "up": one.up, "addresses": list(one.addresses)}
            for one in lent
        ]
        try:
            replace_file(str(self._record), {"lent": shown})
        except OSError as error:
            raise ToolFailed(f"cannot write {self._record}: {error.strerror}") from error

    def _pinned(self) -> bool:
        try:
            # The file itself is on the device of its directory, the namespace on nsfs.
            return self.pin.stat().st_dev != self.pin.parent.stat().st_dev
        except OSError:
            return False

    async def _pin(self) -> None:
        if self._pinned():
            return
        self.pin.touch()
        await _must("unshare", f"--net={self.pin}", "true")

    async def _unpin(self) -> None:
        if self._pinned():
            await _must("umount", str(self.pin))
        self.pin.unlink(missing_ok=True)


def _lent(link: dict[str, Any]) -> Lent:
    addresses = tuple(
        f"{one['local']}/{one['prefixlen']}"
        for one in link.get("addr_info", ())
        # The kernel makes link-local ones itself, and what was learnt it learns again.
        if one.get("scope") != "link" and not one.get("dynamic")
    )
    return Lent(link["ifname"], link.get("address", ""), _IFF_UP in link["flags"], addresses)


async def _restore(lent: Lent) -> None:
    for address in lent.addresses:
        await _ip("address", "replace", address, "dev", lent.name)
    await _ip("link", "set", "dev", lent.name, "up" if lent.up else "down")


async def _links(inside: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the devices of a namespace with their addresses, by name."""
    text = await _ip("-json", "address", "show", inside=inside)
    try:
        return {link["ifname"]: link for link in json.loads(text or "[]") if "ifname" in link}
    except (ValueError, TypeError) as error:
        raise ToolFailed(f"ip printed no JSON: {text[:80]!r}") from error


async def _ip(*words: str, inside: Path | None = None) -> str:
    enter = () if inside is None else ("nsenter", f"--net={inside}")
    return await _must(*enter, "ip", *words)


async def _must(*argv: str) -> str:
    code, out, err = await run(argv)
    if code != 0:
        raise ToolFailed(f"{' '.join(argv)}: {err.strip() or f'status {code}'}")
    return out
