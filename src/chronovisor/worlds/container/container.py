"""One world's container: what is there for it before, while and after it runs.

`runtimes` (`/run/chronovisor/crx`) is the directory in which the runtimes keep their state, and a
container's id is its world's name, so `runc --root /run/chronovisor/crx list` shows them all. The
rest is in the world's own directory: bundle, the runtime's log, the pinned network namespace.
"""

import contextlib
import shutil
from pathlib import Path

from chronovisor.errors import ToolFailed
from chronovisor.worlds.cgroups import Cgroups
from chronovisor.worlds.container.bundle import Facts, config
from chronovisor.worlds.container.facts import gather
from chronovisor.worlds.container.launcher import BUNDLE, LOG
from chronovisor.worlds.container.nics import Loan
from chronovisor.worlds.container.report import ContainerReport, Held, held_by, namespaces_of
from chronovisor.worlds.container.runtime import KNOWN, failure, find, run
from chronovisor.worlds.limits import Arrangement
from chronovisor.worlds.sandbox import Sandbox
from chronovisor.worlds.spec import WorldSpec
from chronovisor.worlds.state import World

PIN = "netns"
"""The file in a world's directory on which its container's network namespace is mounted."""

_RECORD = "loan.json"


class Container:
    """The container of the world that `directory` is of."""

    def __init__(self, directory: Path, runtimes: Path, cgroups: Cgroups) -> None:
        self._directory = directory
        self._runtimes = runtimes
        self._cgroups = cgroups
        self.name = directory.name
        self.loan = Loan(directory / PIN, directory / _RECORD)

    async def check(self, sandbox: Sandbox) -> None:
        """Raise `ToolFailed` if it could not be made as things are."""
        find(sandbox.runtime)
        self._facts(sandbox, {}, Arrangement(), (0, 0, ()), "/")
        if sandbox.network is not None:
            await self.loan.check(sandbox.network)

    async def orders(
        self, spec: WorldSpec, base: dict[str, object], arrangement: Arrangement
    ) -> dict[str, object]:
        """Return what the launcher is told beside `base`, all made ready for it.

        Raises `ToolFailed` where that cannot be done.
        """
        sandbox = spec.sandbox
        assert sandbox is not None
        runtime = find(sandbox.runtime)
        if sandbox.network is not None:
            await self.loan.lend(sandbox.network)
        joined = self._network(sandbox)
        if sandbox.network_of is not None and not (joined and joined.exists()):
            text = f"the container of {sandbox.network_of}, whose network it joins, is not there"
            raise ToolFailed(text, hint="it starts when that one runs")
        found = self._facts(
            sandbox,
            base["env"],  # type: ignore[arg-type]
            arrangement,
            _user(base["user"]),
            str(base["working_directory"]),
        )
        self._runtimes.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._directory / LOG).unlink(missing_ok=True)
        return {
            "runtime": runtime.path,
            "root": str(self._runtimes),
            "id": self.name,
            "bundle": str(self._directory / BUNDLE),
            "log": str(self._directory / LOG),
            "env": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            "real_time_home": str(self._cgroups.real_time_home() or ""),
            "config": config(spec.argv, sandbox, found),
        }

    def problem(self, sandbox: Sandbox, phase: str) -> ToolFailed:
        """Return what a runtime's failure in a phase (`create: status 1`) means."""
        said = ""
        with contextlib.suppress(OSError):
            said = failure((self._directory / LOG).read_text("utf-8", "replace"))
        runtime = find(sandbox.runtime)
        verb, _, how = phase.partition(": ")
        return ToolFailed(
            f"{runtime.name} {verb} of container {self.name} failed: {said or how}",
            hint=f"{runtime.name} is {runtime.path}, version {runtime.version}; its log is "
            f"{self._directory / LOG}; the setting `sandbox` can go without a container",
        )

    def report(self, world: World, sandbox: Sandbox) -> ContainerReport:
        """Return how it is; raise `ToolFailed` if its runtime is gone."""
        runtime = find(sandbox.runtime)
        status = Held() if world.pid is None else held_by(world.pid)
        return ContainerReport(
            name=self.name,
            state=world.state,
            reason=world.reason,
            argv=world.argv,
            sandbox=sandbox,
            runtime=runtime.path,
            runtime_version=runtime.version,
            bundle=str(self._directory / BUNDLE),
            exec_prefix=(runtime.path, "--root", str(self._runtimes), "exec"),
            pid=world.pid,
            uptime_s=world.uptime_s,
            capabilities=status.capabilities,
            no_new_privileges=status.no_new_privileges,
            seccomp_filters=status.seccomp_filters,
            namespaces=() if world.pid is None else namespaces_of(world.pid),
            resident_bytes=status.resident_bytes,
        )

    def was_started(self) -> bool:
        """Return whether its program was let go, if there is a container at all."""
        # Both runtimes have the init wait at this FIFO and remove it at the start.
        return not (self._runtimes / self.name / "exec.fifo").exists()

    @property
    def remains(self) -> bool:
        """Whether there is anything of a container, which one that runs has, too."""
        return (self._runtimes / self.name).exists() or self.loan.open

    async def clear_away(self) -> None:
        """Remove what is left of it, and give its network devices back.

        Raises `ToolFailed` after all was tried; run again it does what is missing.
        """
        failed = None
        if (self._runtimes / self.name).exists():
            failed = await self._delete()
        self._cgroups.remove_everywhere(self.name)
        if self.loan.open:
            await self.loan.give_back()
        if failed:
            raise ToolFailed(failed)

    async def _delete(self) -> str | None:
        text = "there is no OCI runtime any more"
        for name in KNOWN:
            try:
                runtime = find(name)
            except ToolFailed:
                continue
            argv = [runtime.path, "--root", str(self._runtimes), "delete", "--force", self.name]
            code, _, err = await run(argv)
            if code == 0 and not (self._runtimes / self.name).exists():
                return None
            text = err.strip() or f"status {code}"
        # All of its processes are dead, for they die with their init. What is left are files.
        shutil.rmtree(self._runtimes / self.name, ignore_errors=True)
        return None if not (self._runtimes / self.name).exists() else text

    def _network(self, sandbox: Sandbox) -> Path | None:
        if sandbox.network_of is not None:
            return self._directory.with_name(sandbox.network_of) / PIN
        return None if sandbox.network is None else self.loan.pin

    def _facts(
        self,
        sandbox: Sandbox,
        env: dict[str, str],
        arrangement: Arrangement,
        user: tuple[int, int, tuple[int, ...]],
        working_directory: str,
    ) -> Facts:
        return gather(
            sandbox,
            cgroups_path=self._cgroups.container_path(self.name),
            env=env,
            user=user,
            rlimits=arrangement.rlimits,
            working_directory=working_directory,
            network=self._network(sandbox),
        )


def _user(account: object) -> tuple[int, int, tuple[int, ...]]:
    if not isinstance(account, dict):
        return 0, 0, ()
    return account["uid"], account["gid"], tuple(account["groups"])
