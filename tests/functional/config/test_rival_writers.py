"""Two processes, one store: of two changes decided on one revision exactly one is made."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from chronovisor.config import ConfigStore, Registry, SqliteBackend

WRITER = Path(__file__).with_name("rival_writer.py")
ROUNDS = 60


@contextmanager
def writer(path: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        assert read(process) == "ready"
        yield process
    finally:
        process.communicate(timeout=30)


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdin
    process.stdin.write(f"{number}\n")


def test_each_round_has_exactly_one_winner(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    with writer(path, "ann") as ann, writer(path, "bob") as bob:
        for revision in range(ROUNDS):
            for process in (ann, bob):
                tell(process, revision)
            answers = {"ann": read(ann), "bob": read(bob)}
            winners = [name for name, answer in answers.items() if answer == "won"]
            assert len(winners) == 1, answers
            loss = next(answer for answer in answers.values() if answer != "won")
            assert f"at revision {revision + 1}, not at {revision} as expected" in loss
            assert f"{winners[0]} changed host/test/sample/{winners[0]}" in loss
    with closing(ConfigStore(SqliteBackend(path), Registry())) as store:
        assert store.revision == ROUNDS


def test_without_an_expected_revision_nobody_loses_a_change(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    with writer(path, "ann") as ann, writer(path, "bob") as bob:
        for number in range(1, ROUNDS + 1):
            for process in (ann, bob):
                tell(process, -number)
        for process in (ann, bob):
            assert [read(process) for _ in range(ROUNDS)] == ["won"] * ROUNDS
    with closing(ConfigStore(SqliteBackend(path), Registry())) as store:
        assert store.revision == 2 * ROUNDS
        assert {str(e.path)[-3:]: e.value["rate"] for e in store.entries()} == {
            "ann": ROUNDS,
            "bob": ROUNDS,
        }
