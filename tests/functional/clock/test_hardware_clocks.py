from chronovisor.clock.linuxptp.clocks import hardware_clocks
from chronovisor.clock.settings import PtpConfig, PtpPort, SystemTime


def test_devices_without_a_clock_are_left_out() -> None:
    ports = (PtpPort(index=0, device="lo"), PtpPort(index=1, device="no-such"))
    assert hardware_clocks(SystemTime(ptp_config=PtpConfig(port=ports))) == {}
