import pytest
from pydantic import ValidationError

from chronovisor.clock.settings import PtpConfig, PtpPort, SystemTime


@pytest.mark.parametrize("name", ["eth0", "ens1f1np1", "eth0.100", "br-ex", "wlan0@x", "é0"])
def test_a_name_that_the_kernel_takes_is_a_device(name: str) -> None:
    assert PtpPort(index=0, device=name).device == name


@pytest.mark.parametrize(
    "name",
    ["eth0\0", "lo\0x", "eth0:1", "a b", "a/b", "a\tb", "a\x1b", "a\x7f", "[x]", "#x", "x" * 16],
)
def test_a_name_that_no_device_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        PtpPort(index=0, device=name)


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ([(0, "eth0"), (1, "eth0")], "port device eth0 is used by more than one port"),
        ([(0, "eth0"), (0, "eth1")], "port index 0 is used by more than one port"),
    ],
)
def test_ports_are_distinct(ports: list[tuple[int, str]], said: str) -> None:
    made = tuple(PtpPort(index=index, device=device) for index, device in ports)
    with pytest.raises(ValidationError, match=said):
        PtpConfig(port=made)


def test_ports_are_used_in_the_order_of_their_index() -> None:
    config = PtpConfig(
        port=(
            PtpPort(index=7, device="eth7"),
            PtpPort.model_validate({"index": 3, "device_type": "none"}),
            PtpPort(index=1, device="eth1"),
        )
    )
    assert [port.device for port in config.active_ports()] == ["eth1", "eth7"]


def test_to_be_enabled_needs_a_device() -> None:
    with pytest.raises(ValidationError, match="enabled needs at least one port"):
        SystemTime.model_validate(
            {"enabled": True, "ptp_config": {"port": [{"index": 0, "device_type": "none"}]}}
        )


@pytest.mark.parametrize(
    ("ip_config", "said"),
    [
        ({"ip_address": "10.0.0.2", "subnet_mask": "255.255.255.0"}, "dhcp to be false"),
        ({"dhcp": False, "ip_address": "10.0.0.2"}, "go together"),
        ({"dhcp": False, "ip_address": "10.0.0.2", "subnet_mask": "255.0.255.0"}, "255.0.255.0"),
        ({"dhcp": False}, "only a pci_passthru_nic"),
    ],
)
def test_addresses_are_judged(ip_config: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PtpPort.model_validate({"index": 0, "device": "eth0", "ip_config": ip_config})
