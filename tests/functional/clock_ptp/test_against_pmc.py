"""What the client decodes from a running ptp4l equals what pmc prints, for every id pmc can get."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.ptp import ManagementClient
from chronovisor.clock.ptp.datasets import (
    REGISTRY,
    AlternateTimeOffsetEnable,
    AlternateTimeOffsetName,
    AlternateTimeOffsetProperties,
    ClockDescription,
    CmldsInfoNp,
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    DisablePort,
    EnablePort,
    ExternalGrandmasterPropertiesNp,
    GrandmasterSettingsNp,
    NullManagement,
    ParentDataSet,
    PortCorrectionsNp,
    PortDataSet,
    PortDataSetNp,
    PortHwclockNp,
    PortPropertiesNp,
    PortServiceStatsNp,
    PortStatsNp,
    PowerProfileSettingsNp,
    Priority1,
    Priority2,
    Scope,
    SubscribeEventsNp,
    SynchronizationUncertainNp,
    TimePropertiesDataSet,
    TimeStatusNp,
    UnicastMasterTableNp,
)
from chronovisor.clock.ptp.identity import ClockIdentity
from chronovisor.clock.ptp.primitives import ClockQuality
from chronovisor.clock.ptp.vocabulary import ClockAccuracy, Events, SyncUncertainty, TimeSource
from chronovisor.errors import ToolFailed

Printed = dict[int, dict[str, str]]
"""What pmc printed: by port number, field by field."""


async def first_sync(client: ManagementClient) -> int:
    return (await client.get(TimeStatusNp)).ingress_time_ns


@pytest.fixture
async def client(pair: Any) -> AsyncIterator[ManagementClient]:
    made = ManagementClient(pair.socket("slave"), local_directory=pair.directory)
    async with made:
        async with asyncio.timeout(20):
            while not await first_sync(made):  # noqa: ASYNC110  # ptp4l's state
                await asyncio.sleep(0.05)
        yield made
    assert made.rejected.count == 0, made.rejected


class Pmc:
    """The pmc of a release, asking one socket."""

    def __init__(self, site: Any, role: str = "slave") -> None:
        self._argv = [site.release.pmc, "-u", "-b", "0", "-s", str(site.socket(role))]
        if not site.release.is_3:
            config = site.directory / "pmc.conf"
            config.write_text("[global]\n")
        self._directory: Path = site.directory

    async def __call__(self, command: str, meanwhile: Callable[[], Any] | None = None) -> Printed:
        """Run a command; `meanwhile` is awaited as soon as there is an answer."""
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            "-i",
            str(self._directory / "pmc.sock"),
            command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        echo = await process.stdout.readline()
        first = await process.stdout.readline()
        if meanwhile is not None:
            await meanwhile()
        rest = await process.stdout.read()
        await process.wait()
        return parse((echo + first + rest).decode())


def parse(text: str) -> Printed:
    """Read pmc's output; a table (unicast masters) is left aside."""
    printed: Printed = {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("\t\t"):
            name, _, value = line.strip().partition(" ")
            fields[name] = value.strip()
        elif line.startswith("\t"):
            source, *_ = line.split()
            fields = printed[int(source.rpartition("-")[2])] = {}
            if " RESPONSE MANAGEMENT " not in line:
                fields["refused"] = line
    return printed


def flag(value: bool) -> str:
    return str(int(value))


def quality(value: ClockQuality, prefix: str = "") -> dict[str, str]:
    def name(text: str) -> str:
        return f"gm.{text}" if prefix else text[0].lower() + text[1:]

    return {
        name("ClockClass"): str(value.clock_class),
        name("ClockAccuracy"): f"0x{value.clock_accuracy:02x}",
        name("OffsetScaledLogVariance"): f"0x{value.offset_scaled_log_variance:04x}",
    }


def default(value: DefaultDataSet) -> dict[str, str]:
    return {
        "twoStepFlag": flag(value.two_step),
        "slaveOnly": flag(value.slave_only),
        "numberPorts": str(value.number_ports),
        "priority1": str(value.priority1),
        **quality(value.clock_quality),
        "priority2": str(value.priority2),
        "clockIdentity": str(value.clock_identity),
        "domainNumber": str(value.domain_number),
    }


def current(value: CurrentDataSet) -> dict[str, str]:
    return {
        "stepsRemoved": str(value.steps_removed),
        "offsetFromMaster": f"{value.offset_from_master_ns:.1f}",
        "meanPathDelay": f"{value.mean_path_delay_ns:.1f}",
    }


def parent(value: ParentDataSet) -> dict[str, str]:
    rate = value.observed_parent_phase_change_rate_ppb
    raw = 0x7FFFFFFF if rate is None else round(rate * 2**40 / 1e9) & 0xFFFFFFFF
    return {
        "parentPortIdentity": str(value.parent_port_identity),
        "parentStats": flag(value.parent_stats),
        "observedParentOffsetScaledLogVariance": (
            f"0x{value.observed_parent_offset_scaled_log_variance:04x}"
        ),
        "observedParentClockPhaseChangeRate": f"0x{raw:08x}",
        "grandmasterPriority1": str(value.grandmaster_priority1),
        **quality(value.grandmaster_clock_quality, "gm."),
        "grandmasterPriority2": str(value.grandmaster_priority2),
        "grandmasterIdentity": str(value.grandmaster_identity),
    }


def time_properties(value: TimePropertiesDataSet | GrandmasterSettingsNp) -> dict[str, str]:
    return {
        "currentUtcOffset": str(value.current_utc_offset_s),
        "leap61": flag(value.leap61),
        "leap59": flag(value.leap59),
        "currentUtcOffsetValid": flag(value.current_utc_offset_valid),
        "ptpTimescale": flag(value.ptp_timescale),
        "timeTraceable": flag(value.time_traceable),
        "frequencyTraceable": flag(value.frequency_traceable),
        "timeSource": f"0x{value.time_source:02x}",
    }


def grandmaster_settings(value: GrandmasterSettingsNp) -> dict[str, str]:
    return {**quality(value.clock_quality), **time_properties(value)}


def time_status(value: TimeStatusNp) -> dict[str, str]:
    phase = round(value.last_gm_phase_change_ns * 65536).to_bytes(12, "big", signed=True).hex()
    return {
        "master_offset": str(value.master_offset_ns),
        "ingress_time": str(value.ingress_time_ns),
        "cumulativeScaledRateOffset": f"{value.cumulative_rate_offset_ppb / 1e9:+.9f}",
        "scaledLastGmPhaseChange": str(round(value.last_gm_freq_change_ppb * 2**41 / 1e9)),
        "gmTimeBaseIndicator": str(value.gm_time_base_indicator),
        "lastGmPhaseChange": f"0x{phase[:4]}'{phase[4:20]}.{phase[20:]}",
        "gmPresent": str(value.grandmaster_present).lower(),
        "gmIdentity": str(value.grandmaster_identity),
    }


def subscription(value: SubscribeEventsNp) -> dict[str, str]:
    names = {"duration": str(value.duration_s)}
    for event in Events:
        names[f"NOTIFY_{event.name}"] = "on" if event in value.events else "off"
    return names


def description(value: ClockDescription) -> dict[str, str]:
    protocol = value.protocol_address
    return {
        "clockType": f"0x{value.clock_type:x}",
        "physicalLayerProtocol": value.physical_layer_protocol,
        "physicalAddress": value.physical_address.hex(":"),
        "protocolAddress": f"{protocol.network_protocol:d} {protocol.address}",
        "manufacturerId": value.manufacturer_identity.hex(":"),
        "productDescription": value.product_description,
        "revisionData": value.revision_data,
        "userDescription": value.user_description,
        "profileId": value.profile_identity.hex(":"),
    }


def port_data_set(value: PortDataSet) -> dict[str, str]:
    return {
        "portIdentity": str(value.port_identity),
        "portState": value.port_state.name,
        "logMinDelayReqInterval": str(value.log_min_delay_req_interval),
        "peerMeanPathDelay": str(int(value.peer_mean_path_delay_ns // 1)),
        "logAnnounceInterval": str(value.log_announce_interval),
        "announceReceiptTimeout": str(value.announce_receipt_timeout),
        "logSyncInterval": str(value.log_sync_interval),
        "delayMechanism": str(int(value.delay_mechanism)),
        "logMinPdelayReqInterval": str(value.log_min_pdelay_req_interval),
        "versionNumber": str(value.version_number),
    }


def port_properties(value: PortPropertiesNp) -> dict[str, str]:
    return {
        "portIdentity": str(value.port_identity),
        "portState": value.port_state.name,
        "timestamping": value.timestamping.name,
        "interface": value.interface,
    }


_MESSAGES = (
    "Sync Delay_Req Pdelay_Req Pdelay_Resp Follow_Up Delay_Resp Pdelay_Resp_Follow_Up Announce "
    "Signaling Management"
)


def port_stats(value: PortStatsNp) -> dict[str, str]:
    names = _MESSAGES.split()
    counts = {f"rx_{n}": str(c) for n, c in zip(names, value.received, strict=True)}
    counts |= {f"tx_{n}": str(c) for n, c in zip(names, value.sent, strict=True)}
    return {"portIdentity": str(value.port_identity)} | counts


def service_stats(value: PortServiceStatsNp) -> dict[str, str]:
    _, *counters = (field.name for field in dataclasses.fields(value))
    counts = {name: str(getattr(value, name)) for name in counters}
    return {"portIdentity": str(value.port_identity)} | counts


def port_hwclock(value: PortHwclockNp) -> dict[str, str]:
    return {
        "portIdentity": str(value.port_identity),
        "phcIndex": str(value.phc_index),
        "flags": flag(value.is_virtual),
    }


def power_profile(value: PowerProfileSettingsNp) -> dict[str, str]:
    return {
        "version": str(value.version),
        "grandmasterID": f"0x{value.grandmaster_id:04x}",
        "grandmasterTimeInaccuracy": str(value.grandmaster_time_inaccuracy_ns),
        "networkTimeInaccuracy": str(value.network_time_inaccuracy_ns),
        "totalTimeInaccuracy": str(value.total_time_inaccuracy_ns),
    }


def cmlds(value: CmldsInfoNp) -> dict[str, str]:
    return {
        "meanLinkDelay": str(int(value.mean_link_delay_ns // 1)),
        "scaledNeighborRateRatio": str(round(value.neighbor_rate_offset_ppb * 2**41 / 1e9)),
        "as_capable": flag(value.as_capable),
    }


def corrections(value: PortCorrectionsNp) -> dict[str, str]:
    return {
        "egressLatency": str(int(value.egress_latency_ns // 1)),
        "ingressLatency": str(int(value.ingress_latency_ns // 1)),
        "delayAsymmetry": str(int(value.delay_asymmetry_ns // 1)),
    }


def alternate_name(value: AlternateTimeOffsetName) -> dict[str, str]:
    return {"keyField": str(value.key), "displayName": value.display_name}


def alternate_enable(value: AlternateTimeOffsetEnable) -> dict[str, str]:
    return {"keyField": str(value.key), "enable": flag(value.enabled)}


def alternate_properties(value: AlternateTimeOffsetProperties) -> dict[str, str]:
    return {
        "keyField": str(value.key),
        "currentOffset": str(value.current_offset_s),
        "jumpSeconds": str(value.jump_s),
        "timeOfNextJump": str(value.time_of_next_jump_s),
    }


def neighbor(value: PortDataSetNp) -> dict[str, str]:
    return {
        "neighborPropDelayThresh": str(value.neighbor_prop_delay_threshold_ns),
        "asCapable": flag(value.as_capable),
    }


def external_grandmaster(value: ExternalGrandmasterPropertiesNp) -> dict[str, str]:
    return {
        "gmIdentity": str(value.grandmaster_identity),
        "stepsRemoved": str(value.steps_removed),
    }


def unicast_masters(value: UnicastMasterTableNp) -> dict[str, str]:
    return {"actual_table_size": str(len(value.masters))}


PRINTERS: dict[type[DataSet], Callable[[Any], dict[str, str]]] = {
    DefaultDataSet: default,
    CurrentDataSet: current,
    ParentDataSet: parent,
    TimePropertiesDataSet: time_properties,
    GrandmasterSettingsNp: grandmaster_settings,
    TimeStatusNp: time_status,
    SubscribeEventsNp: subscription,
    ClockDescription: description,
    PortDataSet: port_data_set,
    PortPropertiesNp: port_properties,
    PortServiceStatsNp: service_stats,
    PortStatsNp: port_stats,
    PortHwclockNp: port_hwclock,
    PowerProfileSettingsNp: power_profile,
    CmldsInfoNp: cmlds,
    PortCorrectionsNp: corrections,
    AlternateTimeOffsetName: alternate_name,
    AlternateTimeOffsetEnable: alternate_enable,
    AlternateTimeOffsetProperties: alternate_properties,
    ExternalGrandmasterPropertiesNp: external_grandmaster,
    PortDataSetNp: neighbor,
    UnicastMasterTableNp: unicast_masters,
}


def plain(value: DataSet) -> dict[str, str]:
    """Print a data set whose fields have pmc's names but for their spelling."""
    printed = {}
    for item in dataclasses.fields(value):  # type: ignore[arg-type]  # each data set is one
        content = getattr(value, item.name)
        first, *others = item.name.split("_")
        name = first + "".join(word.capitalize() for word in others)
        text = f"0x{content:02x}" if isinstance(content, ClockAccuracy) else content
        printed[name] = str(int(text)) if isinstance(text, int) else str(text)
    return printed


def normal(kind: type[DataSet], printed: Printed) -> Printed:
    """Even out what pmc prints in ways of its own."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for fields in printed.values():
        if kind.__name__ == "SlaveOnly" and fields.get("slaveOnly") == "2":
            fields["slaveOnly"] = "1"  # the flag bit itself
        for name in ("protocolAddress", "physicalAddress", "manufacturerId", "profileId"):
            if name in fields:
                fields[name] = fields[name].lower()
        if kind is SubscribeEventsNp:
            for event in Events:
                fields.setdefault(f"NOTIFY_{event.name}", "off")  # an older pmc does not print it
        if kind is UnicastMasterTableNp:
            fields.pop("BM", None)
        if "minor_version_number" in names and "refused" not in fields:
            fields["minorVersionNumber"] = "*"
    return printed


async def ask(client: ManagementClient, kind: type[DataSet]) -> Printed:
    """Return what pmc should print, from our own reading."""
    printer = PRINTERS.get(kind, plain)
    printed = {source.port_number: printer(value) for source, value in await client.get_from(kind)}
    for fields in printed.values():
        if "minorVersionNumber" in fields or kind is PortDataSet:
            fields["minorVersionNumber"] = "*"  # pmc does not print it
    return printed


KINDS = [
    pytest.param(kind, id=kind.management_id.name)
    for kind in REGISTRY.values()
    if kind not in (EnablePort, DisablePort, NullManagement)
]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_data_set_equals_what_pmc_prints(
    pair: Any, client: ManagementClient, kind: type[DataSet]
) -> None:
    pmc = Pmc(pair)
    command = f"GET {kind.management_id.name}"
    try:
        before = await ask(client, kind)
    except ToolFailed:
        # Another release has it, or it wants hardware: pmc must not know better.
        printed = await pmc(command)
        assert all("refused" in fields for fields in printed.values())
        return
    async with asyncio.timeout(30):
        while True:
            after: list[Printed] = []

            async def read_again(after: list[Printed] = after) -> None:
                after.append(await ask(client, kind))

            printed = normal(kind, await pmc(command, read_again))
            # A value that moved under pmc's reading is read once more.
            if before == after[0]:
                break
            before = after[0]
    assert printed == before
    assert len(printed) == (2 if kind.scope is Scope.PORT else 1)


async def test_a_status_is_those_data_sets(client: ManagementClient) -> None:
    status = await client.status()
    assert status.default.number_ports == 2
    assert status.parent == await client.get(ParentDataSet)
    assert status.time_properties == await client.get(TimePropertiesDataSet)
    assert status.time_status.grandmaster_present
    assert [p.data_set.port_identity.port_number for p in status.ports] == [1, 2]
    assert [p.properties.interface for p in status.ports if p.properties] == ["s1", "s2"]
    assert status.ports[0].stats.received.announce > 0
    assert status.ports[1].stats.received.announce == 0
    assert str(status.ports[0].description.protocol_address.address) == "192.0.2.18"


SETTINGS = [
    Priority1(17),
    Priority2(18),
    GrandmasterSettingsNp(
        ClockQuality(6, ClockAccuracy.WITHIN_100_NS, 0x4E5D),
        37, False, False, True, True, True, True, False, TimeSource.GNSS,
    ),
    SynchronizationUncertainNp(SyncUncertainty.UNCERTAIN),
    PortDataSetNp(12345, False),
    AlternateTimeOffsetName(0, "CEST"),
    AlternateTimeOffsetProperties(0, 7200, -3600, 2**33),
    AlternateTimeOffsetEnable(0, True),
    PowerProfileSettingsNp(2, 0x1234, 11, 22, 33),
    PortCorrectionsNp(5.0, -7.0, 300.0),
    ExternalGrandmasterPropertiesNp(ClockIdentity(b"external"), 3),
]  # fmt: skip


@pytest.mark.parametrize("value", SETTINGS, ids=lambda v: v.management_id.name)
async def test_what_is_set_is_what_pmc_reads(site: Any, value: DataSet) -> None:
    site.start("master", "m1")
    pmc = Pmc(site, "master")
    port = 1 if value.scope is Scope.PORT else None
    made = ManagementClient(site.socket("master"), local_directory=site.directory)
    async with made, asyncio.timeout(20):
        try:
            told = await made.set(value, port=port)
        except ToolFailed:
            newer = ("ALTERNATE", "POWER") if site.release.is_3 else ()
            unreleased = ("PORT_CORRECTIONS", "EXTERNAL")
            assert value.management_id.name.startswith(newer + unreleased)
            return
        if not isinstance(value, PortDataSetNp):  # linuxptp answers with what it had before
            assert told == value
        printed = normal(type(value), await pmc(f"GET {value.management_id.name}"))
        assert list(printed.values()) == [PRINTERS.get(type(value), plain)(value)]


async def test_an_id_with_a_key(site: Any) -> None:
    if site.release.is_3:
        pytest.skip("linuxptp 3.1.1 has no alternate time offsets")
    site.start("master", "m1")
    made = ManagementClient(site.socket("master"), local_directory=site.directory)
    async with made, asyncio.timeout(20):
        for key, name in enumerate(("UTC", "CEST")):
            await made.set(AlternateTimeOffsetName(key, name))
        second = await made.get(AlternateTimeOffsetName, like=AlternateTimeOffsetName(1, ""))
        assert second == AlternateTimeOffsetName(1, "CEST")


async def test_the_wrong_domain_is_silence_with_a_hint(pair: Any) -> None:
    made = ManagementClient(
        pair.socket("slave"), local_directory=pair.directory, domain_number=9, timeout_s=0.3
    )
    async with made:
        with pytest.raises(Exception, match="has not answered DEFAULT_DATA_SET") as caught:
            await made.get(DefaultDataSet)
    assert "domain 9" in getattr(caught.value, "hint", "")


def test_identities_are_written_as_pmc_writes_them() -> None:
    assert str(ClockIdentity.from_text("8a30acfffea7ddaf")) == "8a30ac.fffe.a7ddaf"
