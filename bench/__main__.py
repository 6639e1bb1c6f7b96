"""`python -m bench [NAME …]`: run the benches, print a table each, write build/bench/NAME.json."""

import argparse
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import bench
from bench import result

DIRECTORY = Path("build/bench")


PREFACE = """# Performance

Figures of one run, each beside its peer in the same run; ratios are what to compare, for the
machine is shared and its speed drifts. `make bench` measures all of it;
`python -m bench --document docs/performance.md` writes this page.

Machine: {machine}.
"""


def names() -> list[str]:
    """Return the benches there are: modules with a `measure`."""
    return [one.name for one in pkgutil.iter_modules(bench.__path__) if one.name not in _PARTS]


_PARTS = ("__main__", "result", "lab", "guest", "clock_hardware_guest", "clock_fallback_guest")


def main() -> None:
    """Run the benches that the command line names, all when it names none."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--document",
        type=Path,
        metavar="FILE",
        help="also write a page such as docs/performance.md",
    )
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(names())}")
    arguments = parser.parse_args()
    wanted = arguments.name or names()
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        parser.error(f"no such bench: {', '.join(unknown)}; there are {', '.join(names())}")
    machine = ", ".join(f"{key} {value}" for key, value in result.machine().items())
    if len(wanted) == 1:
        print(machine)
        _run(wanted[0])
    else:
        for name in wanted:  # each in a process of its own: memory is measured, too
            subprocess.run([sys.executable, "-m", "bench", name], check=True)
    if arguments.document:
        sections = [result.markdown(name, result.read(DIRECTORY, name)) for name in wanted]
        arguments.document.write_text("\n".join([PREFACE.format(machine=machine), *sections]))


def _run(name: str) -> None:
    result.progress(name)
    rows = importlib.import_module(f"bench.{name}").measure()
    path = result.write(DIRECTORY, name, rows)
    print(f"\n{result.text(rows)}\n\n({path})")


if __name__ == "__main__":
    main()
