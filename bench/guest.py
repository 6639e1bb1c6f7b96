"""Benches that need NIC clocks: they measure in a guest with simulated NICs."""

from hwsim.guest import booted, python


def said_in_guest(program: str, mark: str) -> str:
    """Run a Python module in a guest; return what its line that begins with `mark` says.

    Raises:
        RuntimeError: it failed, or wrote no such line.
    """
    with booted() as machine:
        done = python(machine, "-m", program)
    found = [line for line in done.text.splitlines() if line.startswith(mark)]
    if done.code or not found:
        raise RuntimeError(f"the guest ended with {done.code}:\n{done.text[-3000:]}")
    return found[0].removeprefix(mark)
