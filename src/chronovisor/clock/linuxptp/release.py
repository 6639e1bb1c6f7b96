"""Which linuxptp is installed."""

import asyncio

from chronovisor.clock.catalogue import Release
from chronovisor.errors import InvalidInput, NotFound, ToolFailed

_INSTALL = "install linuxptp (Debian: apt-get install linuxptp)"


async def installed_release(program: str = "ptp4l", *, timeout_s: float = 5) -> Release:
    """Return the release of the installed `program`, a name or a path.

    Raises NotFound where there is no such program and ToolFailed where it does not say its
    version in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "-v",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise NotFound(f"{program} is not installed", hint=_INSTALL) from None
    except OSError as error:
        raise ToolFailed(f"{program} cannot be run: {error.strerror}", hint=_INSTALL) from error
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        raise ToolFailed(
            f"{program} -v did not end within {timeout_s:g} s", hint="run it by hand to see why"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    text = output.decode(errors="replace")
    try:
        return Release.parse(text)
    except InvalidInput as error:
        raise ToolFailed(
            f"{program} -v printed no version: {text.strip()[:80]!r}", hint=error.hint
        ) from None
