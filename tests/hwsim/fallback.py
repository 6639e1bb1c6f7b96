"""A host that falls back from PTP to NTP and returns, and what happens to its clock meanwhile.

The NTP server's time is the grandmaster's own PHC, so it is right whatever the host's clock does,
and it lies when told to.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ntp_server
from chronovisor.errors import ChronovisorError
from hwsim import truth
from hwsim.devices import Namespace, Nic, Port
from hwsim.heard import Event, Heard, heard_on
from hwsim.hosts import Host, host_in, settings
from hwsim.ptp import grandmaster
from hwsim.record import Recorder, Recording
from visords import short_directory, until

NTP = "10.1.0.1"
DEADLINE_S = 120.0
NICS = (Nic(), Nic(error_ppb=9_000), Nic(phc=None), Nic(phc=None))
"""The grandmaster's and the host's, the NTP server's and the host's other one."""

FAR_NS = 5_000_000
"""More than a fallback moves the clock: NTP's own noise in the guest, where packets are stamped by
programs that wait for a processor, with room."""

CALM = ("-4", "-E", *(f"--log{what}Interval=-1" for what in ("Announce", "Sync", "MinDelayReq")))
"""Two messages a second of each kind: the recorder, chronyd and its server want processors, too."""

LOOK_S = 1.0
"""How often visord is asked where nothing tells; it takes a tenth of a second of the guest."""

CLOSE_NS = {"hardware": 50_000, "software": 1_000_000}
"""How near PTP brings the clock before it is judged."""

STEADY_S, FALLBACK_S, AGAIN_S = 5.0, 20.0, 10.0


@dataclass(frozen=True, slots=True)
class Site:
    """A grandmaster that can be taken away, an NTP server that can lie, and a host."""

    master: Port
    left: Namespace
    host: Host
    heard: Heard
    directory: Path
    lie: Path

    def master_up(self) -> None:
        """Start the grandmaster."""
        grandmaster(self.left, self.master, self.directory, *CALM)

    def master_down(self) -> int:
        """End the grandmaster as a crash does; return when, Unix time."""
        process = self.left.processes.pop()
        process.kill()
        process.wait()
        return time.time_ns()

    def close(self, stamps: str) -> None:
        """Wait until the clock really is near the grandmaster's, and stays so for a second."""
        expected = ("realtime", self.master.clock, -truth.UTC_OFFSET_NS)
        truth.until_within(CLOSE_NS[stamps], *expected, deadline_s=DEADLINE_S)

    def turn(self, owner: str) -> None:
        """Have this owner be the right one."""
        if owner == "ptp":
            self.master_up()
        else:
            self.master_down()

    def told(self, kind: str, since_ns: int, **wanted: object) -> Event:
        """Wait until visord has told this; show how it is if it does not."""
        try:
            return self.heard.until(kind, since_ns, DEADLINE_S, **wanted)
        except AssertionError:
            now = self.host.status()
            shown = {name: now[name] for name in ("state", "reason", "system_clock", "ntp")}
            print(json.dumps(shown, indent=1), self.host.log.read_text()[-2000:], sep="\n")
            for name in ("ptp4l", "chronyd"):
                print(f"--- {name}", *self.host.world(name)["last_lines"], sep="\n")
            raise

    def revive(self) -> None:
        """Start a visord that was killed."""
        assert self.host.process is not None
        self.host.process.wait()
        self.host.start()

    def tell(self, lie_s: float) -> None:
        """Have the NTP server add this to the truth."""
        beside = self.lie.with_suffix(".new")
        beside.write_text(f"{lie_s}")
        beside.replace(self.lie)

    def owner(self, what: str, **wanted: object) -> dict[str, Any]:
        """Wait until the system clock's owner is so; return the status."""

        def so() -> dict[str, Any] | None:
            with contextlib.suppress(ChronovisorError, OSError):
                now = self.host.status()
                owned = now["system_clock"] | {"ntp": bool(now["ntp"] and now["ntp"]["available"])}
                if all(owned[key] == value for key, value in wanted.items()):
                    return now
            time.sleep(LOOK_S)
            return None

        return until(what, so, DEADLINE_S)


@contextlib.contextmanager
def fallback_site(
    ports: Sequence[Port], spaces: Sequence[Namespace], directory: Path, stamps: str
) -> Iterator[Site]:
    """Run a host that follows PTP and knows that NTP agrees; `ports` are those of `NICS`."""
    master, port, far, near = ports
    left, right, third = spaces
    with short_directory() as base, contextlib.ExitStack() as stack:
        left.take(master, "10.0.0.1/24")
        right.take(port, "10.0.0.2/24")
        third.take(far, f"{NTP}/24")
        right.take(near, "10.1.0.2/24")
        truth.step(master.clock, truth.exact("realtime", master.clock) + truth.UTC_OFFSET_NS)
        lie = directory / "lie"
        stack.enter_context(
            ntp_server.running(
                NTP,
                clock=f"/dev/{master.clock}",
                lie=lie,
                offset_ns=-truth.UTC_OFFSET_NS,
                inside=tuple(third.argv()),
            )
        )
        heard = stack.enter_context(heard_on(base / "run" / "visord.sock"))
        host = stack.enter_context(host_in(base, right))
        site = Site(master, left, host, heard, directory, lie)
        site.master_up()
        values = settings(
            port,
            ntp_config={"server": [{"address": NTP, "min_poll": 2, "max_poll": 3}]},
            fallback={"enabled": True, "after_s": 5, "return_after_s": 5},
        )
        values["ptp_config"]["port"][0]["time_stamping"] = stamps
        host.set_clock(values)
        site.owner("PTP owns the clock", owner="ptp", phase="following")
        site.close(stamps)
        until("NTP agrees", lambda: agreed(site), DEADLINE_S)
        yield site


def agreed(site: Site) -> bool:
    """Return whether chronyd follows its server and has the same time."""
    time.sleep(LOOK_S)
    ntp = site.host.status()["ntp"]
    return bool(ntp and ntp["available"] and abs(ntp["offset_ns"]) < FAR_NS)


class Fallback(NamedTuple):
    """A fallback and the return: times in s since PTP was lost, then the clock's worst in ns."""

    decided_s: float
    steers_s: float
    follows_s: float
    until_followed_ns: int
    in_fallback_ns: int
    on_return_ns: int


def lose_and_return(site: Site, recorder: Recorder, stamps: str) -> Fallback:
    """Take the grandmaster away, wait until NTP has the clock, bring it back; print all of it."""
    stay(STEADY_S)
    mark, _ = said(recorder.now(), 0, "PTP")
    down_ns = site.master_down()
    taken = site.told("clock.owner", down_ns, owner="ntp", phase="fallback")
    assert taken.data["in_fallback_state"] is True
    steers = site.told("world.state", taken.at_ns, name="chronyd", state="running")
    follows = site.told("clock.ntp", steers.at_ns, available=True)
    parts(site, down_ns, follows)
    assert "-x" not in site.host.world("chronyd")["argv"]
    assert site.host.status()["in_fallback_state"] is True
    mark, until_followed_ns = said(recorder.now(), mark, "PTP lost until NTP is followed")
    stay(FALLBACK_S)
    mark, in_fallback_ns = said(recorder.now(), mark, "fallback")

    up_ns = time.time_ns()
    site.master_up()
    back = site.told("clock.owner", up_ns, owner="ntp", phase="returning")
    owned = site.told("clock.owner", back.at_ns, owner="ptp", phase="following")
    assert owned.data["in_fallback_state"] is False
    site.close(stamps)
    print("PTP back:")
    parts(site, up_ns, site.heard.events[-1])
    mark, on_return_ns = said(recorder.now(), mark, "PTP back until the clock is close")
    stay(AGAIN_S)
    said(recorder.now(), mark, "PTP again")
    decided_s, steers_s, follows_s = (
        (one.at_ns - down_ns) / 1e9 for one in (taken, steers, follows)
    )
    return Fallback(decided_s, steers_s, follows_s, until_followed_ns, in_fallback_ns, on_return_ns)


def said(found: Recording, since: int, what: str) -> tuple[int, int]:
    """Print what a phase did to the clock; return how many samples there are, and its worst."""
    rest = found.samples[since:]
    lasted_s = (rest[-1].raw_ns - rest[0].raw_ns) / 1e9
    print(f"{what}: {lasted_s:.1f} s, clock at most {found.worst_ns(since)} ns off the truth")
    return len(found.samples), found.worst_ns(since)


def parts(site: Site, began_ns: int, last: Event) -> None:
    """Print what happened when, up to an event, as visord stamped it."""
    before_ns = began_ns
    for event in site.heard.since(began_ns):
        if event.at_ns > last.at_ns:
            break
        took_s, since_s = (event.at_ns - before_ns) / 1e9, (event.at_ns - began_ns) / 1e9
        print(f"  {since_s:6.2f} s (+{took_s:5.2f}) {event}")
        before_ns = event.at_ns
    print(f"  load of the guest: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


def stay(seconds: float) -> None:
    """Let the clock run; what happens to it is recorded."""
    time.sleep(seconds)
