"""Debian's kernel, its modules and headers: fetched by apt into a cache, never installed.

The cache is `$XDG_CACHE_HOME/chronovisor` (`~/.cache/chronovisor`); below it a directory for each
kernel release. It is filled below a lock and in one step, so that several test runs share it and a
killed one leaves nothing half done. Removing the directory costs a download and nothing else.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SERIES = "6.12"
"""6.6 brought `ndo_hwtstamp_set`, which our test module uses; bookworm's own kernel is 6.1."""

SECURITY = "deb http://deb.debian.org/debian-security bookworm-security main\n"
"""Where bookworm has 6.12 from, for a machine whose own sources do not name it."""

DOWNLOAD_DEADLINE_S = 900


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the cache. `directory` holds what its packages hold, as if it were `/`."""

    release: str
    directory: Path

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """What belongs at `/lib/modules/<release>`, with `modules.dep`."""
        return self.directory / "lib" / "modules" / self.release

    @property
    def headers(self) -> Path:
        """What `make -C … M=… modules` takes."""
        return self.directory / "usr" / "src" / f"linux-headers-{self.release}"


def cache() -> Path:
    """Return the directory that outlives a test run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "chronovisor"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a cache directory; the kernel gives it back when the process ends."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def debian_kernel(flavour: str = "amd64") -> Kernel:
    """Return Debian's newest 6.12 kernel of a flavour (`amd64`, `cloud-amd64`).

    Without a mirror the newest one in the cache does. Raises `RuntimeError` where there is neither.
    """
    place = cache() / "kernels"
    with locked(place):
        release = _candidate((), flavour)
        if release and (place / release).is_dir():
            return Kernel(release, place / release)
        errors = []
        for options in ((), _own_sources(place)):
            try:
                return _fetch(place, options, flavour)
            except (OSError, subprocess.SubprocessError, RuntimeError) as error:
                errors.append(str(error))
        found = _in_cache(place, flavour)
        if found:
            return found[-1]
    raise RuntimeError(f"no kernel {SERIES} ({flavour}) from apt: {'; '.join(errors)}")


def _in_cache(place: Path, flavour: str) -> list[Kernel]:
    pattern = re.compile(rf"{re.escape(SERIES)}\.(\d+)\+\w+-{re.escape(flavour)}")
    found = [(match, path) for path in place.iterdir() if (match := pattern.fullmatch(path.name))]
    return [Kernel(p.name, p) for _, p in sorted(found, key=lambda pair: int(pair[0][1]))]


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=os.environ | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_DEADLINE_S,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise RuntimeError(f"{' '.join(argv)}: exit code {done.returncode}: {said}")
    return done.stdout


def _candidate(options: Sequence[str], flavour: str) -> str | None:
    """Return the kernel release that Debian's metapackage of the series stands for."""
    with contextlib.suppress(RuntimeError):
        said = _run("apt-cache", *options, "depends", f"linux-image-{SERIES}-{flavour}")
        found = re.search(rf"Depends: linux-image-({re.escape(SERIES)}\.\S+)", said)
        return found[1] if found else None
    return None


def _own_sources(place: Path) -> tuple[str, ...]:
    """Return options that give apt sources and lists of our own beside this machine's."""
    own = place / "apt"
    (own / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (own / "sources.list").write_text(SECURITY)
    settings = {
        "Dir::Etc::SourceList": own / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": own / "lists",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
    }
    return tuple(f"-o{name}={value}" for name, value in settings.items())


def _fetch(place: Path, options: Sequence[str], flavour: str) -> Kernel:
    if options:
        _run("apt-get", *options, "-qq", "update")
    release = _candidate(options, flavour)
    if release is None:
        raise RuntimeError(f"linux-image-{SERIES}-{flavour} is in no source")
    version = release.removesuffix(f"-{flavour}")
    names = (
        f"linux-image-{release}",
        f"linux-headers-{release}",
        f"linux-headers-{version}-common",
        f"linux-kbuild-{version}",
    )
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as name:
        new = Path(name)
        (new / "debs").mkdir()
        # As root apt would fetch as _apt, who may not enter a home directory.
        sandbox = "-oAPT::Sandbox::User=root"
        _run("apt-get", *options, sandbox, "-qq", "download", *names, cwd=new / "debs")
        for package in (new / "debs").iterdir():
            _run("dpkg", "-x", str(package), str(new / "tree"))
        _settle(Kernel(release, new / "tree"), version)
        (new / "tree").chmod(0o755)
        shutil.rmtree(place / release, ignore_errors=True)
        (new / "tree").rename(place / release)
    return Kernel(release, place / release)


def _settle(kernel: Kernel, version: str) -> None:
    """Do what installing would have done: module dependencies; headers that find each other."""
    _run("depmod", "--basedir", str(kernel.directory), kernel.release)
    # The package names its other half by an absolute path; from here it lies beside it.
    include = (
        f"include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-{version}-common/Makefile"
    )
    (kernel.headers / "Makefile").write_text(include + "\n")
    for link in ("build", "source"):
        (kernel.modules / link).unlink(missing_ok=True)
