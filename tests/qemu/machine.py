"""One QEMU guest and commands inside it.

Under TCG: no /dev/kvm is needed. The guest's console goes into a file whose end is in every error;
commands and what they write go over a virtio port. QEMU ends with this process, however that ends.
"""

import base64
import contextlib
import ctypes
import os
import secrets
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from qemu import initramfs
from qemu.kernels import Kernel

BOOT_DEADLINE_S = 120.0
COMMAND_DEADLINE_S = 120.0
BOOTS = 3
HALF_REWRITTEN = "int3: 0000"
"""What the console says of a guest that met QEMU's fault (CONTRIBUTING.md, "Guests of QEMU"). Where
that is while it boots it boots again, at most so often altogether."""

TAIL = 3000
"""Characters of the console that an error shows."""

_CHECKOUT = Path(__file__).parents[2]
_MSIZE = 512 * 1024
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class MachineError(AssertionError):
    """A guest did not do what it should; the message ends with what its console said last."""


@dataclass(frozen=True, slots=True)
class Nic:
    """A virtio NIC of the guest on a tap that exists; `mac` names it inside."""

    tap: str
    mac: str
    model: str = "virtio-net-pci"


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended: its exit code, and what it wrote to output and errors together."""

    code: int
    output: bytes

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode(errors="replace")


def _end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    """A guest; `with Machine(...)` boots it, and nothing of it is left afterwards.

    - `root`: None: busybox alone; a directory: that tree, read-only through 9p; a file: an image
      (raw, of file system `fstype`) as /dev/vda. All writes go to a layer in the guest's memory
      unless `writable`.
    - `init`: what becomes PID 1 in `root` (`/sbin/init`); None: only the control shell.
    - `files`: contents by name, which the guest finds in /run/guest/files.
    - `prefix`: words before QEMU's own, e.g. `ip netns exec NAME` where its taps are.
    - `modules`: kernel modules that are loaded before the root is mounted.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        root: Path | None = None,
        init: str | None = None,
        fstype: str = "ext4",
        writable: bool = False,
        memory_mib: int = 1024,
        cpus: int = 2,
        nics: Sequence[Nic] = (),
        append: str = "",
        files: Mapping[str, bytes] | None = None,
        modules: Sequence[str] = initramfs.MODULES,
        prefix: Sequence[str] = (),
        qemu: Sequence[str] = (),
        boot_deadline_s: float = BOOT_DEADLINE_S,
    ) -> None:
        self.kernel = kernel
        self.root = root
        self._tree = root is not None and root.is_dir()
        self._append, self._modules, self._more = append, modules, tuple(qemu)
        self._memory_mib, self._cpus, self._nics = memory_mib, cpus, tuple(nics)
        self._prefix, self._boot_deadline_s = tuple(prefix), boot_deadline_s
        self._files = {f"files/{name}": content for name, content in (files or {}).items()}
        image = "/dev/vda" if root is not None else ""
        self._parameters = {
            "root": "root" if self._tree else image,
            "fstype": fstype,
            "writable": "1" if writable else "",
            "modules": "modules",
            "visible": str(_CHECKOUT) if _CHECKOUT.is_relative_to("/tmp") else "",
            "init": init or "",
            "msize": str(_MSIZE),
        }
        self._directory = tempfile.TemporaryDirectory(prefix="cv-qemu-")
        self.console = Path(self._directory.name) / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = b""
        self.boot_s = 0.0

    def __enter__(self) -> "Machine":
        """Boot, and return once the guest takes commands. Raises `MachineError`."""
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def _boot(self) -> None:
        for boots_left in reversed(range(BOOTS)):
            try:
                return self._boot_once()
            except MachineError:
                if not (boots_left and HALF_REWRITTEN in self._console_text()):
                    raise
                self._end()
        return None

    def _boot_once(self) -> None:
        self._start()
        began = time.monotonic()
        self._seen = b""
        self._read_until(b"\0ready\n", began + self._boot_deadline_s, "boot", None)
        self.boot_s = time.monotonic() - began

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    @property
    def pid(self) -> int:
        """QEMU's process."""
        assert self._process is not None, "the machine is not started"
        return self._process.pid

    def close(self) -> None:
        """Switch the guest off, without asking it. May be called again."""
        self._end()
        self._directory.cleanup()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None

    def argv(self) -> list[str]:
        """Return QEMU's command line."""
        # The TSC of TCG is the host's, one for all virtual CPUs; the kernel cannot know that and
        # would take the PM timer, whose every read leaves the guest and which counts 279 ns.
        append = f"console=ttyS0 panic=-1 quiet tsc=reliable mitigations=off {self._append}"
        words = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", str(self._cpus), "-m", str(self._memory_mib), "-no-reboot", "-nodefaults"),
            *("-display", "none", "-serial", f"file:{self.console}"),
            *("-kernel", str(self.kernel.image), "-append", append.strip()),
            *("-initrd", str(Path(self._directory.name) / "initramfs")),
            *("-device", "virtio-serial-pci", "-chardev", "stdio,id=control,signal=off"),
            *("-device", "virtserialport,chardev=control,name=control"),
            *("-device", "virtio-rng-pci"),
            *_tree("modules", self.kernel.modules),
        ]
        if self.root is not None and self._tree:
            words += _tree("root", self.root, read_only=not self._parameters["writable"])
        elif self.root is not None:
            mode = "off" if self._parameters["writable"] else "on"
            words += ["-drive", f"file={self.root},if=virtio,format=raw,readonly={mode}"]
        for number, nic in enumerate(self._nics):
            words += [
                *("-netdev", f"tap,id=nic{number},ifname={nic.tap},script=no,downscript=no"),
                *("-device", f"{nic.model},netdev=nic{number},mac={nic.mac},romfile="),
            ]
        return [*self._prefix, *words, *self._more]

    def _start(self) -> None:
        initramfs.check_busybox()
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in self._parameters.items())
        own = initramfs.archive({"parameters": text.encode(), **self._files})
        whole = Path(self._directory.name) / "initramfs"
        whole.write_bytes(initramfs.base(self.kernel, self._modules) + own)
        self._process = subprocess.Popen(
            self.argv(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
            start_new_session=True,  # ^C is ours to handle, not QEMU's
        )

    def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        deadline_s: float = COMMAND_DEADLINE_S,
        told: Callable[[bytes], object] | None = None,
    ) -> Finished:
        """Run a command as root in the guest, and return when it ended.

        `told` gets its output as it comes. Raises `MachineError` at the deadline or when the guest
        dies; after a deadline the guest is of no more use.
        """
        words = [shlex.quote(word) for word in argv]
        given = [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
        start = ["env", *given] if given else []
        return self.shell(
            f"cd {shlex.quote(cwd)} && exec {' '.join([*start, *words])}",
            deadline_s=deadline_s,
            told=told,
        )

    def shell(
        self,
        script: str,
        *,
        deadline_s: float = COMMAND_DEADLINE_S,
        told: Callable[[bytes], object] | None = None,
    ) -> Finished:
        """Run a script of busybox's shell in the guest; otherwise as `run`."""
        assert self._process is not None, "the machine is not started"
        assert self._process.stdin is not None
        token = secrets.token_hex(8).encode()
        line = token + b" " + base64.b64encode(script.encode()) + b"\n"
        deadline = time.monotonic() + deadline_s
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError as error:
            raise self._failed(f"the guest takes no command: {error}") from error
        output = self._read_until(b"\0" + token + b" ", deadline, script, told)
        code = self._read_until(b"\n", deadline, script, None)
        return Finished(int(code), output)

    def check(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        deadline_s: float = COMMAND_DEADLINE_S,
    ) -> Finished:
        """Run a command that has to succeed. Raises `MachineError`."""
        done = self.run(*argv, env=env, cwd=cwd, deadline_s=deadline_s)
        if done.code:
            raise self._failed(f"{shlex.join(argv)}: exit code {done.code}\n{done.text[-TAIL:]}")
        return done

    def _read_until(
        self,
        mark: bytes,
        deadline: float,
        what: str,
        told: Callable[[bytes], object] | None,
    ) -> bytes:
        """Return what comes before `mark`, and hand it on while it comes."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        handed = 0
        while (end := self._seen.find(mark)) < 0:
            # the mark may be half there
            if told and (safe := len(self._seen) - len(mark) + 1) > handed:
                told(self._seen[handed:safe])
                handed = safe
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                raise self._failed(f"not in time: {what}")
            more = os.read(pipe, 1 << 16)
            if not more:
                code = self._process.wait()
                raise self._failed(f"the guest ended (QEMU's exit code {code}): {what}")
            self._seen += more
        found, self._seen = self._seen[:end], self._seen[end + len(mark) :]
        if told and found[handed:]:
            told(found[handed:])
        return found

    def _failed(self, what: str) -> MachineError:
        said = self._seen[-TAIL:].decode(errors="replace").strip()
        console = f"console:\n{self._console_text()[-TAIL:]}"
        parts = [what, f"it said last:\n{said}" if said else "", console]
        return MachineError("\n".join(part for part in parts if part))

    def _console_text(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""


def _tree(tag: str, path: Path, *, read_only: bool = True) -> list[str]:
    """Return the options that show a directory of ours to the guest."""
    mode = "on" if read_only else "off"
    options = f"local,path={path},mount_tag={tag},security_model=passthrough,readonly={mode}"
    return ["-virtfs", f"{options},multidevs=remap"]
