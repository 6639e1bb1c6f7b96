"""Options that are right alone and wrong together: what ptp4l refuses after its parser.

Each rule is a function from the options in force to problems. Values are those that the catalogue
has already accepted; a rule says nothing of options whose value it cannot read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from chronovisor.clock.catalogue.catalogue import Catalogue
from chronovisor.errors import Problem


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given, and where: a path into the settings or a place in a file."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class PortOptions:
    """The options of one port by their canonical names; `label` names the port to people."""

    label: str
    where: str
    options: Mapping[str, Given]


@dataclass(frozen=True, slots=True)
class _Options:
    """All options in force; a port's own value counts before that of [global]."""

    catalogue: Catalogue
    whole: Mapping[str, Given]
    ports: tuple[PortOptions, ...]

    def given(self, name: str, port: PortOptions | None = None) -> Given:
        default = self.catalogue.options.get(name)
        fallback = Given(str(default.default) if default is not None else "", "")
        own = port.options.get(name) if port is not None else None
        return own or self.whole.get(name) or fallback

    def means(self, given: Given, name: str, value: str) -> bool:
        """Whether the value given for option `name` means `value`."""
        option = self.catalogue.options.get(name)
        if option is None or option.ptp4l_verdict(given.text) is not None:
            return False
        return option.same(given.text, value)

    def has(self, name: str, value: str, port: PortOptions | None = None) -> bool:
        return self.means(self.given(name, port), name, value)

    def problem(self, name: str, port: PortOptions | None, message: str, valid: str) -> Problem:
        """Return a problem at the place where `name` was given, else at the port."""
        given = self.given(name, port)
        where = given.where or (port.where if port else "")
        label = f"{port.label}: " if port else ""
        return Problem(where, f"{label}{message}", given.text, valid)


def check_combination(
    catalogue: Catalogue, whole: Mapping[str, Given], ports: tuple[PortOptions, ...]
) -> list[Problem]:
    """Return the problems of ptp4l options that do not go together.

    `whole` are the options of [global] and `ports` those of each port section, all with canonical
    names (`Catalogue.canonical`), typed settings among them.
    """
    options = _Options(catalogue, whole, ports)
    return [problem for rule in _RULES for problem in rule(options)]


def _client_only_needs_gm_capable(o: _Options) -> Iterator[Problem]:
    name = o.catalogue.canonical("slaveOnly")
    if o.has(name, "1") and o.has("gmCapable", "0"):
        yield o.problem(
            name, None, f"{name} 1 (IEEE 1588) excludes gmCapable 0 (802.1AS)", "one of the two"
        )


def _server_port_of_a_client_only_clock(o: _Options) -> Iterator[Problem]:
    whole, name = o.catalogue.canonical("slaveOnly"), o.catalogue.canonical("masterOnly")
    for port in o.ports if o.has(whole, "1") else ():
        if o.has(name, "1", port):
            yield o.problem(
                name, port, f"{name} 1 on a clock with {whole} 1 never serves time", f"{whole} 0"
            )


def _one_step_needs_hardware(o: _Options) -> Iterator[Problem]:
    stamping = o.given("time_stamping").text.lower()
    if o.has("twoStepFlag", "0") and stamping in ("software", "legacy"):
        yield o.problem(
            "twoStepFlag",
            None,
            f"twoStepFlag 0 needs time stamps of hardware, time_stamping is {stamping}",
            "1",
        )


def _clock_type_fits_ports(o: _Options) -> Iterator[Problem]:
    kind = o.given("clock_type").text.upper()
    mechanism = {"P2P_TC": "P2P", "E2E_TC": "E2E"}.get(kind)
    if kind in ("BC", "P2P_TC", "E2E_TC") and len(o.ports) < 2:
        yield o.problem("clock_type", None, f"clock_type {kind} needs two ports or more", "OC")
    for port in o.ports if mechanism else ():
        if mechanism and not o.has("delay_mechanism", mechanism, port):
            message = (
                f"{kind} needs delay_mechanism {mechanism} on every port, {port.label} differs"
            )
            yield o.problem("clock_type", None, f"clock_type {message}", "OC")


def _noop_bmca_needs_a_role(o: _Options) -> Iterator[Problem]:
    client, server = o.catalogue.canonical("slaveOnly"), o.catalogue.canonical("masterOnly")
    for port in o.ports:
        fixed = o.has(client, "1") or o.has(server, "1", port)
        if o.has("BMCA", "noop", port) and not fixed:
            message = f"BMCA noop needs {server} 1 on the port or {client} 1 in [global]"
            yield o.problem("BMCA", port, message, "ptp")


def _no_delay_requests_needs_as_capable(o: _Options) -> Iterator[Problem]:
    for port in o.ports:
        if o.has("inhibit_delay_req", "1", port) and not o.has("asCapable", "true", port):
            message = "inhibit_delay_req 1 needs asCapable true"
            yield o.problem("inhibit_delay_req", port, message, "0")


def _security_needs_keys(o: _Options) -> Iterator[Problem]:
    if "spp" in o.whole and not o.has("spp", "-1"):
        message = "spp in [global] also locks the management socket; set it for each port"
        yield o.problem("spp", None, message, "-1")
    for port in o.ports:
        if "spp" not in o.catalogue.options or o.has("spp", "-1", port):
            continue
        if not o.whole.get("sa_file"):
            yield o.problem("spp", port, "spp needs an sa_file with its keys", "-1")
        if o.given("time_stamping").text.lower() in ("onestep", "p2p1step"):
            yield o.problem("spp", port, "spp does not work with one-step time stamping", "-1")
        if o.has("ptp_minor_version", "0"):
            yield o.problem("spp", port, "spp needs ptp_minor_version 1", "-1")


_RULES: tuple[Callable[[_Options], Iterator[Problem]], ...] = (
    _client_only_needs_gm_capable,
    _server_port_of_a_client_only_clock,
    _one_step_needs_hardware,
    _clock_type_fits_ports,
    _noop_bmca_needs_a_role,
    _no_delay_requests_needs_as_capable,
    _security_needs_keys,
)
