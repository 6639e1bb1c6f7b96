"""What a lab needs of the machine."""

from pathlib import Path

import pytest

from chronovisor.errors import Denied, ToolFailed, Unavailable
from chronovisor.lab import tools


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Denied, match="only root"):
        tools.require()


def test_every_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ip").touch(mode=0o755)
    monkeypatch.setattr(tools, "PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(Unavailable) as caught:
        tools.require()
    assert caught.value.message.endswith("not here: nft, nsenter, setpriv, ptp4l")
    assert caught.value.hint == "apt-get install linuxptp nftables util-linux"


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(ToolFailed, match=r"`sh -c .*` failed: because$"):
        tools.run(["sh", "-c", "echo because >&2; exit 3"])
    with pytest.raises(ToolFailed, match="exit status 3"):
        tools.run(["sh", "-c", "exit 3"])
    with pytest.raises(ToolFailed, match="did not run"):
        tools.run(["/nonexistent"])


@pytest.mark.parametrize(
    ("text", "release"), [("3.1.1", (3, 1, 1)), ("4.4", (4, 4)), ("v4.2-7-gabc", (4, 2))]
)
def test_ptp4l_tells_its_release(
    monkeypatch: pytest.MonkeyPatch, text: str, release: tuple[int, ...]
) -> None:
    monkeypatch.setattr(tools, "run", lambda _: text + "\n")
    assert tools.ptp4l_release() == release


def test_no_release_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "run", lambda _: "missing\n")
    with pytest.raises(ToolFailed, match="'missing'"):
        tools.ptp4l_release()
