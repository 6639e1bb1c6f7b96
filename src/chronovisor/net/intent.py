"""The whole intent of the host: networks, groups and ports that hold; and what is wrong.

What one value's model cannot see is judged here: ports that clash, addresses outside a network. One
bad port never blocks the rest; it is left out and named in `refused`.

>>> intent = build({"host/net/networks/a": {...}, "host/net/ports/vm1": {...}})
>>> intent = changed(intent, {"host/net/ports/vm2": {...}})
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from chronovisor.errors import Problem
from chronovisor.net.marks import GATEWAY_LINK_LOCAL, GATEWAY_MAC, METADATA_IPV4
from chronovisor.net.settings import (
    NETWORKS,
    PORTS,
    SECURITY_GROUPS,
    Address,
    Network,
    Port,
    Prefix,
    SecurityGroup,
    Subnet,
)

RESERVED_DEVICES = frozenset({"lo", "all", "default", ".", ".."})
"""Names that are no tap's: `all` and `default` mean every device below /proc/sys/net/*/conf."""

_OURS: tuple[Address, ...] = (GATEWAY_LINK_LOCAL, METADATA_IPV4)

Claim = tuple[str, object]
"""What only one port can have: ("device", name), ("mac", text) or ("address", address)."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Intent:
    """What should be. `ports` are enabled and free of problems: wire and serve these, all of them.

    `disabled` ports hold their claims and are not served. `refused` has the problems of ports,
    networks and groups by key path (`host/net/ports/vm1`); refused values are in no other mapping.
    `warnings` are problems of values that hold all the same.
    """

    networks: Mapping[str, Network] = field(default_factory=dict)
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    ports: Mapping[str, Port] = field(default_factory=dict)
    disabled: Mapping[str, Port] = field(default_factory=dict)
    refused: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    claims: Mapping[Claim, str] = field(default_factory=dict, repr=False)
    refused_ports: Mapping[str, Port] = field(default_factory=dict, repr=False)

    def network(self, port: Port) -> Network:
        """Return the network of a port of this intent."""
        return self.networks[port.network]

    def subnet(self, port: Port, address: Address) -> Subnet:
        """Return the subnet of a port's address."""
        subnet = _subnet(self.networks[port.network], address)
        assert subnet is not None  # a port without it is refused
        return subnet


def problems(intent: Intent) -> list[Problem]:
    """Return everything that is wrong, by key."""
    refused = [one for key in sorted(intent.refused) for one in intent.refused[key]]
    return [*refused, *intent.warnings]


def build(values: Mapping[str, object], incumbents: Iterable[str] = ()) -> Intent:
    """Return the intent of store values by key path; values may be models or what JSON holds.

    Where two ports claim one thing, it goes to the one in `incumbents` (ids of ports that are
    wired already), else to the first by id. Keys of other planes are passed over.
    """
    refused: dict[str, tuple[Problem, ...]] = {}
    networks = dict(_models(values, NETWORKS, Network, refused))
    groups = dict(_models(values, SECURITY_GROUPS, SecurityGroup, refused))
    ports = dict(_models(values, PORTS, Port, refused))
    for identifier in [*networks]:
        if found := tuple(_network_problems(identifier, networks[identifier])):
            refused[f"{NETWORKS}/{identifier}"] = found
            del networks[identifier]
    start = Intent(networks, groups, refused=refused, warnings=tuple(_group_warnings(groups)))
    first = set(incumbents)
    return _with_ports(start, ports, sorted(ports, key=lambda one: (one not in first, one)))


def read(values: Mapping[str, object]) -> dict[str, object]:
    """Return values with those that are valid as models, which `build` and `changed` take quickly.

    It is the greater part of their work, and may be done in any thread.
    """
    found = dict(values)
    for prefix, model in ((NETWORKS, Network), (SECURITY_GROUPS, SecurityGroup), (PORTS, Port)):
        models: Iterable[tuple[str, object]] = _models(values, prefix, model, {})
        found |= {f"{prefix}/{identifier}": it for identifier, it in models}
    return found


def changed(intent: Intent, values: Mapping[str, object]) -> Intent:
    """Return the intent after some values changed; None means that a value is gone.

    Ports that hold keep what they claimed; a refused one is judged again. A change of ports
    alone costs little, whatever their number.
    """
    if any(not key.startswith(f"{PORTS}/") and _is_ours(key) for key in values):
        return _rebuilt(intent, values)
    refused = {key: found for key, found in intent.refused.items() if key not in values}
    again = dict(intent.refused_ports)
    gone = {key.removeprefix(f"{PORTS}/") for key in values if key.startswith(f"{PORTS}/")}
    for identifier in gone:
        again.pop(identifier, None)
    again |= _models(values, PORTS, Port, refused)
    for identifier in intent.refused_ports:
        refused.pop(f"{PORTS}/{identifier}", None)
    return _with_ports(_without(intent, gone, refused), again, sorted(again))


def _rebuilt(intent: Intent, values: Mapping[str, object]) -> Intent:
    whole: dict[str, object] = {f"{NETWORKS}/{one}": it for one, it in intent.networks.items()}
    whole |= {f"{SECURITY_GROUPS}/{one}": it for one, it in intent.groups.items()}
    for ports in (intent.ports, intent.disabled, intent.refused_ports):
        whole |= {f"{PORTS}/{one}": it for one, it in ports.items()}
    built = build(whole | dict(values), incumbents=[*intent.ports, *intent.disabled])
    still = {key: it for key, it in intent.refused.items() if key not in whole | dict(values)}
    refused = {**still, **built.refused}
    return replace(built, refused=refused)


def _without(intent: Intent, gone: set[str], refused: dict[str, tuple[Problem, ...]]) -> Intent:
    """Return the intent without some ports and what they claim."""
    claims = dict(intent.claims)
    for identifier in gone:
        port = intent.ports.get(identifier) or intent.disabled.get(identifier)
        for claim in _claims(port) if port else ():
            del claims[claim]
    return replace(
        intent,
        ports={one: port for one, port in intent.ports.items() if one not in gone},
        disabled={one: port for one, port in intent.disabled.items() if one not in gone},
        refused=refused,
        claims=claims,
    )


def _with_ports(intent: Intent, added: Mapping[str, Port], order: Iterable[str]) -> Intent:
    """Return the intent with more ports, judged in `order`."""
    ports, disabled = dict(intent.ports), dict(intent.disabled)
    refused, claims, refused_ports = dict(intent.refused), dict(intent.claims), dict[str, Port]()
    gateways = {subnet.gateway for one in intent.networks.values() for subnet in one.subnets}
    for identifier in order:
        port = added[identifier]
        found = [
            *_port_problems(identifier, port, intent, gateways),
            *_clashes(identifier, port, claims),
        ]
        if found:
            refused[f"{PORTS}/{identifier}"] = tuple(found)
            refused_ports[identifier] = port
            continue
        claims |= dict.fromkeys(_claims(port), identifier)
        (ports if port.enabled else disabled)[identifier] = port
    return replace(
        intent,
        ports=ports,
        disabled=disabled,
        refused=refused,
        claims=claims,
        refused_ports=refused_ports,
    )


def _models(
    values: Mapping[str, object],
    prefix: str,
    model: type[_Model],
    refused: dict[str, tuple[Problem, ...]],
) -> Iterator[tuple[str, _Model]]:
    """Yield the values below a prefix as models by id; what is none goes to `refused`."""
    for key, value in values.items():
        if not key.startswith(f"{prefix}/") or value is None:
            continue
        try:
            yield key.removeprefix(f"{prefix}/"), model.model_validate(value)
        except ValidationError as error:
            refused[key] = tuple(
                Problem(
                    f"{key}: {'.'.join(map(str, one['loc']))}".removesuffix(": "),
                    one["msg"].removeprefix("Value error, "),
                    str(one["input"]),
                )
                for one in error.errors(include_url=False)
            )


def _is_ours(key: str) -> bool:
    return key.startswith((f"{NETWORKS}/", f"{SECURITY_GROUPS}/", f"{PORTS}/"))


def _network_problems(identifier: str, network: Network) -> Iterator[Problem]:
    for number, subnet in enumerate(network.subnets):
        where = f"{NETWORKS}/{identifier}: subnets[{number}].gateway"
        if why := _not_a_host(subnet.gateway, subnet.prefix):
            yield Problem(where, f"gateway {subnet.gateway} {why}", str(subnet.gateway))
        if subnet.gateway == METADATA_IPV4:  # that of IPv6 is our router, too
            text = f"gateway {subnet.gateway} is the address of the metadata service"
            yield Problem(where, text, str(subnet.gateway))


def _group_warnings(groups: Mapping[str, SecurityGroup]) -> Iterator[Problem]:
    for identifier, group in sorted(groups.items()):
        for number, rule in enumerate(group.rules):
            if rule.remote_group is not None and rule.remote_group not in groups:
                yield Problem(
                    f"{SECURITY_GROUPS}/{identifier}: rules[{number}].remote_group",
                    f"there is no security group {rule.remote_group}; the rule lets nobody through",
                    rule.remote_group,
                )


def _port_problems(
    identifier: str, port: Port, intent: Intent, gateways: set[Address]
) -> Iterator[Problem]:
    key = f"{PORTS}/{identifier}"
    if port.device in RESERVED_DEVICES:
        yield Problem(f"{key}: device", f"{port.device!r} cannot be a VM's device", port.device)
    if port.mac == GATEWAY_MAC:
        yield Problem(f"{key}: mac", f"{port.mac} is the host's end of every tap", port.mac)
    for number, group in enumerate(port.security_groups):
        if group not in intent.groups:
            where = f"{key}: security_groups[{number}]"
            yield Problem(where, f"there is no security group {group} that holds", group)
    network = intent.networks.get(port.network)
    if network is None:
        text = f"there is no network {port.network} that holds"
        yield Problem(f"{key}: network", text, port.network)
        return
    for number, address in enumerate(port.addresses):
        if why := _address_fault(address, network, gateways):
            yield Problem(f"{key}: addresses[{number}]", f"{address} {why}", str(address))


def _address_fault(address: Address, network: Network, gateways: set[Address]) -> str:
    """Return why a port of a network cannot have an address; empty when it can."""
    subnet = _subnet(network, address)
    if subnet is None:
        known = " and ".join(str(one.prefix) for one in network.subnets)
        return f"is outside its network, which has {known}"
    if address in gateways:
        return "is a gateway, which the host answers for"
    if address in _OURS:
        return "is an address of the host on every tap"
    return _not_a_host(address, subnet.prefix)


def _subnet(network: Network, address: Address) -> Subnet | None:
    return next((one for one in network.subnets if address in one.prefix), None)


def _not_a_host(address: Address, prefix: Prefix) -> str:
    """Return why an address of a prefix is no host's; empty when it is one."""
    if prefix.prefixlen >= prefix.max_prefixlen - 1:  # RFC 3021, RFC 6164: both ends are hosts
        return ""
    if address == prefix.network_address:
        anycast = "the subnet-router anycast address"  # RFC 4291 section 2.6.1
        return f"is {anycast if prefix.version == 6 else 'the network address'} of {prefix}"
    if prefix.version == 4 and address == prefix.broadcast_address:
        return f"is the broadcast address of {prefix}"
    return ""


def _claims(port: Port) -> Iterator[Claim]:
    yield "device", port.device
    yield "mac", port.mac
    for address in port.addresses:
        yield "address", address


def _clashes(identifier: str, port: Port, claims: Mapping[Claim, str]) -> Iterator[Problem]:
    for claim in _claims(port):
        if (holder := claims.get(claim)) is not None:
            kind, value = claim
            place = f"addresses[{port.addresses.index(value)}]" if kind == "address" else kind
            text = f"port {holder} has {kind} {value} already"
            yield Problem(f"{PORTS}/{identifier}: {place}", text, str(value))
