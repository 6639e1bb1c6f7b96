"""Who may keep time: rules over settings, probes and the inventory, as tables."""

from dataclasses import replace
from typing import Any

import pytest

from chronovisor.clock.devices.check import judge, one_clock, passed_through, remarks
from chronovisor.clock.devices.drvinfo import DriverInfo
from chronovisor.clock.devices.inventory import Nic, Observed, nics, without_device
from chronovisor.clock.devices.links import Link
from chronovisor.clock.devices.listing import shipped
from chronovisor.clock.devices.modules import load
from chronovisor.clock.devices.pci import PciFunction
from chronovisor.clock.devices.probe import Device
from chronovisor.clock.devices.stamping import Stamping
from chronovisor.clock.settings import PtpPort, SystemTime

GOOD = Device("ens1", True, True, True, True, 0)
SOFT = replace(GOOD, hardware_stamps=False, phc_index=None)
E810 = Nic(
    "ens1", driver="ice", model="E810-C for SFP", listed=True, vendor_id="8086", device_id="1593",
    pci_address="0000:3b:00.0", function=0, hardware_stamps=True, software_stamps=True, phc_index=0,
)  # fmt: skip
X710 = replace(E810, driver="i40e", model="X710 for 10GbE SFP+", device_id="1572")
VIRTIO = replace(E810, driver="virtio_net", model="virtio", vendor_id="1af4", device_id="1041")
UNKNOWN = replace(E810, driver="newnic", listed=False, model="", device_id="ffff")


def port(**more: Any) -> PtpPort:
    return PtpPort(index=0, device="ens1", device_type="pci_passthru_nic", **more)


@pytest.mark.parametrize(
    ("stamps", "seen", "nic", "said"),
    [
        ("hardware", GOOD, E810, None),
        ("hardware", GOOD, UNKNOWN, None),
        ("software", SOFT, VIRTIO, None),
        ("hardware", None, None, "there is no such device on this host"),
        ("hardware", replace(GOOD, up=False), E810, "the device is down"),
        ("hardware", SOFT, None, "makes no hardware time stamps; set time_stamping"),
        (
            "hardware", SOFT, X710,
            "although X710 for 10GbE SFP+ (driver i40e) is listed as one that does: of the "
            "functions",
        ),
        ("hardware", SOFT, VIRTIO, "virtio is a mock device without a clock of its own"),
        ("hardware", SOFT, UNKNOWN, "makes no hardware time stamps; set time_stamping"),
        ("software", replace(SOFT, software_stamps=False), None, "no software transmit stamps"),
    ],
)  # fmt: skip
def test_what_a_device_cannot_do(
    stamps: str, seen: Device | None, nic: Nic | None, said: str | None
) -> None:
    problems = list(judge("port[0]", port(time_stamping=stamps), seen, nic, shipped()))
    assert bool(problems) == (said is not None)
    assert said is None or said in problems[0].message


@pytest.mark.parametrize(
    ("nic", "accept", "said"),
    [
        (E810, [], []),
        (replace(E810, function=1), [], ["is function 1, and driver ice needs function 0"]),
        (replace(E810, function=1), ["other_function"], []),
        (
            replace(E810, function=None, physical_function="0000:3b:00.1", virtual_number=2),
            [],
            ["is a virtual function of its function 1"],
        ),
        (replace(X710, function=1), [], []),
        (replace(X710, management="it is used"), [], ["management uses this NIC: it is used"]),
        (replace(X710, management="it is used"), ["management_nic"], []),
        (replace(E810, function=2, management="m"), [], ["management", "function 2"]),
    ],
)
def test_what_should_not_be_passed_through(nic: Nic, accept: list[str], said: list[str]) -> None:
    found = list(passed_through("port[0]", port(accept=accept), nic, shipped()))
    assert len(found) == len(said)
    assert all(words in one.message for words, one in zip(said, found, strict=True))


def two_ports(jbod: object = None, own: object = None) -> SystemTime:
    ports: list[dict[str, Any]] = [
        {"index": n, "device": f"e{n}", "time_stamping": "hardware"} for n in (0, 1)
    ]
    if own is not None:
        ports[1]["options"] = {"boundary_clock_jbod": own}
    options = {"ptp4l": {} if jbod is None else {"boundary_clock_jbod": jbod}}
    value = {"enabled": True, "ptp_config": {"port": ports}, "options": options}
    return SystemTime.model_validate(value)


@pytest.mark.parametrize(
    ("settings", "second", "where"),
    [
        (two_ports(), 1, None),
        (two_ports(jbod=1), 1, None),
        (two_ports(jbod=0), 0, None),
        (two_ports(jbod=0), None, None),
        (two_ports(jbod=0), 1, "options.ptp4l.boundary_clock_jbod"),
        (two_ports(jbod=False), 1, "options.ptp4l.boundary_clock_jbod"),
        (two_ports(jbod=0, own=1), 1, None),
        (two_ports(own=0), 1, "ptp_config.port[1].options.boundary_clock_jbod"),
    ],
)
def test_clocks_that_differ(settings: SystemTime, second: int | None, where: str | None) -> None:
    seen: dict[str, Device | None] = {
        "e0": replace(GOOD, phc_index=0),
        "e1": replace(GOOD, phc_index=second),
    }
    found = list(one_clock(settings, seen))
    assert [one.where for one in found] == ([where] if where else [])


@pytest.mark.parametrize(
    ("stamps", "nic", "options", "said"),
    [
        ("hardware", E810, {}, ["set options.ptp4l.tx_timestamp_timeout to 50"]),
        ("hardware", E810, {"tx_timestamp_timeout": 20}, ["tx_timestamp_timeout to 50"]),
        ("hardware", E810, {"tx_timestamp_timeout": "0x32"}, []),
        ("hardware", UNKNOWN, {}, ["8086:ffff is not in the device list; run `visorctl"]),
        ("software", X710, {}, ["stamps in software though the NIC has a clock (/dev/ptp0)"]),
        ("software", replace(X710, hardware_stamps=False), {}, []),
    ],
)
def test_what_is_to_be_known(
    stamps: str, nic: Nic, options: dict[str, Any], said: list[str]
) -> None:
    found = list(remarks(port(time_stamping=stamps), nic, options, shipped()))
    assert len(found) == len(said)
    assert all(words in one for words, one in zip(said, found, strict=True))


def observed(driver: str, function: PciFunction, stamps: Stamping) -> Observed:
    link = Link(2, "ens1", "02:00:00:00:00:01", "", True, True, False)
    lo = Link(1, "lo", "", "", True, True, True)
    return Observed(
        {1: lo, 2: link},
        {"lo": DriverInfo(), "ens1": DriverInfo(driver, "1", "4.40", function.address)},
        {"ens1": stamps},
        {"ens1": function},
    )


def test_a_nic_is_joined_from_all_that_is_known() -> None:
    function = PciFunction("0000:3b:00.1", "8086", "1572", "8086", "0001", "i40e", True)
    (nic,) = nics(observed("i40e", function, Stamping()), shipped())
    assert (nic.name, nic.model, nic.listed, nic.function) == (
        "ens1", "X710 for 10GbE SFP+", True, 1,
    )  # fmt: skip
    assert "listed with hardware time stamps, but it makes none here: of the" in nic.notices[0]
    assert nic.firmware == "4.40"


def test_controllers_without_a_device_say_why() -> None:
    functions = [
        PciFunction("0000:01:00.0", "8086", "1593", network=True),
        PciFunction("0000:01:00.1", "8086", "1593", driver="vfio-pci", network=True),
        PciFunction("0000:01:00.2", "ffff", "0001", network=True),
        PciFunction("0000:01:00.3", "8086", "1593", driver="ice", network=True),
        PciFunction("0000:01:00.4", "8086", "1593", driver="ice", network=True),
    ]
    taken = replace(E810, pci_address="0000:01:00.4")
    found = without_device([taken], functions, shipped())
    assert [one.notices[0].partition(":")[0].partition(",")[0] for one in found] == [
        "no driver",
        "given to a VM",
        "no driver",
        "its network device is in another namespace",
    ]
    assert "load ice with" in found[0].notices[0]


def test_each_missing_module_is_loaded_once_and_told() -> None:
    before = [
        PciFunction("0000:01:00.0", "8086", "1593", network=True),
        PciFunction("0000:01:00.1", "8086", "1593", network=True),
        PciFunction("0000:02:00.0", "8086", "1533", network=True),
        PciFunction("0000:03:00.0", "ffff", "0001", network=True),
        PciFunction("0000:04:00.0", "8086", "1533", driver="igb", network=True),
    ]
    asked: list[str] = []

    def modprobe(module: str) -> str:
        asked.append(module)
        return "not here" if module == "igb" else ""

    def functions() -> list[PciFunction]:
        if not asked:
            return before
        return [replace(before[0], driver="ice"), *before[1:]]

    found = load(shipped(), functions, modprobe)
    assert asked == ["ice", "igb"]
    assert [(one.pci_address, one.problem.partition(",")[0]) for one in found] == [
        ("0000:01:00.0", ""),
        ("0000:01:00.1", "the module is loaded"),
        ("0000:02:00.0", "not here"),
    ]
