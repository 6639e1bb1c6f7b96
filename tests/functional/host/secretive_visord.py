"""visord with one more key in its schema, which holds a secret; the real ones have none so far."""

from pydantic import BaseModel, ConfigDict

from chronovisor.clock.engine import Engine
from chronovisor.config import Registry, Secret
from chronovisor.host import schema

PATH = "host/test/peer"


class Peer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = "somebody"
    password: Secret = ""


_real = schema.registry


def registry(engine: Engine) -> Registry:
    keys = _real(engine)
    keys.register(PATH, Peer, description="Somebody with a password")
    return keys


if __name__ == "__main__":
    schema.registry = registry
    from chronovisor.host.main import main

    main()
