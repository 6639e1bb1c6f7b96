"""`python -m bench [NAME …]`: run the benches, print a table each, write build/bench/NAME.json."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import bench
from bench import result

DIRECTORY = Path("build/bench")


def names() -> list[str]:
    """Return the benches there are: modules with a `measure`."""
    return [one.name for one in pkgutil.iter_modules(bench.__path__) if one.name not in _PARTS]


_PARTS = ("__main__", "result", "lab")


def main() -> None:
    """Run the benches that the command line names, all when it names none."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(names())}")
    wanted = parser.parse_args().name or names()
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        parser.error(f"no such bench: {', '.join(unknown)}; there are {', '.join(names())}")
    print(" ".join(f"{key}: {value};" for key, value in result.machine().items()))
    for name in wanted:
        result.progress(name)
        rows = importlib.import_module(f"bench.{name}").measure()
        path = result.write(DIRECTORY, name, rows)
        print(f"\n{result.text(rows)}\n\n({path})")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
