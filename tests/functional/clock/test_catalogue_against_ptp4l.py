"""Our verdict on configuration files must be that of the installed ptp4l, for thousands of them.

Each run is in a network namespace of its own with nothing but `lo`, which has no hardware time
stamps; the command line locks time_stamping to hardware, so ptp4l ends right after its parser,
before it opens a clock or a socket. It also locks free_running to 1: no clock could be touched
even if it went on.
"""

import os
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from chronovisor.clock.catalogue import (
    LATER,
    Catalogue,
    Option,
    OptionType,
    Release,
    catalogue,
    first_refusal,
)

SEED = 1588
RANDOM_FILES = 1200
TRAPS: tuple[bytes, ...] = (
    b"",
    b"\n\n",
    b"# only a comment",
    b"priority1 1\n",
    b"[global]",
    b"[GLOBAL]\npriority1 1\n",
    b"[global] \npriority1 1\n",
    b"[global]\r\npriority1 1\r\n",
    b"\xef\xbb\xbf[global]\npriority1 1\n",
    b"[global] # comment\npriority1 1\n",
    b"[global]x\nlogSyncInterval 1\n",
    b"[ global ]\npriority1 1\n",
    b"[ global ]\nlogSyncInterval 1\n",
    b"[global\npriority1 1\n",
    b"[global\nlogSyncInterval 1\n",
    b"[]\n",
    b"[ ]\nlogSyncInterval 1\n",
    b"[[]]\n",
    b"[lo",
    b"[lo]\nlogSyncInterval 1\n[lo]\nlogSyncInterval 2\n",
    b"[lo][eth0]\nlogSyncInterval 1\n",
    b"[an interface]\nlogSyncInterval 1\n",
    b"[" + b"n" * 200 + b"]\nlogSyncInterval 1\n",
    b"[global]\npriority1\n",
    b"[global]\npriority1 \n",
    b"[global]\npriority1=1\n",
    b"[global]\npriority1 = 1\n",
    b"[global]\npriority1\t\t 1\n",
    b"[global]\n \t priority1\v1\f\n",
    b"[global]\npriority1 1 # why\n",
    b"[global]\n;priority1 1\n",
    b"[global]\n \t# comment\npriority1 1",
    b"[global]\npriority1 1\npriority1 300\n",
    b"[global]\npriority1 300\npriority1 1\n",
    b"[global]\nPriority1 1\n",
    b'[global]\npriority1 "1"\n',
    b"[global]\npriority1 +1\n",
    b"[global]\npriority1 0x\n",
    b"[global]\npriority1 0b1\n",
    b"[global]\npriority1 08\n",
    b"[global]\npriority1 0377\n",
    b"[global]\npriority1 0400\n",
    b"[global]\npriority1 1_0\n",
    b"[global]\npriority1 " + b"0" * 400 + b"7\n",
    b"[global]\npriority1 " + b"9" * 400 + b"\n",
    b"[global]\npriority1 -0\n",
    b"[global]\npriority1 - 1\n",
    b"[global]\npriority1 \xd9\xa3\n",
    b"[global]\npriority1 1\0 2\n",
    b"[global]\n\0priority9 1\n",
    b"[global]\nprio\0rity1 1\n",
    b"[global]\nuserDescription a \t b\n",
    b"[global]\nuserDescription \xff\xfe\n",
    b"[global]\nuserDescription # none\n",
    b"[global]\nuserDescription\n",
    b"[global]\nstep_threshold .\n",
    b"[global]\nstep_threshold 1e\n",
    b"[global]\nstep_threshold 0x1p-3\n",
    b"[global]\nstep_threshold 0x.p1\n",
    b"[global]\nstep_threshold 0x1p99999\n",
    b"[global]\nstep_threshold inf\n",
    b"[global]\nstep_threshold nan\n",
    b"[global]\nstep_threshold NAN(12_a)\n",
    b"[global]\nstep_threshold 1e-310\n",
    b"[global]\nstep_threshold 0x1p-1074\n",
    b"[global]\nstep_threshold 4.9406564584124654e-324\n",
    b"[global]\nstep_threshold 1e-400\n",
    b"[global]\nstep_threshold 0e-400\n",
    b"[global]\nstep_threshold 1e400\n",
    b"[global]\nstep_threshold 1,5\n",
    b"[global]\nstep_threshold 1e99999999999999999999\n",
    b"[global]\nfault_reset_interval ASAP\n",
    b"[lo]\nfault_reset_interval asap\nfault_badpeernet_interval Asap\n",
    b"[global]\npriority1 ASAP\n",
    b"[global]\nnonsense ASAP\n",
    b"[global]\npi_offset_const 1\npi_f_offset_const 1\npi_max_frequency 5\n",
    b"[lo]\npi_offset_const 1\n",
    b"[global]\npi_max_frequency -1\n",
    b"[global]\nslaveOnly 1\n",
    b"[lo]\nslaveOnly 1\n",
    b"[global]\nmasterOnly 1\n",
    b"[lo]\nmasterOnly 1\n",
    b"[lo]\nmasterOnly 2\n",
    b"[lo]\npriority1 1\n",
    b"[lo]\npriority1 300\n",
    b"[global]\n# " + b"c" * 1021 + b"\npriority1 1\n",
    b"[global]\n# " + b"c" * 1020 + b"\npriority1 1\n",
    b"[global]\n# " + b"c" * 1021 + b"priority1 1\n",
    b"[global]\n# " + b"c" * 1021 + b"priority9 1\n",
    b"[global]\n# " + b"c" * 3000 + b"\npriority1 1\n",
    b"[global]\npriority1 " + b" " * 1012 + b"1\n",
    b"[global]\npriority1 " + b" " * 1100 + b"1\n",
    b"[global]\nuserDescription " + b"d" * 1006 + b"\n",
    b"[global]\nuserDescription " + b"d" * 1007 + b"\n",
    b"[global]\nuserDescription " + b"d" * 1008 + b"\n",
    b"[unicast_master_table]\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv4 10.0.0.1\n",
    b"[Unicast_Master_Table]\ntable_id 1\nlogQueryInterval 2\nudpv4 10.0.0.1\npeer_address x\n",
    b"[unicast_master_table]\nUDPv4 10.0.0.1\n",
    b"[unicast_master_table]\nlogQueryInterval 2\n",
    b"[unicast_master_table]\npeer_address 10.0.0.1\n",
    b"[unicast_master_table]\ntable_id 0\n",
    b"[unicast_master_table]\ntable_id -1\n",
    b"[unicast_master_table]\ntable_id x\n",
    b"[unicast_master_table]\ntable_id\n",
    b"[unicast_master_table]\ntable_id5\n",
    b"[unicast_master_table]\ntable_id 5x\n",
    b"[unicast_master_table]\ntable_id 0x5\n",
    b"[unicast_master_table]\ntable_id 4294967297\n",
    b"[unicast_master_table]\ntable_id 99999999999999999999\n",
    b"[unicast_master_table]\ntable_id 1\ntable_id 1\n",
    b"[unicast_master_table]\ntable_id 1\n[unicast_master_table]\ntable_id 1\n",
    b"[unicast_master_table]\ntable_id 1\n[unicast_master_table]\nUDPv4 10.0.0.1\n",
    b"[unicast_master_table]\ntable_id 1\nlogQueryInterval 128\n",
    b"[unicast_master_table]\ntable_id 1\nlogQueryInterval -128\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv4 10.0.0\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv4 10.0.0.256\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv4 host\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv6 fe80::1\nL2 00:11:22:33:44:55\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv6 10.0.0.1\n",
    b"[unicast_master_table]\ntable_id 1\nL2 00:11:22:33:44\n",
    b"[unicast_master_table]\ntable_id 1\nL2 0:1:2:3:4:5trailing\n",
    b"[unicast_master_table]\ntable_id 1\nL3 00:11:22:33:44:55\n",
    b"[unicast_master_table]\ntable_id 1\nUDPv4\n",
    b"[unicast_master_table]\ntable_id 1\npeer_address\n",
    b"[unicast_master_table]\ntable_id 1\n[global]\npriority1 1\n",
    b"[unicast_master_table]\ntable_id 1\npriority1 1\n",
)
GARBAGE = ("x", "1x", "", "1 2", "0x", "1.5", "--1", "1e3", "∞", "yes", "true", "0x1G", "#")


PTP4L = os.environ.get("CHRONOVISOR_TEST_PTP4L", "ptp4l")
"""The ptp4l to compare with; name another build to check another release."""

_LOOP = """
program=$1; shift
for file do
  timeout 5 "$program" -m -q -l 6 -i lo --free_running=1 --time_stamping=hardware \
    --uds_address=/nonexistent/ptp4l -f "$file" > "$file.out" 2>&1
  echo "exit $?" >> "$file.out"
done
"""
_REFUSED = "failed to parse configuration file"
_MESSAGES = (
    (r"^(?P<why>unknown option) .* at line (?P<line>\d+) in ", None),
    (
        r" is an? (?P<why>bad value|malformed value|out of range value) for .* line (?P<line>\d+)$",
        None,
    ),
    (r"^(?P<why>could not parse) line (?P<line>\d+) in ", "could not parse line"),
    (r"^line (?P<line>\d+) is (?P<why>not in a section)$", None),
    (r"^(?P<why>could not parse port name) on line (?P<line>\d+)$", None),
    (r"^line (?P<line>\d+): .*(?P<why>out of range)", None),
    (r"^line (?P<line>\d+): .*(?P<why>already taken)$", None),
    (r"^line (?P<line>\d+): (?P<why>missing table_id|bad address)$", None),
    (r"^(?P<why>bad master table) at line (?P<line>\d+)$", None),
)


@dataclass(frozen=True, slots=True)
class Real:
    """What ptp4l said: the line and reason of its refusal, or neither; and all its output."""

    line: int | None
    why: str | None
    output: str


def ask_ptp4l(files: Sequence[Path], lanes: int = 2) -> list[Real]:
    """Return what ptp4l says of each file, in order."""
    shares = [files[lane::lanes] for lane in range(lanes)]
    running = [
        subprocess.Popen(["unshare", "-n", "sh", "-c", _LOOP, "sh", PTP4L, *map(str, share)])
        for share in shares
        if share
    ]
    for process in running:
        assert process.wait(timeout=300) == 0
    return [_read(file.with_name(file.name + ".out")) for file in files]


def _read(path: Path) -> Real:
    output = path.read_bytes().decode("latin-1")
    assert "exit 124" not in output, f"ptp4l did not end: {output}"
    lines = output.split("\n")
    if not any(line.startswith(_REFUSED) for line in lines):
        assert "does not support requested timestamping mode" in output or _START.search(output), (
            f"ptp4l ended for a reason unknown to this test: {output}"
        )
        return Real(None, None, output)
    said = "\n".join(lines[: next(i for i, s in enumerate(lines) if s.startswith(_REFUSED))])
    for pattern, why in _MESSAGES:
        if match := re.search(pattern, said, re.MULTILINE | re.DOTALL if "an?" in pattern else 8):
            return Real(int(match["line"]), why or match["why"], output)
    raise AssertionError(f"ptp4l refused with a message unknown to this test: {output}")


_START = re.compile(
    r"invalid (productDescription|revisionData|userDescription|manufacturerIdentity)"
    r"|needs at least two interfaces|TC needs|Cannot mix|failed to create a clock|sa_file"
)


def _values(option: Option) -> list[str]:
    """Values on and beside each edge of an option, and some that are none."""
    match option.type:
        case OptionType.ENUM:
            words = [*option.values, option.values[0].upper(), option.values[-1].lower()]
            return [*words, option.values[0] + "x", option.values[0][:-1], "0"]
        case OptionType.STRING:
            return ["a", "a b c", "0", "/var/run/x", "é"]
        case OptionType.DOUBLE:
            low, high = option.minimum, option.maximum
            edges = [f"{low!r}", f"{high!r}", "-1e-9", "1.0000001", "2.0000001", "1e308", "1e309"]
            return [*edges, "0.5", ".5", "5.", "0x1p-2", "-0", "1e-3", "nan", "inf", "-inf"]
    low, high = int(option.minimum), int(option.maximum)
    edges = [str(low - 1), str(low), str(high), str(high + 1)]
    return [*edges, f"{high:#x}", f"0{max(high, 0):o}", f"+{high}", str(high + 2**32), "ASAP"]


def _each_option(known: Catalogue) -> Iterator[bytes]:
    """One file for each option, section and value."""
    later = catalogue(LATER).options
    for name in sorted(later.keys() | known.options.keys()):
        option = known.options.get(name, later[name])
        for value in _values(option):
            for section in ("global", "lo"):
                yield f"[{section}]\n{name} {value}\n".encode()


class _Writer:
    """Writes whole files at random, most of their lines right."""

    def __init__(self, known: Catalogue, seed: int) -> None:
        self._random = random.Random(seed)
        self._options = list(known.options.values())

    def file(self) -> bytes:
        lines: list[str] = [] if self._chance(0.03) else ["[global]"]
        wrong = self._random.choice((0.0, 0.0, 0.1))
        in_port = not lines
        for _ in range(self._random.randrange(1, 25)):
            if self._chance(0.08):
                section = self._random.choice(("global", "lo", "eth1", "GLOBAL", "veth-a"))
                in_port = section.lower() != "global"
                lines.append(f"[{section}]")
            else:
                lines.append(self._line(in_port, wrong))
        end = self._random.choice(("\n", "\n", "\r\n"))
        return (end.join(lines) + self._random.choice(("", end))).encode()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _line(self, in_port: bool, wrong: float) -> str:
        if self._chance(0.12):
            return self._random.choice(
                ("", "  ", "\t", "# note", "  # note", "#", "# " + "c" * 1500)
            )
        option = self._random.choice(self._options)
        while not self._chance(wrong) and in_port and option.scope == "global":
            option = self._random.choice(self._options)
        name = option.name
        if self._chance(wrong / 4):
            name = self._random.choice((name + "s", name[1:], name.swapcase(), "unknown"))
        value = self._value(option, wrong)
        space = self._random.choice((" ", " ", " ", "\t", "   \t "))
        return (
            self._random.choice(("", "", " ", "\t"))
            + name
            + space
            + value
            + (self._random.choice(("", "", " ", "\t ")))
        )

    def _value(self, option: Option, wrong: float) -> str:
        if self._chance(wrong):
            return self._random.choice((*_values(option), *GARBAGE))
        if option.type is OptionType.ENUM:
            value = self._random.choice(option.values)
            return self._random.choice((value, value.lower(), value.upper()))
        if option.type is OptionType.STRING:
            return self._random.choice(("a", "/run/a b", "00:11:22"))
        if option.type is OptionType.DOUBLE:
            high = min(option.maximum, 1e9)
            return repr(self._random.uniform(max(option.minimum, -high), high))
        number = self._random.randint(int(option.minimum), int(option.maximum))
        shown = self._random.choice(("d", "d", "#x"))
        return self._random.choice(("", "+") if number >= 0 else ("",)) + format(number, shown)


@pytest.fixture(scope="module")
def known() -> Catalogue:
    said = subprocess.run([PTP4L, "-v"], capture_output=True, text=True, check=True, timeout=10)
    return catalogue(Release.parse(said.stdout))


def test_our_verdict_is_that_of_ptp4l(known: Catalogue, tmp_path: Path) -> None:
    writer = _Writer(known, SEED)
    contents = [*TRAPS, *_each_option(known), *(writer.file() for _ in range(RANDOM_FILES))]
    assert len(contents) >= 2000
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / f"{number}.cfg")
        files[-1].write_bytes(content)
    mismatches, refused = [], 0
    for content, real in zip(contents, ask_ptp4l(files), strict=True):
        ours = first_refusal(content, known)
        refused += real.why is not None
        said = (ours.line, str(ours.why)) if ours else (None, None)
        if said != (real.line, real.why):
            mismatches.append(f"{content[:300]!r}\n  ours {said}\n  ptp4l {real.output}")
    assert not mismatches, f"{len(mismatches)} of {len(contents)}:\n" + "\n".join(mismatches[:10])
    # Both kinds must really have been tried.
    assert refused > 500
    assert len(contents) - refused > 500
