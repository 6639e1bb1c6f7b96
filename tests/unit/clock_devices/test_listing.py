"""The device list: the shipped one is right, a wrong one says everything that is wrong at once."""

import random

import pytest

from chronovisor.clock.devices.listing import SIZE_MAX, DeviceList, read, read_bytes, shipped
from chronovisor.errors import InvalidInput

HEAD = "chronovisor_devices: 1\n"
GOOD = HEAD + (
    "drivers:\n"
    "  mynic: {module: my_nic, time_stamping: hardware, clock_function: 1,\n"
    "    quirks: [{text: slow, source: seen, options: {tx_timestamp_timeout: 30}}]}\n"
    "devices:\n"
    "  ABCD:0001: {driver: mynic, name: My NIC}\n"
    "  8086:1593: {driver: mynic, name: Not an E810}\n"
)


def test_every_kind_asked_for_is_listed() -> None:
    listed = shipped()
    for identity, driver in (
        ("8086:1572", "i40e"),
        ("8086:1593", "ice"),
        ("8086:1563", "ixgbe"),
        ("8086:1533", "igb"),
        ("8086:15f2", "igc"),
        ("8086:125b", "igc"),
        ("15b3:1013", "mlx5_core"),
        ("15b3:1021", "mlx5_core"),
        ("14e4:1750", "bnxt_en"),
        ("1924:0b03", "sfc"),
        ("1af4:1041", "virtio_net"),
        ("15ad:07b0", "vmxnet3"),
    ):
        kind = listed.kind(identity)
        assert kind is not None
        assert kind.driver == driver
    for known in listed.drivers.values():
        assert all(quirk.source for quirk in known.quirks)
    assert {name for name, one in listed.drivers.items() if one.mock} == {"virtio_net", "vmxnet3"}
    wants = [quirk.options for quirk in listed.quirks("8086:1593")]
    assert {"tx_timestamp_timeout": 50} in wants


def test_a_file_adds_and_replaces() -> None:
    listed = read(GOOD, shipped(), "devices.yaml")
    mine = listed.kind("abcd:0001")
    assert mine is not None
    assert mine.name == "My NIC"
    assert listed.quirks("abcd:0001")[0].options == {"tx_timestamp_timeout": 30}
    replaced = listed.driver("8086:1593")
    assert replaced is not None
    assert replaced.module == "my_nic"
    assert listed.kind("8086:1592") == shipped().kind("8086:1592")
    assert shipped().kind("abcd:0001") is None


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            HEAD + "devices:\n  8086:15g0: {driver: ice, name: a}\n"
            "  8086:15AA: {driver: ice, name: a}\n  8086:15aa: {driver: none, name: a}\n",
            [
                "line 3: '8086:15g0' is no VID:DID (valid: as in 8086:1593)",
                "line 5: 8086:15aa and 8086:15AA are the same device",
                "line 5: 8086:15aa: driver none is not listed",
            ],
        ),
        (
            HEAD + "devices:\n  8086:1111: {driver: ice, name: a}\n"
            "  8086:1111: {driver: ice, name: b}\n",
            ['line 4: devices["8086:1111"] is given more than once'],
        ),
        ("chronovisor_devices: 2\n", ["line 1: chronovisor_devices: 2 is not known here"]),
        ("", ["line 1: the document is empty"]),
        ("[1]\n", ["line 1: "]),
        (
            HEAD + "drivers:\n  x: {modul: x}\n",
            ["unknown field; did you mean module?", "module: is missing", "time_stamping"],
        ),
        (
            HEAD + "drivers:\n  x: {module: '../../x', time_stamping: laser}\n",
            ["line 3: drivers.x.module", "line 3: drivers.x.time_stamping"],
        ),
        (HEAD + "a: &x 1\nb: *x\n", ["line 2: anchors", "line 3: anchors"]),
        (HEAD + "devices: {{1: 2}: 3}\n", ["a name cannot be a mapping"]),
    ],
)
def test_everything_that_is_wrong_is_said_with_its_line(text: str, problems: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text, shipped(), "devices.yaml")
    said = [str(problem) for problem in caught.value.problems]
    assert all(one.startswith("devices.yaml: ") for one in said), said
    for problem in problems:
        assert any(problem in one for one in said), said


def test_what_is_no_text_or_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match="line 2: is no text in UTF-8"):
        read_bytes(b"a: 1\n\xff\n", DeviceList(), "devices.yaml")
    with pytest.raises(InvalidInput, match="has more than"):
        read_bytes(b"#" * (SIZE_MAX + 1), DeviceList(), "devices.yaml")


@pytest.mark.parametrize("seed", range(8))
def test_no_content_breaks_the_reader(seed: int) -> None:
    chance = random.Random(seed)
    good = GOOD.encode()
    alphabet = b"{}[]:,&*!|>'\"%@`#-? \n\t0x8a\xff\x00" + bytes(range(48, 58))
    for _ in range(30):
        content = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(content))
            match chance.randrange(3):
                case 0:
                    content[at] = chance.choice(alphabet)
                case 1:
                    content[at:at] = bytes(chance.choices(alphabet, k=chance.randint(1, 6)))
                case _:
                    del content[at : at + chance.randint(1, 20)]
        try:
            found = read_bytes(bytes(content), shipped(), "devices.yaml")
        except InvalidInput:
            continue
        else:
            assert len(found.kinds) >= len(shipped().kinds)
