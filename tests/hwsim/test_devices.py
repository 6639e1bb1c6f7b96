"""The inventory of simulated NICs: ids, functions, firmware, clocks that are shared."""

from chronovisor.clock.devices.inventory import Nic as Found
from chronovisor.clock.devices.inventory import inventory
from hwsim.conftest import Simulate
from hwsim.devices import Nic


def found() -> dict[str, Found]:
    return {nic.name: nic for nic in inventory()}


def test_ids_functions_and_firmware(simulate: Simulate) -> None:
    e810 = Nic(
        driver="ice", vendor=0x8086, device=0x1593, subsystem_vendor=0x8086,
        subsystem_device=0x0002, firmware="4.40 0x8001c967", slot=9, phc=0,
    )  # fmt: skip
    first = e810
    second = Nic(driver="ice", device=0x1593, slot=9, function=1, phc=0)
    virtual = Nic(driver="iavf", device=0x1889, slot=10, vf_of=0, phc=None)
    unknown = Nic(driver="newnic", vendor=0x1234, device=0x5678)
    ports = simulate(first, second, virtual, unknown)
    seen = found()
    one = seen["hw0"]
    assert (one.vendor_id, one.device_id) == ("8086", "1593")
    assert (one.subsystem_vendor_id, one.subsystem_device_id) == ("8086", "0002")
    assert one.pci_address == ports[0].pci_address
    assert (one.driver, one.firmware, one.model) == ("ice", "4.40 0x8001c967", "E810-C for SFP")
    assert (one.function, one.physical_function, one.virtual_number) == (0, "", None)
    assert one.hardware_stamps
    assert {"hardware-transmit", "hardware-receive", "hardware-raw-clock"} <= set(one.capabilities)
    assert "on" in one.tx_types
    assert one.rx_filters
    assert f"ptp{one.phc_index}" == ports[0].clock
    assert (seen["hw1"].function, seen["hw1"].phc_index) == (1, one.phc_index)
    assert one.shares_phc_with == ("hw1",)
    assert seen["hw1"].shares_phc_with == ("hw0",)
    assert any("tx_timestamp_timeout 50" in notice for notice in one.notices)
    vf = seen["hw2"]
    assert (vf.function, vf.physical_function) == (None, ports[0].pci_address)
    assert (vf.virtual_number, vf.hardware_stamps, vf.phc_index) == (0, False, None)
    other = seen["hw3"]
    assert other.shares_phc_with == ()
    assert not other.listed
    assert any("not in the device list" in notice for notice in other.notices)
