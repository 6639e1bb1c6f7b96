"""A host with VMs behind taps, all network namespaces, and a process that wires them."""

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from chronovisor.net.marks import GATEWAY_LINK_LOCAL

DRIVER = Path(__file__).parent / "functional/net_wiring/wiring_process.py"
PROBE = Path(__file__).parent / "functional/net_wiring/probe.py"
DEADLINE_S = 60.0

_numbers = itertools.count()


def run(*words: str, check: bool = True, text: str | None = None) -> str:
    """Run a command and return its output; fail with its errors."""
    done = subprocess.run(
        words, input=text, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def until(what: str, probe: Callable[[], bool]) -> None:
    """Return as soon as `probe` says so; fail naming `what`."""
    deadline = time.monotonic() + DEADLINE_S
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")
        time.sleep(0.02)


class Namespace:
    """A network namespace with a unique name."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.run("ip", "link", "set", "lo", "up")

    def argv(self, *words: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name, *words)

    def run(self, *words: str, check: bool = True, text: str | None = None) -> str:
        return run(*self.argv(*words), check=check, text=text)

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words) or "[]")

    def batch(self, lines: Iterable[str]) -> None:
        run("ip", "-n", self.name, "-batch", "-", text="\n".join(lines) + "\n")

    def switch(self, path: str) -> str:
        return self.run("cat", f"/proc/sys/net/{path}").strip()

    def remove(self) -> None:
        run("ip", "netns", "delete", self.name, check=False)


class WiringProcess:
    """The driver in a host's namespace; `tell` gives it a line and returns its answer."""

    def __init__(self, host: Namespace) -> None:
        self.process = subprocess.Popen(
            host.argv(sys.executable, str(DRIVER)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def tell(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        while True:
            line = self._lines.get(timeout=DEADLINE_S)
            if "event" not in line:
                return line
            self.events.append(line)

    def want(self, values: dict[str, Any], *, complete: bool = True) -> dict[str, Any]:
        states: dict[str, Any] = self.tell(want=values, complete=complete)["states"]
        return states

    def drift(self) -> list[str]:
        found: list[str] = self.tell(drift=True)["drift"]
        return found

    def next_state(self, port: str, **expected: object) -> dict[str, Any]:
        """Return the next event of a port that says what is expected."""
        while True:
            line = self._lines.get(timeout=DEADLINE_S)
            if "event" in line:
                self.events.append(line)
                data = line["data"]
                if data["id"] == port and expected.items() <= data.items():
                    return line

    def kill(self) -> None:
        """End it as the kernel would."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        if self.process.stdout:
            self.process.stdout.close()


def mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def port(number: int, **more: object) -> dict[str, Any]:
    """Return a port's value: tapN, 10.5.0.N+1 and 2001:db8:5::N+1 in network `net`."""
    return {
        "device": f"tap{number}",
        "mac": mac(number),
        "network": "net",
        "addresses": [f"10.5.{number + 1 >> 8}.{number + 1 & 255}", f"2001:db8:5::{number + 1:x}"],
    } | more


NETWORK = {
    "subnets": [
        {"prefix": "10.5.0.0/16", "gateway": "10.5.0.1"},
        {"prefix": "2001:db8:5::/64", "gateway": "2001:db8:5::1"},
    ]
}


def intent(**ports: dict[str, Any]) -> dict[str, Any]:
    """Return store values of ports in network `net`."""
    values: dict[str, Any] = {"host/net/networks/net": NETWORK}
    return values | {f"host/net/ports/{name}": value for name, value in ports.items()}


class Host:
    """A host's namespace and those of its VMs."""

    def __init__(self) -> None:
        self._stem = f"cvw{os.getpid()}-{next(_numbers)}"
        self.namespace = Namespace(f"{self._stem}-host")
        self.vms: dict[int, Namespace] = {}
        self._open: list[WiringProcess | Capture | Stream] = []

    def vm(self, number: int) -> Namespace:
        """Return a VM behind tapN that believes its whole /16 to be on its link."""
        vm = Namespace(f"{self._stem}-vm{number}")
        self.vms[number] = vm
        vm.run("sysctl", "-qw", "net.ipv6.conf.default.accept_ra=0")
        ends = f"tap{number} type veth peer name eth0 netns {vm.name} address {mac(number)}"
        self.namespace.batch([f"link add {ends}"])
        low = port(number)["addresses"]
        vm.batch(
            [
                f"address add {low[0]}/16 dev eth0",
                f"address add {low[1]}/128 dev eth0 nodad",  # as DHCPv6 gives it: RFC 8415
                "link set eth0 up",
                "route add default via 10.5.0.1",
                f"route add ::/0 via {GATEWAY_LINK_LOCAL} dev eth0",
            ]
        )
        return vm

    def wiring(self) -> WiringProcess:
        """Start a process that wires this host's taps."""
        made = WiringProcess(self.namespace)
        self._open.append(made)
        return made

    def capture(self, namespace: Namespace, *words: str) -> "Capture":
        """Begin to capture what arrives at a VM's interface."""
        made = Capture(namespace, "eth0", words)
        self._open.append(made)
        return made

    def stream(self, source: Namespace, target: str) -> "Stream":
        """Begin to send echo requests from a VM."""
        made = Stream(source, target)
        self._open.append(made)
        return made

    def remove(self) -> None:
        for one in self._open:
            one.close()
        for namespace in (*self.vms.values(), self.namespace):
            namespace.remove()


@contextlib.contextmanager
def host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.remove()


def ping(source: Namespace, target: str, count: int = 3) -> list[int]:
    """Return the numbers of the echo requests that were not answered."""
    lost: list[int] = source.json(sys.executable, str(PROBE), target, str(count))["lost"]
    return lost


class Stream:
    """Echo requests every 2 ms from one namespace, from construction to `stop`."""

    def __init__(self, source: Namespace, target: str) -> None:
        self._process = subprocess.Popen(
            source.argv(sys.executable, str(PROBE), target),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> tuple[int, list[int]]:
        """Return how many were sent, and the numbers of those not answered."""
        out, _ = self._process.communicate("stop\n", timeout=DEADLINE_S)
        said = json.loads(out)
        return said["sent"], said["lost"]


class Capture:
    """All frames that arrive at a device of a namespace, as tcpdump's lines."""

    def __init__(self, namespace: Namespace, device: str, words: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            namespace.argv(
                "tcpdump", "--immediate-mode", "-lnne", "-Q", "in", "-i", device, *words
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr
        for line in self._process.stderr:
            if "listening on" in line:
                break

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> list[str]:
        """Return what was seen."""
        self._process.terminate()
        out, _ = self._process.communicate(timeout=DEADLINE_S)
        return [line for line in out.splitlines() if line]
