"""config.json as tables: what each part of a sandbox turns into (OCI runtime-spec 1.0.2)."""

import json
from typing import Any

import pytest

from chronovisor.worlds.container.bundle import ROOT, Device, Facts, config
from chronovisor.worlds.container.seccomp import REFUSED, profile
from chronovisor.worlds.sandbox import Nic, OwnNetwork, Sandbox

ENV = {"PATH": "/usr/bin", "LANG": "C.UTF-8"}
FACTS = Facts(root=("/usr", "/etc/hosts"), cgroups_path="chronovisor/i/w", env=ENV)


def made(sandbox: Sandbox = Sandbox(), facts: Facts = FACTS) -> dict[str, Any]:  # noqa: B008
    document: dict[str, Any] = json.loads(json.dumps(config(("ptp4l", "-m"), sandbox, facts)))
    return document


def mounts(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in made(sandbox)["mounts"]}


def test_what_the_specification_requires_is_there() -> None:
    """config.md: ociVersion, root.path, process.cwd (absolute), process.args (not empty)."""
    document = made()
    assert document["ociVersion"] == "1.0.2"
    assert document["root"] == {"path": "root", "readonly": True}
    assert document["process"]["args"] == ["ptp4l", "-m"]
    assert document["process"]["cwd"] == "/"
    assert document["process"]["env"] == ["PATH=/usr/bin", "LANG=C.UTF-8"]
    for mount in document["mounts"]:
        assert mount["destination"].startswith("/")


def test_nothing_given_is_nothing_allowed() -> None:
    document = made()
    process, linux = document["process"], document["linux"]
    assert process["noNewPrivileges"] is True
    assert process["terminal"] is False
    sets = {"bounding", "effective", "permitted", "inheritable", "ambient"}
    assert process["capabilities"] == {name: [] for name in sets}
    assert linux["devices"] == []
    assert linux["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert [one["type"] for one in linux["namespaces"]] == ["pid", "mount", "ipc", "uts"]
    writable = [
        mount["destination"]
        for mount in document["mounts"]
        if mount["type"] in ("bind", "sysfs") and "ro" not in mount["options"]
    ]
    assert writable == []


def test_deterministic() -> None:
    assert json.dumps(made()) == json.dumps(made())


@pytest.mark.parametrize(
    ("sandbox", "path", "options"),
    [
        (Sandbox(), "/usr", ["rbind", "ro", "nosuid", "nodev"]),
        (Sandbox(read_only=("/opt/x",)), "/opt/x", ["rbind", "ro", "nosuid", "nodev"]),
        (Sandbox(writable=("/run/x",)), "/run/x", ["rbind", "rw", "nosuid", "nodev", "noexec"]),
        # The same path in both: what may be written may be read.
        (
            Sandbox(read_only=("/run/x",), writable=("/run/x",)),
            "/run/x",
            ["rbind", "rw", "nosuid", "nodev", "noexec"],
        ),
    ],
)
def test_mounts(sandbox: Sandbox, path: str, options: list[str]) -> None:
    assert mounts(sandbox)[path] == {
        "destination": path, "type": "bind", "source": path, "options": options
    }  # fmt: skip


def test_what_is_inside_of_another_comes_after_it() -> None:
    order = list(mounts(Sandbox(writable=("/usr/share/x", "/srv/a/b"), read_only=("/srv/a",))))
    assert order.index("/usr") < order.index("/usr/share/x")
    assert order.index("/srv/a") < order.index("/srv/a/b")


def test_no_secret_is_part_of_the_root() -> None:
    secrets = ("/etc/shadow", "/etc/ssl/private", "/root", "/var/lib/chronovisor", "/run", "/home")
    for path in secrets:
        inside = [top for top in ROOT if path == top or path.startswith(f"{top}/")]
        assert inside == []
    assert "/etc" not in ROOT


@pytest.mark.parametrize("name", ["CAP_SYS_TIME", "CAP_NET_RAW"])
def test_capabilities_are_in_every_set(name: str) -> None:
    sets = made(Sandbox(capabilities=(name,)))["process"]["capabilities"]
    assert sets == {kind: [name] for kind in sets}


def test_a_device_is_made_and_allowed_and_belongs_to_the_user() -> None:
    device = Device("/dev/ptp0", "c", 246, 0)
    facts = Facts((), "p", ENV, user=(101, 102, (5,)), devices=(device,))
    document = made(Sandbox(devices=("/dev/ptp0",)), facts)
    assert document["linux"]["devices"] == [
        {
            "path": "/dev/ptp0", "type": "c", "major": 246, "minor": 0,
            "fileMode": 0o600, "uid": 101, "gid": 102,
        }
    ]  # fmt: skip
    assert document["linux"]["resources"]["devices"][1] == {
        "allow": True, "type": "c", "major": 246, "minor": 0, "access": "rw"
    }  # fmt: skip
    assert document["process"]["user"] == {"uid": 101, "gid": 102, "additionalGids": [5]}


def test_a_network_of_its_own_is_the_pinned_one() -> None:
    facts = Facts((), "p", ENV, network="/run/x/netns")
    document = made(Sandbox(network=OwnNetwork((Nic("ens1f1"),))), facts)
    assert document["linux"]["namespaces"][-1] == {"type": "network", "path": "/run/x/netns"}


def test_rlimits() -> None:
    facts = Facts((), "p", ENV, rlimits=(("RLIMIT_NOFILE", 77),))
    assert made(facts=facts)["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 77, "soft": 77}
    ]


def test_seccomp() -> None:
    assert "seccomp" not in made(Sandbox(seccomp=False))["linux"]
    found: Any = profile()
    assert made()["linux"]["seccomp"] == found
    assert found["defaultAction"] == "SCMP_ACT_ALLOW"
    assert len(REFUSED) == len({*REFUSED})
    # What clock daemons live by is never refused.
    needed = {"clock_adjtime", "adjtimex", "clock_settime", "clock_gettime", "ioctl", "bind"}
    assert not needed & {*REFUSED}
