"""`visorctl vib`, `depot` and `image`, run as a user runs them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vib_samples as samples
from vib_samples import identity

MAIN = "from chronovisor.cli.main import main; main()"
TOML = """\
name = "trx-conf"
version = "1.0-1"
vendor = "example"
summary = "Time settings"
release-date = 2026-01-02T03:04:05Z
"""
VIB = "example_bootbank_trx-conf_1.0-1.vib"


def visorctl(*words: str | Path, cwd: Path, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def tree(directory: Path, name: str = "opt/trx/trx.conf", toml: str = TOML) -> Path:
    path = directory / "trx" / "payloads" / "payload1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[trx]\n")
    (directory / "trx" / "vib.toml").write_text(toml)
    return directory / "trx"


def test_create_show_list_verify_extract_diff(tmp_path: Path) -> None:
    tree(tmp_path)
    assert visorctl("vib", "create", "trx", cwd=tmp_path) == f"{VIB}\n"
    shown = visorctl("vib", "show", VIB, cwd=tmp_path).splitlines()
    # the order of `esxcli software vib get`
    assert shown[0] == "example_bootbank_trx-conf_1.0-1"
    assert [line.strip().partition(":")[0] for line in shown[1:]] == [
        *("Name", "Version", "Type", "Vendor", "Acceptance Level", "Summary", "Description"),
        *("ReferenceURLs", "Creation Date", "Depends", "Conflicts", "Replaces", "Provides"),
        *("Maintenance Mode Required", "Hardware Platforms Required", "Live Install Allowed"),
        *("Live Remove Allowed", "Stateless Ready", "Overlay", "Tags", "Payloads"),
    ]
    assert "   Acceptance Level: CommunitySupported" in shown
    assert "   Creation Date: 2026-01-02" in shown
    assert all(line.startswith("   ") and line[3] != " " for line in shown[1:])
    assert "opt/trx/trx.conf" in visorctl("vib", "list-files", VIB, cwd=tmp_path)
    assert "failed" not in visorctl("vib", "verify", VIB, cwd=tmp_path)
    visorctl("vib", "extract", VIB, "out", cwd=tmp_path)
    visorctl("vib", "create", "out", "-o", "again.vib", cwd=tmp_path)
    assert visorctl("vib", "diff", VIB, "again.vib", cwd=tmp_path) == ""
    assert (tmp_path / "again.vib").read_bytes() == (tmp_path / VIB).read_bytes()
    (tmp_path / "out/payloads/payload1/opt/trx/trx.conf").write_text("[more]\n")
    visorctl("vib", "create", "out", "-o", "again.vib", cwd=tmp_path)
    assert "opt/trx/trx.conf" in visorctl("vib", "diff", VIB, "again.vib", cwd=tmp_path, code=1)


def test_the_refusal_names_file_and_rule(tmp_path: Path) -> None:
    tree(tmp_path, "etc/vmware/trx.conf")
    said = visorctl("vib", "create", "trx", cwd=tmp_path, code=6)
    words = "visorctl: VIB trx-conf: etc/vmware/trx.conf is not allowed at level community\n"
    assert words in said
    assert "rule community-paths" in said
    done = visorctl("vib", "create", "trx", "--force", cwd=tmp_path)
    assert done == f"{VIB}\n"
    assert "is not allowed" in visorctl("vib", "verify", VIB, cwd=tmp_path, code=6)
    assert "warning" in visorctl("vib", "verify", VIB, "--force", cwd=tmp_path)


def test_every_build_gives_the_same_bytes(tmp_path: Path) -> None:
    tree(tmp_path, toml=TOML.replace("release-date", "# release-date"))
    builds = set()
    for number in range(3):  # the bench does twenty
        for path in (tmp_path / "trx").rglob("*"):
            os.utime(path, (number, number))
        visorctl("vib", "create", "trx", cwd=tmp_path, SOURCE_DATE_EPOCH="1700000000")
        builds.add((tmp_path / VIB).read_bytes())
    assert len(builds) == 1
    said = visorctl("vib", "create", "trx", cwd=tmp_path, code=3, SOURCE_DATE_EPOCH="now")
    assert "not seconds since 1970" in said


def keys(directory: Path) -> None:
    root = identity("root", authority=True, last=samples.NOW.replace(year=2090))
    signer = identity("signer", root, last=samples.NOW.replace(year=2090))
    (directory / "key.pem").write_bytes(signer.key_pem())
    (directory / "cert.pem").write_bytes(signer.pem())
    (directory / "trust" / "partner").mkdir(parents=True)
    (directory / "trust" / "partner" / "root.pem").write_bytes(root.pem())


def test_overrides_show_in_image_status_for_ever(tmp_path: Path) -> None:
    keys(tmp_path)
    tree(tmp_path, "etc/vmware/trx.conf", TOML + 'acceptance-level = "partner"\n')
    image = ("--profile", "image", "--trust", "trust")
    profile = image[:2]
    visorctl("vib", "create", "trx", cwd=tmp_path)
    assert "unsigned" in visorctl("image", "install", VIB, *image, cwd=tmp_path, code=6)
    done = visorctl("image", "install", VIB, "--no-sig-check", *image, cwd=tmp_path)
    assert done.splitlines() == [
        "Installation Result",
        "   Message: Operation finished successfully.",
        "   VIBs Installed: example_bootbank_trx-conf_1.0-1",
        "   VIBs Removed:",
        "   VIBs Skipped:",
        "   Reboot Required: false",
    ]
    visorctl("image", "remove", "trx-conf", *profile, cwd=tmp_path)
    visorctl("vib", "sign", VIB, "--key", "key.pem", "--cert", "cert.pem", cwd=tmp_path)
    visorctl("image", "install", VIB, *image, cwd=tmp_path)
    listed = visorctl("image", "list", *profile, cwd=tmp_path).splitlines()
    assert listed[:2] == [
        "Name      Version  Vendor   Acceptance Level  Install Date",
        "--------  -------  -------  ----------------  ------------",
    ]
    assert re.fullmatch(
        r"trx-conf  1\.0-1    example  PartnerSupported  \d{4}-\d\d-\d\d", listed[2]
    )
    status = visorctl("image", "status", *profile, cwd=tmp_path)
    assert "VIBs Installed By Override: none" in status
    assert re.search(r"--no-sig-check  example_bootbank_trx-conf_1\.0-1\n +unsigned, which", status)
    data = json.loads(visorctl("image", "status", *profile, "--format", "json", cwd=tmp_path))
    assert data["overrides"][0]["options"] == ["--no-sig-check"]
    assert visorctl("image", "acceptance", *profile, cwd=tmp_path) == "PartnerSupported\n"
    said = visorctl("image", "acceptance", "certified", *profile, cwd=tmp_path, code=5)
    assert "below level certified: example_bootbank_trx-conf_1.0-1" in said


def test_depots(tmp_path: Path) -> None:
    tree(tmp_path)
    visorctl("vib", "create", "trx", cwd=tmp_path)
    visorctl("depot", "create", "bundle.zip", VIB, cwd=tmp_path)
    visorctl("depot", "publish", "www", VIB, cwd=tmp_path)
    lists = {visorctl("depot", "list", place, cwd=tmp_path) for place in ("bundle.zip", "www")}
    assert len(lists) == 1
    (tmp_path / "got").mkdir()
    said = visorctl("depot", "fetch", "bundle.zip", "trx-conf", "-d", "got", cwd=tmp_path)
    assert said == f"got/{VIB}\n"
    visorctl("image", "acceptance", "community", "--profile", "i", cwd=tmp_path)
    words = ("--depot", "www", "--name", "trx-conf", "--profile", "i")
    assert "VIBs Installed: example" in visorctl("image", "install", *words, cwd=tmp_path)
    assert visorctl("depot", "fetch", "bundle.zip", "nope", cwd=tmp_path, code=4)


@pytest.mark.parametrize("word", ["vib", "depot", "image"])
def test_help_is_there(word: str, tmp_path: Path) -> None:
    assert "Commands" in visorctl(word, "--help", cwd=tmp_path)


MEASURED = """
from pathlib import Path
from chronovisor.image import vib
from chronovisor.image.vib import recipe
built = vib.build(recipe.load(Path("trx")), Path("."))
with vib.opened(built.path) as package:
    vib.verify(package, vib.Policy()).demand()
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.parametrize("payload", ['type = "vgz"\narchive = "vmtar"', 'type = "tgz"\nlevel = 1'])
def test_a_large_package_takes_little_memory(tmp_path: Path, payload: str) -> None:
    tree(tmp_path, toml=TOML + f'[[payload]]\nname = "payload1"\n{payload}\n')
    with (tmp_path / "trx/payloads/payload1/opt/trx/large").open("wb") as stream:
        stream.truncate(256 << 20)
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100, "MiB, of 256 in the package"


def test_a_killed_extraction_leaves_no_target(tmp_path: Path) -> None:
    tree(tmp_path)
    with (tmp_path / "trx/payloads/payload1/opt/trx/large").open("wb") as stream:
        stream.truncate(200 << 20)
    visorctl("vib", "create", "trx", cwd=tmp_path)
    words = [sys.executable, "-c", MAIN, "vib", "extract", VIB, "out"]
    process = subprocess.Popen(words, cwd=tmp_path)
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".out.*/payloads/payload1/opt/trx/large")):
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    visorctl("vib", "extract", VIB, "out", cwd=tmp_path)
    assert (tmp_path / "out/payloads/payload1/opt/trx/large").stat().st_size == 200 << 20


@pytest.mark.parametrize(
    "words",
    [
        ("vib", "create", "trx", "-o", "small"),
        ("vib", "extract", "large.vib", "small/out"),
        ("vib", "sign", "large.vib", "--key", "key.pem", "--cert", "cert.pem", "-o", "small/s.vib"),
        ("depot", "create", "small/bundle.zip", "large.vib"),
        ("depot", "publish", "small/www", "large.vib"),
        ("depot", "fetch", "bundle.zip", "-d", "small"),
        ("image", "install", "large.vib", "--profile", "small/image"),
    ],
)
def test_a_full_disk_is_told_and_nothing_stays(tmp_path: Path, words: tuple[str, ...]) -> None:
    keys(tmp_path)
    noise = os.urandom(400_000)
    tree(tmp_path)
    (tmp_path / "trx/payloads/payload1/opt/trx/noise").write_bytes(noise)
    visorctl("vib", "create", "trx", "-o", "large.vib", cwd=tmp_path)
    visorctl("depot", "create", "bundle.zip", "large.vib", cwd=tmp_path)
    (tmp_path / "small").mkdir()
    # the mount is the namespace's own and goes with it; what stayed is listed before that
    inner = (
        f"{sys.executable} -c '{MAIN}' {' '.join(words)}; code=$?; find small -type f; exit $code"
    )
    script = f"mount -t tmpfs -o size=200k tmpfs small; {inner}"
    command = ["unshare", "--mount", "/bin/sh", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "No space left on device" in done.stderr
    assert "hint: free some space and try again" in done.stderr
    left = [line for line in done.stdout.splitlines() if not line.endswith("/lock")]
    assert not left


def test_two_may_publish_at_once(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        raw = samples.sample(name=name)
        samples.written(tmp_path, raw, f"{name}.vib")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", MAIN, "depot", "publish", "www", f"{name}.vib"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
        )
        for name in ("one", "two", "three")
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    listed = visorctl("depot", "list", "www", "--format", "json", cwd=tmp_path)
    assert [row["name"] for row in json.loads(listed)] == ["one", "three", "two"]
