import pytest

from chronovisor.clock.catalogue import Release, catalogue
from chronovisor.clock.linuxptp import check_settings
from chronovisor.clock.settings import (
    Options,
    PassthroughOptions,
    PtpConfig,
    PtpPort,
    SystemTime,
    TimeStamping,
)

OLD, NEW = catalogue(Release(3, 1, 1)), catalogue(Release(4, 4))
HARDWARE = TimeStamping.HARDWARE


def host(
    *ports: PtpPort,
    ptp4l: Options | None = None,
    phc2sys: Options | None = None,
    domain: int = 0,
    calibration_delay_ns: int = 0,
) -> SystemTime:
    return SystemTime(
        enabled=True,
        ptp_config=PtpConfig(domain=domain, port=ports or (port(0),)),
        calibration_delay_ns=calibration_delay_ns,
        options=PassthroughOptions(ptp4l=ptp4l or {}, phc2sys=phc2sys or {}),
    )


def port(index: int, stamping: TimeStamping = TimeStamping.SOFTWARE, **options: str) -> PtpPort:
    return PtpPort(index=index, device=f"eth{index}", time_stamping=stamping, options=dict(options))


@pytest.mark.parametrize(
    "wanted",
    [
        SystemTime(),
        host(),
        host(domain=127),
        host(port(0, HARDWARE), port(1, HARDWARE), phc2sys={"R": 8}),
        host(port(0, HARDWARE), phc2sys={"O": -37}),
        host(port(0, HARDWARE, time_stamping="software"), port(1)),
        host(ptp4l={"gmCapable": 0}),
        host(port(0, BMCA="noop")),
        host(port(0, masterOnly="1", BMCA="noop")),
        host(port(0), port(1), ptp4l={"clock_type": "BC"}),
        host(
            port(0, delay_mechanism="P2P"),
            port(1, delay_mechanism="p2p"),
            ptp4l={"clock_type": "P2P_TC"},
        ),
        host(port(0, inhibit_delay_req="1", asCapable="true")),
        host(port(0, HARDWARE), ptp4l={"twoStepFlag": 0}),
        host(port(0, delayAsymmetry="5"), calibration_delay_ns=9),
        SystemTime(options=PassthroughOptions(ptp4l={"clock_type": "BC"})),
    ],
)
def test_what_is_right(wanted: SystemTime) -> None:
    assert check_settings(wanted, OLD) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            host(ptp4l={"priority1": 300, "nonsense": 1}, phc2sys={"logSyncInterval": 0}),
            [
                "options.ptp4l.priority1: priority1: '300' is out of range (valid: 0..255)",
                "options.ptp4l.nonsense: 'nonsense' is not an option of linuxptp 3.1.1",
                "options.phc2sys.logSyncInterval: logSyncInterval is accepted but ignored",
            ],
        ),
        (
            host(port(7), port(3, BMCA="x", domainNumber="1")),
            [
                "ptp_config.port[1].options.BMCA: BMCA: 'x' is not among its values",
                "ptp_config.port[1].options.domainNumber: domainNumber is set by Chronovisor",
            ],
        ),
        (
            host(ptp4l={"step_threshold": 1, "pi_offset_const": 1}),
            ["options.ptp4l.pi_offset_const: pi_offset_const and step_threshold are the same"],
        ),
        (
            host(ptp4l={"G.8275.defaultDS.localPriority": 0}),
            ['options.ptp4l["G.8275.defaultDS.localPriority"]: G.8275.defaultDS.localPriority'],
        ),
        (
            host(domain=128),
            ["ptp_config.domain: linuxptp 3.1.1 knows no domain above 127 (valid: 0..127)"],
        ),
        (
            host(PtpPort(index=0, device="Global")),
            ["ptp_config.port[0].device: ptp4l cannot use a device named 'Global'"],
        ),
        (
            host(ptp4l={"delayAsymmetry": 5}, calibration_delay_ns=9),
            ["options.ptp4l.delayAsymmetry: calibration_delay_ns says the same for all ports"],
        ),
        (
            host(port(0), port(1, HARDWARE)),
            [
                "ptp_config.port[1].time_stamping: PTP port 1 (eth1): time_stamping hardware "
                "differs from software of PTP port 0 (eth0); ptp4l has one for all ports"
            ],
        ),
        (
            host(port(0, HARDWARE), port(1, HARDWARE), phc2sys={"O": 0}),
            ["options.phc2sys.O: phc2sys takes a fixed offset for one port only"],
        ),
        (
            host(ptp4l={"slaveOnly": 1, "gmCapable": 0}),
            ["options.ptp4l.slaveOnly: slaveOnly 1 (IEEE 1588) excludes gmCapable 0"],
        ),
        (
            host(port(0, masterOnly="1"), ptp4l={"slaveOnly": 1}),
            ["ptp_config.port[0].options.masterOnly: PTP port 0 (eth0): masterOnly 1 on a clock"],
        ),
        (
            host(ptp4l={"twoStepFlag": 0}),
            ["options.ptp4l.twoStepFlag: twoStepFlag 0 needs time stamps of hardware"],
        ),
        (
            host(ptp4l={"clock_type": "bc"}),
            ["options.ptp4l.clock_type: clock_type BC needs two ports or more (valid: OC)"],
        ),
        (
            host(port(0), port(1), ptp4l={"clock_type": "P2P_TC"}),
            [
                "options.ptp4l.clock_type: clock_type P2P_TC needs delay_mechanism P2P",
                "options.ptp4l.clock_type: clock_type P2P_TC needs delay_mechanism P2P",
            ],
        ),
        (
            host(port(0, BMCA="noop"), ptp4l={"slaveOnly": 0}),
            ["ptp_config.port[0].options.BMCA: PTP port 0 (eth0): BMCA noop needs masterOnly 1"],
        ),
        (
            host(port(0, inhibit_delay_req="1")),
            ["ptp_config.port[0].options.inhibit_delay_req: PTP port 0 (eth0): inhibit_delay_req"],
        ),
        (
            host(port(0, unicast_master_table="1")),
            ["ptp_config.port[0].options.unicast_master_table: unicast_master_table is set by"],
        ),
    ],
)
def test_what_is_wrong_has_its_path(wanted: SystemTime, said: list[str]) -> None:
    problems = [str(problem) for problem in check_settings(wanted, OLD)]
    assert len(problems) == len(said), problems
    for problem, start in zip(problems, said, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (host(ptp4l={"clientOnly": 1, "slaveOnly": 1}), "slaveOnly and clientOnly are the same"),
        (host(port(0, spp="1")), "spp needs an sa_file"),
        (host(ptp4l={"spp": 1, "sa_file": "/etc/sa"}), "spp in [global] also locks"),
        (
            host(port(0, spp="1"), ptp4l={"sa_file": "/etc/sa", "ptp_minor_version": 0}),
            "spp needs ptp_minor_version 1",
        ),
        (
            host(port(0, HARDWARE, spp="1", time_stamping="onestep"), ptp4l={"sa_file": "/etc/sa"}),
            "spp does not work with one-step",
        ),
    ],
)
def test_rules_of_later_releases(wanted: SystemTime, said: str) -> None:
    assert said in "\n".join(map(str, check_settings(wanted, NEW)))


def test_security_that_is_right() -> None:
    assert check_settings(host(port(0, spp="1"), ptp4l={"sa_file": "/etc/sa"}), NEW) == []
