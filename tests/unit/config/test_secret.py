from typing import Any

import pytest
from pydantic import BaseModel

from chronovisor.config import MASK, Change, ConfigStore, Registry, Secret, mask, unmask
from chronovisor.errors import InvalidInput

PATH = "host/test/sample"


class Peer(BaseModel):
    address: str
    password: Secret = ""


class Tree(BaseModel):
    token: Secret | None = None
    tokens: list[Secret] = []
    pair: tuple[str, Secret] = ("", "")
    by_name: dict[str, Secret] = {}
    peers: tuple[Peer, ...] = ()
    either: Peer | str | None = None


VALUE: dict[str, Any] = {
    "token": "s1",
    "tokens": ["s2", ""],
    "pair": ["open", "s3"],
    "by_name": {"a": "s4"},
    "peers": [{"address": "x", "password": "s5"}, {"address": "y"}],
    "either": {"address": "z", "password": "s6"},
}
MASKED: dict[str, Any] = {
    "token": MASK,
    "tokens": [MASK, ""],
    "pair": ["open", MASK],
    "by_name": {"a": MASK},
    "peers": [{"address": "x", "password": MASK}, {"address": "y"}],
    "either": {"address": "z", "password": MASK},
}


def test_secrets_are_masked_wherever_they_are() -> None:
    assert mask(Tree, VALUE) == MASKED
    assert VALUE["token"] == "s1", "the value itself stays"
    assert mask(Tree, {"token": 5, "peers": None}) == {"token": 5, "peers": None}


def test_the_mask_brings_the_stored_secret_back() -> None:
    assert unmask(Tree, MASKED, VALUE) == VALUE


def test_a_reordered_list_keeps_each_secret_with_its_item() -> None:
    stored = {"peers": [{"address": "x", "password": "sx"}, {"address": "y", "password": "sy"}]}
    turned = {"peers": mask(Tree, stored)["peers"][::-1]}
    assert unmask(Tree, turned, stored) == {"peers": stored["peers"][::-1]}


@pytest.mark.parametrize(
    "stored",
    [
        {"peers": [{"address": "other", "password": "s"}]},
        {"peers": [{"address": "x", "password": "s1"}, {"address": "x", "password": "s2"}]},
        {"peers": "x"},
        {},
        None,
    ],
)
def test_a_mask_without_a_sure_counterpart_stays(stored: dict[str, Any] | None) -> None:
    value = {"peers": [{"address": "x", "password": MASK}]}
    assert unmask(Tree, value, stored) == value


def test_the_store_keeps_a_secret_that_is_written_back_masked(
    store: ConfigStore, registry: Registry
) -> None:
    store.commit([Change(PATH, {"token": "s", "rate": 1})], author="a")
    entry = store.get(PATH)
    assert entry
    edited = registry.mask(PATH, entry.value)
    assert edited == {"token": MASK, "rate": 1}
    store.commit([Change(PATH, {**edited, "rate": 2})], author="a")
    entry = store.get(PATH)
    assert entry
    assert entry.value == {"token": "s", "rate": 2}


def test_the_store_refuses_a_mask_where_nothing_is_stored(store: ConfigStore) -> None:
    value = {"token": MASK, "peers": [{"address": "x", "password": MASK}], "rate": 99}
    with pytest.raises(InvalidInput) as caught:
        store.commit([Change(PATH, value)], author="a")
    assert {p.where for p in caught.value.problems} == {"token", "peers[0].password", "rate"}
    assert store.revision == 0


def test_history_diff_and_export_mask_unless_asked(store: ConfigStore) -> None:
    store.commit([Change(PATH, {"token": "first", "rate": 1})], author="a")
    store.commit([Change(PATH, {"token": "second", "rate": 1})], author="a")
    shown = f"{store.history()} {store.diff(0, 2)} {store.diff(1, 2)} {store.export_document()}"
    assert "first" not in shown
    assert "second" not in shown
    assert [(d.field, d.old, d.new) for d in store.diff(1, 2)] == [("token", MASK, MASK)]
    asked = f"{store.history(secrets=True)}"
    assert "first" in asked
    assert "second" in store.export_document(secrets=True)
    assert store.diff(1, 2, secrets=True)[0].new == "second"
