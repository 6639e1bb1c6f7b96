"""What docs/install.md does: a wheel, a virtual environment, the unit, a host that answers.

Nothing is fetched: the dependencies are those of the environment that runs the tests.
"""

import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import labs
from chronovisor import __version__

ROOT = Path(__file__).parents[3]
UNITS = "lib/systemd/system"
UNIT = f"{UNITS}/visord.service"


def run(*words: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", directory, ROOT)
    (built,) = directory.glob("chronovisor-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with the wheel in it."""
    home = tmp_path_factory.mktemp("installed") / "chronovisor"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", wheel)
    # Only now, for pip would take what it finds there for installed here. The editable install of
    # this tree is not found through it: that is a .pth of its own.
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")[:-1]
    )
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def test_wheel_has_what_is_no_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"chronovisor-{__version__}.data/data"
    assert {
        "chronovisor/py.typed",
        "chronovisor/clock/catalogue/options.json",
        f"{data}/{UNIT}",
        f"{data}/{UNITS}/chronovisor-firewall.service",
        f"{data}/share/doc/chronovisor/install.md",
    } <= names
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


@pytest.mark.parametrize("program", ["visorctl", "visord"])
def test_programs_say_their_version(installed: Path, program: str) -> None:
    assert run(installed / "bin" / program, "--version") == f"{program} {__version__}\n"


def test_an_installed_host_answers(installed: Path, tmp_path: Path) -> None:
    words = [word for name in ("etc", "var", "run") for word in (f"--{name}", str(tmp_path / name))]
    log = tmp_path / "visord.log"
    socket = tmp_path / "run" / "visord.sock"
    command = [str(installed / "bin" / "visord"), *words, "--log-file", str(log)]
    with subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL) as visord:
        try:
            labs.until("a socket", socket.is_socket)
            visorctl = (installed / "bin" / "visorctl", "--socket", socket)
            assert run(*visorctl, "host", "health").startswith("ok")
            schema = run(*visorctl, "config", "schema", "list")
            assert "host/system/system_time" in schema
            where = run(
                installed / "bin" / "python", "-c", "import chronovisor as c; print(c.__file__)"
            )
            assert where.startswith(str(installed))
        finally:
            visord.send_signal(signal.SIGTERM)
            visord.wait(30)
    assert visord.returncode == 0


@pytest.mark.parametrize("name", ["visord.service", "chronovisor-firewall.service"])
def test_systemd_takes_the_unit(installed: Path, tmp_path: Path, name: str) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("systemd-analyze is not installed")
    text = (installed / UNITS / name).read_text()
    assert "/opt/chronovisor/bin/visor" in text
    unit = tmp_path / name
    unit.write_text(text.replace("/opt/chronovisor", str(installed)))
    done = subprocess.run(
        [verifier, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_firewall_unit_closes_taps_or_fails(installed: Path, tmp_path: Path) -> None:
    text = (installed / UNITS / "chronovisor-firewall.service").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    # What systemd.service(5) does to a command line: quotes, `$$` and `%%`.
    words = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line[10:])]
    apart = ("unshare", "--net", "sh", "-c", '"$@" && nft list ruleset', "sh")

    def start(home: Path) -> "subprocess.CompletedProcess[str]":
        command = [word.replace("/opt/chronovisor", str(home)) for word in words]
        return subprocess.run([*apart, *command], capture_output=True, text=True, check=False)

    done = start(installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('fname "tap*" counter name "unclaimed" drop') == 6
    assert start(tmp_path / "nothing").returncode != 0


def test_unit_keeps_worlds_and_hears_visord_alone() -> None:
    text = (ROOT / "packaging" / "systemd" / "visord.service").read_text()
    lines = {line for line in text.splitlines() if line and not line.startswith("#")}
    assert {"KillMode=process", "Delegate=yes", "RuntimeDirectoryPreserve=yes"} <= lines
    assert {"Type=notify", "NotifyAccess=main", "Restart=always", "OOMPolicy=continue"} <= lines
    # A mount namespace of its own would hide network namespaces and mounts from the machine.
    private = ("Protect", "Private", "ReadWritePaths", "ReadOnlyPaths", "TemporaryFileSystem")
    assert not [line for line in lines if line.startswith(private)]
