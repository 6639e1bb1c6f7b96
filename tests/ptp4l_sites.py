"""PTP clocks in network namespaces of their own, on one cable or switch, run by ptp4l.

ptp4l gets `--free_running=1` on its command line, which locks it: no clock is ever touched,
whatever its file says. All clocks read the one clock of this machine, so the true offset is 0.
"""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

DEADLINE_S = 40

_HOLD = "ip link set lo up; echo ready; read end"


@dataclass
class Run:
    """A running daemon; its lines end with it, or at the deadline."""

    process: "subprocess.Popen[str]"
    seen: list[str] = field(default_factory=list)

    def first_with(self, *words: str) -> str:
        """Return the first new line with one of the words; fails with all lines if none comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(line)
            if any(word in line for word in words):
                return line
        raise AssertionError(f"no line with {words}:\n{''.join(self.seen)}")

    def offset_ns(self) -> int:
        """Return the median of its next three offsets, once it knows the path delay.

        One alone says little where a busy machine stamps a packet late.
        """
        offsets: list[int] = []
        while len(offsets) < 3:
            words = self.first_with("master offset").split("master offset")[1].split()
            if int(words[-1]) != 0:
                offsets.append(int(words[0]))
        return sorted(offsets)[1]

    def end(self) -> None:
        """End the daemon now."""
        self.process.kill()
        self.process.wait()


class Site:
    """Namespaces; node N has the device `eth0` with 192.0.2.N and 2001:db8::N.

    Two are at the ends of a cable: a switch does not forward 01:80:C2:00:00:0E (IEEE 802.1Q table
    8-1). More are on a switch.
    """

    def __init__(self, stack: contextlib.ExitStack, nodes: int) -> None:
        self._stack = stack
        self._nodes = [self._namespace() for _ in range(nodes)]
        self._connect()
        for number, node in enumerate(self._nodes, start=1):
            self._do(
                node,
                "sysctl -qw net.ipv6.conf.eth0.accept_dad=0; "
                f"ip address add 192.0.2.{number}/24 dev eth0 && "
                f"ip address add 2001:db8::{number}/64 dev eth0 nodad && ip link set eth0 up && "
                "ip route add 224.0.0.0/4 dev eth0",
            )

    def _connect(self) -> None:
        if len(self._nodes) == 2:
            one, other = self._nodes
            self._do(one, f"ip link add eth0 type veth peer name eth0 netns {other}")
            return
        switch = self._namespace()
        self._do(switch, "ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up")
        for number, node in enumerate(self._nodes, start=1):
            self._do(
                switch,
                f"ip link add s{number} type veth peer name eth0 netns {node} && "
                f"ip link set s{number} master br0 up",
            )

    def _namespace(self) -> int:
        holder = self._stack.enter_context(
            subprocess.Popen(
                ["unshare", "-n", "sh", "-ec", _HOLD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        self._stack.callback(holder.stdin.close)
        assert holder.stdout.readline() == "ready\n"
        return holder.pid

    @staticmethod
    def _inside(pid: int) -> list[str]:
        return ["nsenter", f"--net=/proc/{pid}/ns/net"]

    def _do(self, pid: int, script: str) -> None:
        subprocess.run([*self._inside(pid), "sh", "-ec", script], check=True)

    def run(self, node: int, argv: tuple[str, ...]) -> Run:
        """Run a ptp4l on a node (from 1) until the end of the test."""
        command = [*self._inside(self._nodes[node - 1]), *argv, "--free_running=1"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        timer = threading.Timer(DEADLINE_S, process.kill)
        timer.start()

        def end() -> None:
            timer.cancel()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

        self._stack.callback(end)
        return Run(process)


@contextlib.contextmanager
def site(nodes: int) -> Iterator[Site]:
    """Make a site that is gone afterwards."""
    with contextlib.ExitStack() as stack:
        yield Site(stack, nodes)
