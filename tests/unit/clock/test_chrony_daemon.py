"""What chronyd is given: the same bytes for the same settings; what may not be passed through."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from chronovisor.clock.chrony import daemon, directives
from chronovisor.clock.chrony.daemon import Paths
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import InvalidInput

PATHS = Paths(Path("/run/chronovisor/clock"))


def settings(**given: object) -> SystemTime:
    """Return settings with protocol ntp."""
    base: dict[str, object] = {
        "enabled": True,
        "protocol": "ntp",
        "ntp_config": {"server": ["a.example"]},
    }
    return SystemTime.model_validate(base | given)


def test_the_whole_file() -> None:
    ntp = {
        "server": [
            "a.example",
            {"address": "fd00::1", "iburst": False, "prefer": True, "min_poll": 2, "max_poll": 4},
            {"address": "10.0.0.1", "key": 7, "port": 1123},
            {"address": "nts.example", "nts": True},
        ],
        "key_file": "/etc/chrony/chrony.keys",
    }
    text = daemon.config_text(
        settings(ntp_config=ntp, options={"chrony": {"maxdistance": 1.5, "noclientlog": True}}),
        PATHS,
        steers=True,
        may_step=True,
    )
    assert text == (
        "server a.example iburst\n"
        "server fd00::1 prefer minpoll 2 maxpoll 4\n"
        "server 10.0.0.1 iburst port 1123 key 7\n"
        "server nts.example iburst nts\n"
        "bindcmdaddress /run/chronovisor/clock/chrony/chronyd.sock\n"
        "cmdport 0\n"
        "pidfile /tmp/chronyd.pid\n"
        "dumpdir /run/chronovisor/clock/chrony\n"
        "ntsdumpdir /run/chronovisor/clock/chrony\n"
        "driftfile /run/chronovisor/clock/chrony/chronyd.drift\n"
        "keyfile /etc/chrony/chrony.keys\n"
        "port 0\n"
        "maxslewrate 500\n"
        "maxdistance 1.5\n"
        "noclientlog\n"
    )


def test_chronyd_that_only_measures_is_given_x_and_no_drift_file() -> None:
    assert "-x" in daemon.argv(PATHS, steers=False)
    assert "-x" not in daemon.argv(PATHS, steers=True)
    text = daemon.config_text(settings(), PATHS, steers=False, may_step=True)
    assert "driftfile" not in text


def test_a_step_is_made_only_where_asked_for_and_before_the_clock_was_right() -> None:
    asked = settings(ntp_config={"server": ["a"], "first_step_s": 0.5})
    first = daemon.config_text(asked, PATHS, steers=True, may_step=True)
    assert "makestep 0.5 1\n" in first
    assert "makestep" not in daemon.config_text(asked, PATHS, steers=True, may_step=False)
    assert "makestep" not in daemon.config_text(settings(), PATHS, steers=True, may_step=True)
    fallback = SystemTime.model_validate(
        {"ntp_config": {"server": ["a"], "first_step_s": 0.5}, "fallback": {"enabled": True}}
    )
    assert "makestep" in daemon.config_text(fallback, PATHS, steers=True, may_step=True)
    assert "makestep" not in daemon.config_text(fallback, PATHS, steers=True, may_step=False)
    assert "makestep" not in daemon.config_text(fallback, PATHS, steers=False, may_step=True)


def test_a_generation_is_that_of_what_a_running_chronyd_has() -> None:
    def of(one: SystemTime, *, steers: bool = True) -> str:
        return daemon.generation(one, PATHS, steers=steers)

    assert of(settings()) == of(settings())
    assert of(settings()) != of(settings(), steers=False)
    assert of(settings()) != of(settings(ntp_config={"server": ["b"]}))
    assert of(settings()) != of(settings(ntp_config={"server": ["a.example"], "first_step_s": 1}))


def test_the_rate_is_handed_over_in_chronys_sign() -> None:
    assert daemon.drift_text(12_345.0) == "-12.345000 1.000000\n"


def test_a_run_directory_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(InvalidInput, match="107"):
        Paths(Path("/" + "a" * 90))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"makestep": "1 3"}, "first_step_s"),
        ({"Server": "a"}, "ntp_config.server"),
        ({"cmdport": 323}, "keeps the daemon's files and sockets"),
        ({"rtcsync": True}, "one owner"),
        ({"maxdistanc": 1}, "maxdistance"),
        ({"maxdistance": True}, "needs a value"),
        ({"noclientlog": "x"}, "has no value"),
        ({"allow": "10.0.0.0/8\nuser root"}, "one line"),
        ({"port": 123, "PORT": 0}, "the same directive"),
    ],
)
def test_directives_that_are_refused(options: dict[str, object], words: str) -> None:
    problems = directives.check(settings(options={"chrony": options}))
    assert len(problems) == 1
    assert words in str(problems[0])


def test_every_problem_is_named_at_once() -> None:
    options = {"makestep": "1 3", "nonsense": 1, "maxdistance": 2}
    assert len(directives.check(settings(options={"chrony": options}))) == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ntp_config": {"server": ["not a host"]}}, "neither an address nor a host name"),
        ({"ntp_config": {"server": ["300.1.1.1"]}}, "neither an address nor a host name"),
        ({"ntp_config": {"server": ["-a"]}}, "neither an address nor a host name"),
        ({"ntp_config": {"server": ["fe80::1%eth0"]}}, "neither an address nor a host name"),
        ({"ntp_config": {"server": ["NTP.example.", "ntp.EXAMPLE"]}}, "more than once"),
        ({"ntp_config": {"server": []}}, "protocol ntp needs at least one"),
        ({"ntp_config": {"server": [{"address": "a", "key": 1}]}}, "needs key_file"),
        (
            {"ntp_config": {"server": [{"address": "a", "min_poll": 6, "max_poll": 4}]}},
            "min_poll 6 is above max_poll 4",
        ),
        (
            {
                "ntp_config": {
                    "server": [{"address": "a", "key": 1, "nts": True}],
                    "key_file": "/k",
                }
            },
            "exclude each other",
        ),
        ({"ntp_config": {"server": ["a"], "key_file": "keys"}}, "key_file"),
        ({"fallback": {"after_s": 0}}, "after_s"),
    ],
)
def test_settings_that_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**given)
    assert words in str(refused.value)


def test_fallback_needs_a_server() -> None:
    with pytest.raises(ValidationError, match=r"fallback needs at least one ntp_config\.server"):
        SystemTime.model_validate({"fallback": {"enabled": True}})
