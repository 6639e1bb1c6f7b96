"""A process that tries to be the first to change a revision. Not a test itself.

Each line read is the revision to change; each line written is "won" or the refusal.
"""

import sys

from pydantic import BaseModel

from chronovisor.config import Change, ConfigStore, Registry, SqliteBackend
from chronovisor.errors import Conflict


class Sample(BaseModel):
    rate: int


def main(path: str, name: str) -> None:
    registry = Registry()
    registry.register("host/test/sample", Sample, instances=True, description="A sample")
    store = ConfigStore(SqliteBackend(path), registry)
    print("ready", flush=True)
    for line in sys.stdin:
        revision = int(line)
        change = Change(f"host/test/sample/{name}", {"rate": abs(revision)})
        try:
            # A negative number: whatever the revision, as often as asked.
            expected = revision if revision >= 0 else None
            store.commit([change], author=name, expected_revision=expected)
            print("won", flush=True)
        except Conflict as conflict:
            print(conflict.message, flush=True)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
