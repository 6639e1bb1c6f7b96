"""Packages: how fast they are built and verified, in how much memory, and how equal rebuilds are.

The peer is what the community's scripts do by hand: `tar`, `gzip -n`, `sha256sum`, `sha1sum` and
`ar`. Both sides run turn by turn as whole processes and are judged by the processor time that they
take, which is what one core gives. CHRONOVISOR_BENCH_FULL=1 takes a package of 2 GB for the
memory, which needs some minutes and 7 GB of disk.
"""

import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from bench.result import Row, progress, row

MB = 1_000_000
TREE_MB = 48
LARGE_MB = 2000 if os.environ.get("CHRONOVISOR_BENCH_FULL") else 256
TURNS = 3
REBUILDS = 20

TOML = """\
name = "bench"
version = "1.0-1"
vendor = "example"
release-date = 2026-01-02T03:04:05Z
"""
# the large package is for reading: how well it is packed is another figure's matter
QUICKLY = (
    TOML
    + """
[[payload]]
name = "payload1"
level = 1
"""
)
OURS = "from chronovisor.cli.main import main; main()"
# not the rusage of the process: that counts what its parent had in memory when it was forked
MEASURED = """
import sys; from chronovisor.cli.main import build
build(sys.argv[1:])(standalone_mode=False)
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""
BUILD_BY_HAND = """
tar --sort=name --format=ustar -cf - -C trx/payloads/payload1 . |
  tee >(sha256sum >a) >(sha1sum >b) | gzip -n | tee >(sha256sum >c) > payload1
: > sig.pkcs7; echo '<vib/>' > descriptor.xml
rm -f hand.vib; ar qcD hand.vib descriptor.xml sig.pkcs7 payload1
wait
"""
VERIFY_BY_HAND = """
ar p x.vib payload1 | tee >(sha256sum >c) | gzip -dc | tee >(sha256sum >a) >(sha1sum >b) |
  tar -t > listing
wait
"""


def measure() -> list[Row]:
    """Return the figures of building, verifying, rebuilding and of the memory it takes."""
    with tempfile.TemporaryDirectory(prefix="bench-vib-", dir="/var/tmp") as name:
        directory = Path(name)
        size_mb = _tree(directory / "trx", TREE_MB)
        progress(f"build a package of {size_mb:.0f} MB, ours and GNU's by turns")
        create = _visorctl("vib", "create", "trx", "-o", "x.vib")
        build = _turns(directory, create, BUILD_BY_HAND)
        goal = "as fast as tar, gzip and ar"
        large = directory / "large"
        large_mb = _tree(large / "trx", LARGE_MB, QUICKLY)
        build_memory = _memory("build", create, large, large_mb)
        progress(f"verify a package of {large_mb:.0f} MB, ours and GNU's by turns")
        check = _visorctl("vib", "verify", "x.vib")
        verify = _turns(large, check, VERIFY_BY_HAND)
        return [
            _speed("build a package", goal, size_mb, build),
            _speed("verify a package", "100 MB/s on one core", large_mb, verify),
            build_memory,
            _memory("verify", check, large, large_mb),
            _rebuilds(directory),
        ]


def _tree(directory: Path, megabytes: int, toml: str = TOML) -> float:
    """Make a tree of programs, as packages hold them, and return its size in MB."""
    target = directory / "payloads" / "payload1" / "opt" / "bench"
    target.mkdir(parents=True)
    (directory / "vib.toml").write_text(toml)
    size = 0
    for number, program in enumerate(cycle(_programs())):
        size += program.stat().st_size
        if size > megabytes * MB:
            return (size - program.stat().st_size) / MB
        shutil.copyfile(program, target / f"{number:06}")
    raise AssertionError("there are no programs to pack")


def _programs() -> list[Path]:
    found = [path for path in sorted(Path("/usr/bin").iterdir()) if path.is_file()]
    return [path for path in found if 0 < path.stat().st_size < MB and os.access(path, os.R_OK)]


def _visorctl(*words: str) -> list[str]:
    return [sys.executable, "-c", OURS, *words]


def _turns(directory: Path, ours: Sequence[str], by_hand: str) -> tuple[float, float]:
    """Return the median processor seconds of both, run in turn."""
    commands = (ours, ["/bin/bash", "-ec", by_hand])
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for command, taken in zip(commands, seconds, strict=True):
            before = _processor_s()
            _run(command, directory)
            taken.append(_processor_s() - before)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(command: Sequence[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr}")
    return done.stdout


def _speed(name: str, goal: str, size_mb: float, seconds: tuple[float, float]) -> Row:
    ours_s, peer_s = seconds
    note = f"{size_mb:.0f} MB unpacked, by processor time, the start of the process included"
    peer = size_mb / peer_s
    return row(name, size_mb / ours_s, "MB/s", goal=goal, peer=peer, note=note)


def _rebuilds(directory: Path) -> Row:
    """Build the same small tree again and again, as if checked out anew each time."""
    progress(f"build a package {REBUILDS} times")
    _tree(directory / "small", 1)
    digests = set()
    for number in range(REBUILDS):
        for path in (directory / "small").rglob("*"):
            os.utime(path, (number, number))
        _run(_visorctl("vib", "create", "small", "-o", "small.vib"), directory)
        digests.add(hashlib.sha256((directory / "small.vib").read_bytes()).hexdigest())
    note = f"of {REBUILDS} builds from trees whose files have other times"
    return row("different rebuilds", len(digests), "results", goal="1", note=note)


def _memory(what: str, command: list[str], directory: Path, size_mb: float) -> Row:
    """Run one of the commands above so that it tells how much memory it took."""
    progress(f"memory to {what} {size_mb:.0f} MB")
    measured = [MEASURED if part == OURS else part for part in command]
    peak_kib = int(_run(measured, directory).split()[-1])
    note, goal = f"a package of {size_mb:.0f} MB", "under 100 MB for 2 GB"
    return row(f"memory to {what}", peak_kib * 1024 / MB, "MB", goal=goal, note=note)
