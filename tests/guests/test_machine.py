"""Guests of tests/qemu: they boot, run commands, and never outlive whoever started them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu import Kernel, Machine, MachineError, debian_kernel
from visords import until

KILLED = """
import signal, sys
from pathlib import Path
from qemu import Machine, debian_kernel
with Machine(debian_kernel()) as machine:
    print(machine.pid, machine.console.parent, flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return debian_kernel()


@pytest.fixture(scope="module")
def machine(kernel: Kernel) -> Iterator[Machine]:
    with Machine(kernel, root=Path("/"), files={"note": b"brought along\n"}) as machine:
        yield machine


def test_it_runs_the_kernel_it_was_given(machine: Machine, kernel: Kernel) -> None:
    assert machine.check("uname", "-r").text == f"{kernel.release}\n"


def test_a_command_brings_back_all_it_wrote_and_its_exit_code(machine: Machine) -> None:
    odd = "two\nlines 'quoted' \\ \"and\" $HOME ü"
    done = machine.run("sh", "-c", 'printf %s "$1"; printf "\\0\\377"; exit 7', "sh", odd)
    assert (done.code, done.output) == (7, odd.encode() + b"\0\xff")


def test_output_comes_while_the_command_runs(machine: Machine) -> None:
    told: list[bytes] = []
    done = machine.run("seq", "20000", told=told.append)
    assert b"".join(told) == done.output == b"".join(b"%d\n" % n for n in range(1, 20001))
    assert len(told) > 1


def test_this_machine_is_there_and_nothing_written_reaches_it(
    machine: Machine, tmp_path: Path
) -> None:
    # tmp_path lies in /tmp, which is the guest's own
    assert machine.check("cat", __file__).output == Path(__file__).read_bytes()
    made = Path(__file__).with_name("made-in-the-guest")
    machine.check("sh", "-c", f"echo written >{made} && grep -q written {made}")
    assert not made.exists()
    assert machine.run("test", "-e", str(tmp_path)).code != 0


def test_files_brought_along_and_modules_are_there(machine: Machine) -> None:
    assert machine.check("cat", "/run/guest/files/note").text == "brought along\n"
    machine.check("ip", "link", "add", "v0", "type", "veth")  # the kernel loads veth by itself


def test_a_deadline_names_the_command_and_shows_what_it_said(kernel: Kernel) -> None:
    said = r"(?s)not in time: .*sleep 99.*said last:\nbefore"
    with Machine(kernel) as machine, pytest.raises(MachineError, match=said):
        machine.run("sh", "-c", "echo before; sleep 99", deadline_s=3)


def test_a_guest_that_dies_is_told_with_its_console(kernel: Kernel) -> None:
    said = r"(?s)the guest ended.*console:.*Kernel panic"
    with Machine(kernel) as machine, pytest.raises(MachineError, match=said):
        machine.run("sh", "-c", "echo c >/proc/sysrq-trigger")


class Unlucky(Machine):
    """A guest that dies at its first boot, as the console says."""

    boots = 0
    says = ""

    def _boot_once(self) -> None:
        super()._boot_once()
        self.boots += 1
        if self.boots == 1:
            self.console.write_text(self.says)
            raise self._failed("the guest ended")


def test_a_guest_that_met_the_fault_of_qemu_boots_again(kernel: Kernel) -> None:
    unlucky = Unlucky(kernel)
    unlucky.says = "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"
    with unlucky:
        assert unlucky.boots == 2
        assert unlucky.check("echo", "well").text == "well\n"
    other = Unlucky(kernel)
    other.says = "Kernel panic - not syncing: No working init found"
    with pytest.raises(MachineError, match="No working init"), other:
        pass
    assert other.boots == 1


def test_nothing_is_left_of_a_guest_whose_test_was_killed() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    pid, directory = starter.stdout.readline().split()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()

    def gone() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 0)
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        return True

    until("QEMU ended", gone)
    for left in Path(directory).iterdir():
        left.unlink()
    Path(directory).rmdir()
