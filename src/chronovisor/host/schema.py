"""The Config Store's schema: every key of every plane, in one place."""

from chronovisor.clock.chrony import directives
from chronovisor.clock.engine import Engine
from chronovisor.clock.settings import PATH, SystemTime
from chronovisor.config import Registry
from chronovisor.errors import Problem
from chronovisor.net.settings import (
    METADATA,
    NETWORKS,
    PORTS,
    SECURITY_GROUPS,
    VM_NETWORKING,
    Metadata,
    Network,
    Port,
    SecurityGroup,
    VmNetworking,
)


def registry(engine: Engine) -> Registry:
    """Return the keys that a host knows; time settings are judged by the installed linuxptp."""

    def check_system_time(settings: object) -> list[Problem]:
        assert isinstance(settings, SystemTime)
        return [*engine.check(settings), *directives.check(settings)]

    keys = Registry()
    keys.register(PATH, SystemTime, description="How this host keeps time", check=check_system_time)
    keys.register(VM_NETWORKING, VmNetworking, description="Whether this host connects VMs")
    keys.register(NETWORKS, Network, instances=True, description="A network as VMs see it")
    keys.register(
        SECURITY_GROUPS, SecurityGroup, instances=True, description="Traffic that ports let through"
    )
    keys.register(PORTS, Port, instances=True, description="An interface of a VM")
    keys.register(METADATA, Metadata, description="Where VMs' metadata come from")
    return keys
