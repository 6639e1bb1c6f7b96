"""Boots a guest with simulated NICs and runs pytest in it: `python -m hwsim [PYTEST ARGUMENTS]`."""

import sys

from hwsim.guest import booted, python


def main(arguments: list[str]) -> int:
    """Return pytest's exit code."""
    where = () if any(word.startswith("tests/") for word in arguments) else ("tests/hwsim",)
    with booted() as machine:
        print(f"hwsim: guest with kernel {machine.kernel.release} is up", flush=True)
        words = ("-m", "pytest", "-p", "no:cacheprovider", *where, *arguments)
        done = python(machine, *words, told=_show)
        if done.code > 1:
            print(machine.console.read_text(errors="replace")[-3000:])
    return done.code


def _show(said: bytes) -> None:
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
