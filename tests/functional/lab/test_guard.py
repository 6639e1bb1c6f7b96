"""Nothing in a lab can set a clock of this machine.

The calls below would change nothing if they were allowed: they set what is there already. And
they are made only where the right to make them is known to be missing.
"""

from pathlib import Path

from labs import Lab

CAP_SYS_TIME = 25  # linux/capability.h

_TRY = """
import ctypes, os, sys, time
words = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
    assert not int(words[name], 16) >> 25 & 1, name
libc = ctypes.CDLL(None, use_errno=True)
timex = (ctypes.c_byte * 208)()
assert libc.adjtimex(timex) >= 0  # reading is allowed
ctypes.c_uint.from_buffer(timex).value = 0x0002  # ADJ_FREQUENCY, to what it is
assert libc.adjtimex(timex) == -1
print(os.strerror(ctypes.get_errno()))
try:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
except OSError as error:
    print(error.strerror)
"""


def test_no_command_on_a_node_can_set_the_clock(lab: Lab) -> None:
    lab.do("up", "--hosts", "0")
    said = lab.on("gm1", "/usr/bin/python3", "-c", _TRY)
    assert said.splitlines() == ["Operation not permitted"] * 2


def test_no_process_of_a_lab_can_set_the_clock(lab: Lab) -> None:
    lab.do("up", "--hosts", "0", "--start-grandmaster", "1", "--start-grandmaster", "2")
    pids = [node["pid"] for node in lab.status()["nodes"]]
    assert len(pids) == 2
    for pid in pids:
        words = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            assert not int(words[name], 16) >> CAP_SYS_TIME & 1, (pid, name)
        assert int(words["CapEff"], 16), "it is root otherwise"
