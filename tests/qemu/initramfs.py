"""The initramfs that starts a guest: busybox, the modules it needs, and `init.sh`.

A cpio archive in the "newc" format (kernel: Documentation/driver-api/early-userspace/
buffer-format.rst). The kernel takes several in a row, so what differs from guest to guest is a
small one behind the large one.
"""

import lzma
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from qemu.kernels import Kernel

BUSYBOX = Path("/bin/busybox")
INIT = Path(__file__).with_name("init.sh")
CONTROL = Path(__file__).with_name("control.sh")

MODULES = (
    "crc32c_generic",  # libcrc32c looks for it by name, which modules.dep does not tell
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "overlay",
    "erofs",
    "squashfs",
    "ext4",
)
"""What init.sh can be asked to use before it has a root file system."""

_FILE, _DIRECTORY, _DEVICE, _LINK = 0o100755, 0o040755, 0o020600, 0o120777


def entry(
    number: int, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    """Return one member of a newc archive: header of 13 hexadecimal fields, name and content."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def archive(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Return a newc archive of executable files and symbolic links, with all their directories."""
    links = links or {}
    parents = {str(p) for name in (*files, *links) for p in Path(name).parents} - {"."}
    members = [(name, _DIRECTORY, b"") for name in sorted(parents)]
    members += [(name, _FILE, content) for name, content in files.items()]
    members += [(name, _LINK, target.encode()) for name, target in links.items()]
    body = [entry(i, *member) for i, member in enumerate(members, 1)]
    # Without it the first process has nowhere to write (the kernel opens it before /dev is there).
    body.append(entry(len(body) + 1, "dev/console", _DEVICE, device=(5, 1)))
    data = b"".join((*body, entry(0, "TRAILER!!!", 0)))
    return data + bytes(-len(data) % 512)


def base(kernel: Kernel, modules: Iterable[str] = MODULES) -> bytes:
    """Return the part that is the same for every guest of this kernel.

    `modules` are loaded in this order, each after what it depends on.
    """
    files = {
        "bin/busybox": BUSYBOX.read_bytes(),
        "init": INIT.read_bytes(),
        "control": CONTROL.read_bytes(),
    }
    order = with_dependencies(kernel, modules)
    for path in order:
        content = (kernel.modules / path).read_bytes()
        name = Path(path).name
        # busybox's insmod does not unpack; a few megabytes once are cheaper than a guest's xz
        files[f"modules/{name.removesuffix('.xz')}"] = (
            lzma.decompress(content) if name.endswith(".xz") else content
        )
    names = [Path(path).name.removesuffix(".xz") for path in order]
    files["modules/order"] = "".join(f"{name}\n" for name in names).encode()
    return archive({"dev/.empty": b"", **files}, {"bin/sh": "busybox"})


def with_dependencies(kernel: Kernel, names: Iterable[str]) -> list[str]:
    """Return paths of modules below `kernel.modules`, each after those it needs.

    What is built into the kernel is left out. Raises `RuntimeError` for a name it does not have.
    """
    needs = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {_module(path): path for path in needs}
    built_in = {_module(p) for p in (kernel.modules / "modules.builtin").read_text().split()}
    order: dict[str, None] = {}
    for name in names:
        wanted = name.replace("-", "_")
        if wanted in by_name:
            # modules.dep lists what is needed with the deepest last
            order |= dict.fromkeys([*reversed(needs[by_name[wanted]]), by_name[wanted]])
        elif wanted not in built_in:
            raise RuntimeError(f"kernel {kernel.release} has no module {name}")
    return list(order)


def _module(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", Path(path).name).replace("-", "_")


def check_busybox() -> None:
    """Raise `RuntimeError` unless busybox needs no library."""
    if not BUSYBOX.exists() or shutil.which("busybox") is None:
        raise RuntimeError("busybox is missing: apt-get install busybox-static")
    said = subprocess.run(["ldd", BUSYBOX], capture_output=True, text=True, check=False)
    if "=>" in said.stdout:
        raise RuntimeError("busybox needs libraries: apt-get install busybox-static")
