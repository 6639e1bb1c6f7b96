"""What a sandbox may ask for, and all that is wrong with one at once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import InvalidInput
from chronovisor.worlds import Nic, OwnNetwork, Sandbox, WorldSpec
from chronovisor.worlds.container.report import capability_names, held
from chronovisor.worlds.sandbox import CAPABILITIES

SANDBOXES = st.builds(
    Sandbox,
    writable=st.just(()) | st.just(("/run/x", "/srv")),
    read_only=st.just(()) | st.just(("/opt/a b",)),
    devices=st.just(()) | st.just(("/dev/ptp0",)),
    capabilities=st.lists(st.sampled_from(sorted(CAPABILITIES)), max_size=3).map(tuple),
    network=st.none()
    | st.just(OwnNetwork())
    | st.builds(
        OwnNetwork,
        st.just((Nic("ens1f1", ("192.0.2.1/24", "2001:db8::1/64")), Nic("ens1f0.7"))),
    ),
    seccomp=st.booleans(),
    runtime=st.sampled_from([None, "runc", "/usr/bin/crun"]),
)


@given(SANDBOXES)
def test_json_and_back(sandbox: Sandbox) -> None:
    spec = WorldSpec("w", ("true",), sandbox=sandbox)
    assert WorldSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def wrong(sandbox: Sandbox) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        WorldSpec("w", ("true",), sandbox=sandbox)
    return [problem.where for problem in caught.value.problems]


def test_all_problems_at_once() -> None:
    nics = (Nic("a/b"), Nic("eth0", ("here",)), Nic("eth0"), Nic("lo"))
    sandbox = Sandbox(
        writable=("run",),
        read_only=("/",),
        devices=("/tmp/ptp0",),
        capabilities=("CAP_EVERYTHING",),
        network=OwnNetwork(nics),
        runtime="",
    )
    assert wrong(sandbox) == [
        "sandbox.writable",
        "sandbox.read_only",
        "sandbox.devices",
        "sandbox.capabilities",
        "sandbox.runtime",
        "sandbox.network.nics",
        "sandbox.network.nics.eth0",
        "sandbox.network.nics",
        "sandbox.network.nics",
    ]


@pytest.mark.parametrize(
    "path", ["", "a", "/a/../b", "/a/", "//a", "/a//b", "/a/./b", "/", "/proc/1", "/dev/x", "/a\0"]
)
def test_paths_that_are_refused(path: str) -> None:
    assert wrong(Sandbox(writable=(path,))) == ["sandbox.writable"]


def test_capabilities_by_number() -> None:
    assert capability_names(0) == ()
    assert capability_names(1 << 25 | 1 << 13) == ("CAP_NET_RAW", "CAP_SYS_TIME")
    every = capability_names((1 << 41) - 1)
    assert {*every} == CAPABILITIES
    assert capability_names(1 << 63) == ("CAP_63",)


@given(st.text(max_size=300))
def test_any_status_is_read(text: str) -> None:
    held(text)
