"""Which time settings hold: the store's with trx.conf over them, whatever happens to the file."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict

from chronovisor.clock.catalogue import Release
from chronovisor.clock.engine import Engine
from chronovisor.clock.settings import PATH, SystemTime
from chronovisor.config import Change, ConfigStore, Registry, SqliteBackend
from chronovisor.errors import InvalidInput
from chronovisor.host.schema import registry
from chronovisor.host.system_time import SystemTimeSource

PORTS = {"ptp_config": {"port": [{"index": 0, "device": "eth0"}, {"index": 4, "device": "eth4"}]}}
GOOD = "ptp4l:priority1 11\nptp4l:port4:logSyncInterval -3\n"


class Host:
    """A store and an /etc of a test's own."""

    def __init__(self, base: Path, keys: Registry | None = None) -> None:
        self.base = base
        self.engine = Engine(base / "run")
        self.engine.linuxptp.release = Release(3, 1, 1)
        self.registry = keys or registry(self.engine)
        self.store = ConfigStore(SqliteBackend(base / "config.db"), self.registry)
        self.file = base / "trx.conf"

    def set(self, value: dict[str, Any] | None) -> None:
        self.store.commit([Change(PATH, value)], author="a test")

    def source(self) -> SystemTimeSource:
        """Return what a visord that starts now has."""
        source = SystemTimeSource(self.store, self.registry, self.file, self.base, self.engine)
        source.reload()
        return source


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.set(PORTS)
    return host


def given(source: SystemTimeSource) -> dict[Any, Any]:
    """Return all passthrough options that hold, those of ports by index."""
    settings = source.effective()
    ports = {port.index: port.options for port in settings.ptp_config.port if port.options}
    return {**settings.options.ptp4l, **ports}


def test_without_a_file_the_store_holds(host: Host) -> None:
    source = host.source()
    assert (given(source), source.problem, source.overlays()) == ({}, "", [])


def test_a_good_file_lies_over_the_store_with_its_lines(host: Host) -> None:
    host.file.write_text(GOOD)
    source = host.source()
    assert given(source) == {"priority1": 11, 4: {"logSyncInterval": -3}}
    (overlay,) = source.overlays()
    assert overlay.name == "trx.conf"
    assert overlay.values == {
        "options.ptp4l.priority1": (11, 1),
        "ptp_config.port[1].options.logSyncInterval": (-3, 2),
    }
    assert host.store.get(PATH).value == PORTS  # type: ignore[union-attr]  # it was set


def test_byte_order_mark_and_crlf_make_no_difference(host: Host) -> None:
    host.file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert given(host.source()) == {"priority1": 11, 4: {"logSyncInterval": -3}}
    host.file.write_text("nonsense\n")
    assert given(host.source()) == {"priority1": 11, 4: {"logSyncInterval": -3}}, "kept as it was"


def test_a_bad_file_leaves_the_good_one_in_force_and_says_so(host: Host) -> None:
    host.file.write_text(GOOD)
    source = host.source()
    host.file.write_text("ptp4l:priority1 999\nptp4l:no_such 1\n")
    assert source.reload()
    assert given(source)["priority1"] == 11
    assert source.problem.startswith(f"{host.file} is not applied: trx.conf:1:17: priority1:")
    assert source.problem.endswith("(and 1 more)")
    assert not source.reload(), "the same file is not read again"
    host.file.write_text("ptp4l:priority1 12\n")
    assert source.reload()
    assert (given(source), source.problem) == ({"priority1": 12}, "")


def test_a_restart_with_a_bad_file_uses_the_last_good_one(host: Host) -> None:
    host.file.write_text(GOOD)
    host.source()
    host.file.write_text("nonsense\n")
    source = host.source()
    assert given(source)["priority1"] == 11
    assert "is not applied" in source.problem


def test_a_removed_file_holds_no_more(host: Host) -> None:
    host.file.write_text(GOOD)
    source = host.source()
    host.file.unlink()
    assert source.reload()
    assert (given(source), source.problem) == ({}, "")


def test_a_file_removed_while_visord_was_down_holds_no_more(host: Host) -> None:
    host.file.write_text(GOOD)
    host.source()
    host.file.unlink()
    assert given(host.source()) == {}


def test_an_unreadable_file_leaves_the_good_one_in_force(host: Host) -> None:
    host.file.write_text(GOOD)
    source = host.source()
    host.file.unlink()
    host.file.mkdir()
    assert source.reload()
    assert given(source)["priority1"] == 11
    assert source.problem == f"{host.file} cannot be read: it is not a file"
    host.file.rmdir()
    host.file.symlink_to(host.file)
    assert source.reload()
    assert given(source)["priority1"] == 11
    assert source.problem.endswith("cannot be read: Too many levels of symbolic links")


def test_a_fifo_is_not_waited_for(host: Host) -> None:
    os.mkfifo(host.file)
    assert host.source().problem == f"{host.file} cannot be read: it is not a file"


def test_a_file_of_10_mb_is_refused_in_one_line(host: Host) -> None:
    host.file.write_bytes(b"ptp4l:priority1 1\n" * (10_000_000 // 18))
    source = host.source()
    assert given(source) == {}
    assert source.problem == (
        f"{host.file} is not applied: trx.conf: the file has more than 256 KiB; is it the one?"
    )


def test_a_file_that_cannot_be_kept_holds_and_says_so(host: Host) -> None:
    host.file.write_text(GOOD)
    (host.base / ".trx.conf.good.new").mkdir()
    source = host.source()
    assert given(source)["priority1"] == 11
    assert "is applied, but a restart may forget it: cannot write" in source.problem


def test_a_file_is_judged_again_when_what_it_names_appears(host: Host) -> None:
    host.set(None)
    host.file.write_text(GOOD)
    source = host.source()
    assert "there is no PTP port with index 4" in source.problem
    host.set(PORTS)
    assert source.reload()
    assert given(source) == {"priority1": 11, 4: {"logSyncInterval": -3}}
    assert source.problem == ""


def test_a_file_is_judged_again_by_another_release(host: Host) -> None:
    host.file.write_text("ptp4l:clientOnly 1\n")
    source = host.source()
    assert "clientOnly is known since 4.0" in source.problem
    host.engine.linuxptp.release = Release(4, 4)
    assert source.reload()
    assert (given(source), source.problem) == ({"clientOnly": 1}, "")


def test_a_value_is_judged_with_the_file_over_it(host: Host) -> None:
    host.file.write_text(GOOD)
    source = host.source()
    with pytest.raises(InvalidInput) as caught:
        source.proposed({"ptp_config": {"port": [{"index": 0, "device": "eth0"}]}})
    assert [problem.where for problem in caught.value.problems] == ["trx.conf:2:13"]
    assert source.proposed(PORTS).options.ptp4l == {"priority1": 11}


def test_every_error_of_a_file_comes_at_once(host: Host) -> None:
    with pytest.raises(InvalidInput) as caught:
        host.source().check(
            b"nonsense\nptp4l:priority1 999\nptp4l:port9:BMCA ptp\nptp4l:x\n", "trx.conf"
        )
    places = [problem.where for problem in caught.value.problems]
    assert places == ["trx.conf:1:1", "trx.conf:2:17", "trx.conf:3:13", "trx.conf:4:8"]


def test_importing_stores_what_the_file_gave(host: Host) -> None:
    source = host.source()
    commit = source.import_file(GOOD.encode(), "a.conf", author="a test", comment="")
    assert commit.comment == "options of a.conf"
    assert given(source) == {"priority1": 11, 4: {"logSyncInterval": -3}}
    assert source.overlays() == []
    assert source.export() == GOOD


def test_importing_replaces_an_option_under_its_deprecated_name(host: Host) -> None:
    host.engine.linuxptp.release = Release(4, 4)
    host.set({**PORTS, "options": {"ptp4l": {"slaveOnly": 0}}})
    source = host.source()
    source.import_file(b"ptp4l:clientOnly 1\n", "a.conf", author="a test", comment="")
    assert given(source) == {"clientOnly": 1}


def test_a_stored_value_that_is_refused_by_now_is_an_error_with_every_problem(
    tmp_path: Path,
) -> None:
    lax = Registry()
    lax.register(PATH, _AnythingGoes, description="what an older release took")
    Host(tmp_path, lax).set({"log_level": 99, "colour": "red"})
    source = Host(tmp_path).source()
    assert source.problem == "", "nothing is wrong with a file that is not there"
    with pytest.raises(InvalidInput) as caught:
        source.effective()
    assert {problem.where for problem in caught.value.problems} == {"log_level", "colour"}


class _AnythingGoes(SystemTime):
    model_config = ConfigDict(extra="allow")

    log_level: int = 0
