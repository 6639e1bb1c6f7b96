"""A few files by hand; thousands are compared with the real ptp4l in the functional tests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.clock.catalogue import Refusal, Release, Verdict, catalogue, first_refusal

KNOWN = catalogue(Release(3, 1, 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# comment\n\n[global]\npriority1 1\n[eth0]\nlogSyncInterval -3\n",
        b"[GLOBAL]\r\n\tpriority1 \t 0x7F \r\n",
        b"[global]\npriority1 1\npriority1 2\n",
        b"[unicast_master_table]\ntable_id 1\nUDPv4 192.0.2.1\n",
    ],
)
def test_what_ptp4l_takes(data: bytes) -> None:
    assert first_refusal(data, KNOWN) is None


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"priority1 1\n", Refusal(1, "not in a section")),
        (b"[global]\npriority1\n", Refusal(2, "could not parse line")),
        (b"[global]\n\npriority1 256\n", Refusal(3, Verdict.OUT_OF_RANGE)),
        (b"[global]\npriority1 1x\n", Refusal(2, Verdict.MALFORMED)),
        (b"[global]\ndelay_mechanism x\n", Refusal(2, Verdict.BAD_VALUE)),
        (b"[eth0]\npriority1 1\n", Refusal(2, Verdict.UNKNOWN_OPTION)),
        (b"[eth0]\npriority1 256\n", Refusal(2, Verdict.OUT_OF_RANGE)),
        (b"[]\n", Refusal(1, "could not parse port name")),
        (b"[global]\n# " + b"c" * 1021 + b"nonsense\n", Refusal(3, "could not parse line")),
        (b"[unicast_master_table]\nUDPv4 192.0.2.1\n", Refusal(2, "missing table_id")),
    ],
)
def test_what_ptp4l_refuses(data: bytes, refusal: Refusal) -> None:
    assert first_refusal(data, KNOWN) == refusal


@given(st.binary() | st.binary().map(lambda data: b"[unicast_master_table]\ntable_id 1\n" + data))
def test_any_bytes_have_a_verdict(data: bytes) -> None:
    first_refusal(data, KNOWN)
