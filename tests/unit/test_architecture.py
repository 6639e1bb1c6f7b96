"""The house stands: who may import whom, what things are called, what `--help` does not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import chronovisor

ROOT = Path(chronovisor.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

FLOORS = {
    "errors": 0,
    "config": 1,
    "worlds": 1,
    "clock": 2,
    "net": 2,
    "image": 2,
    "host": 3,
    "cli": 4,
    "lab": 4,
}
"""A part imports from floors below alone; parts of one floor do not know each other."""

NEIGHBOURS = {("cli", "lab")}
"""`visorctl lab` is the front of the lab."""

NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "manager", "common", "base"}

SLOW_TO_IMPORT = {"pydantic", "fastapi", "yaml", "rich", "uvicorn", "pyroute2", "cryptography"}


def part(module: str) -> str:
    """Return the part of the house that a dotted name belongs to, empty for the house itself."""
    _, _, rest = module.partition(".")
    return rest.partition(".")[0]


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import of ours in a module, also inside functions."""
    package = [chronovisor.__name__, *module.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from chronovisor import errors` names a part too
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.startswith("chronovisor."))


def test_every_part_has_its_floor() -> None:
    parts = {module.relative_to(ROOT).parts[0].removesuffix(".py") for module in MODULES}
    assert parts - {"__init__"} <= set(FLOORS)


def test_a_part_imports_from_floors_below_alone() -> None:
    wrong = []
    for module in MODULES:
        mine = part(f"chronovisor.{module.relative_to(ROOT).with_suffix('').as_posix()}")
        mine = mine.partition("/")[0]
        for line, name in imports(module):
            theirs = part(name)
            if theirs not in FLOORS or theirs == mine or (mine, theirs) in NEIGHBOURS:
                continue
            if mine not in FLOORS or FLOORS[theirs] >= FLOORS[mine]:
                wrong.append(f"{module.relative_to(ROOT)}:{line}: {mine} imports {name}")
    assert wrong == []


def test_names_say_what_a_module_is_about() -> None:
    words = {
        path.relative_to(ROOT).as_posix(): set(path.stem.lower().split("_"))
        for path in ROOT.rglob("*")
        if path.is_dir() or path.suffix == ".py"
    }
    assert [name for name, found in words.items() if found & NAMES_THAT_SAY_NOTHING] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        module.relative_to(ROOT).as_posix()
        for module in MODULES
        if module.stat().st_size
        and not ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    ]
    assert silent == []


def loaded_by(*words: str) -> set[str]:
    """Return the packages outside of the house that a `visorctl` with these words has loaded."""
    code = (
        "import sys\n"
        f"sys.argv = ['visorctl', *{words!r}]\n"
        "from chronovisor.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\nloaded', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_that_is_slow() -> None:
    loaded = loaded_by("--help")
    assert "typer" in loaded
    assert loaded & SLOW_TO_IMPORT == set()


def test_asking_visord_loads_nothing_that_is_slow() -> None:
    loaded = loaded_by("--socket", "/nonexistent", "clock", "status")
    # typer itself takes pydantic in when it reads the words of an option
    assert loaded & SLOW_TO_IMPORT <= {"pydantic"}
