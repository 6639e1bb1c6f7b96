"""The Config Store's schema: every key of every plane, in one place."""

from chronovisor.clock.engine import Engine
from chronovisor.clock.settings import PATH, SystemTime
from chronovisor.config import Registry
from chronovisor.errors import Problem


def registry(engine: Engine) -> Registry:
    """Return the keys that a host knows; time settings are judged by the installed linuxptp."""

    def check_system_time(settings: object) -> list[Problem]:
        assert isinstance(settings, SystemTime)
        return engine.check(settings)

    keys = Registry()
    keys.register(PATH, SystemTime, description="How this host keeps time", check=check_system_time)
    return keys
