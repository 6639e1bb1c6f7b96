from ipaddress import IPv4Interface
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chronovisor.clock.settings import SystemTime
from chronovisor.config import Registry, Secret
from chronovisor.errors import InvalidInput, NotFound, Problem

SYSTEM_TIME = "host/system/system_time"


@pytest.fixture
def clock() -> Registry:
    registry = Registry()
    registry.register(SYSTEM_TIME, SystemTime, description="How time is kept")
    return registry


def problems(registry: Registry, path: str, value: object) -> dict[str, Problem]:
    with pytest.raises(InvalidInput) as caught:
        registry.validate(path, value)
    found = caught.value.problems
    assert len({p.where for p in found}) == len(found), "one place, one problem"
    for problem in found:
        for jargon in ("Input", "Value error", "type=", "pydantic", "instance of", "Extra"):
            assert jargon not in str(problem)
    return {problem.where: problem for problem in found}


PORT = {"index": 0, "device": "eth0"}


@pytest.mark.parametrize(
    ("value", "where", "message", "stood", "valid"),
    [
        ({"log_level": 8}, "log_level", "8 is too large", "8", "a whole number from 0 to 7"),
        ({"log_level": -1}, "log_level", "-1 is too small", "-1", "a whole number from 0 to 7"),
        ({"log_level": "x"}, "log_level", "'x' is not a whole number", "x", "0 to 7"),
        ({"log_level": 1.5}, "log_level", "1.5 is not a whole number", "1.5", "0 to 7"),
        ({"log_level": None}, "log_level", "null is not a whole number", "null", "0 to 7"),
        ({"enabled": "maybe"}, "enabled", "'maybe' is not true or false", "maybe", "true or false"),
        ({"enabeld": True}, "enabeld", "unknown field; did you mean enabled?", "true", "enabled"),
        ({"zzz": 1}, "zzz", "unknown field", "1", "enabled, protocol"),
        ({"protocol": "gps"}, "protocol", "'gps' is not known here", "gps", "ptp"),
        ({"ptp_config": []}, "ptp_config", "a list is not a mapping", "[]", "domain, profile"),
        ({"ptp_config": {"port": {}}}, "ptp_config.port", "a mapping is not a list", "{}", "list"),
        (
            {"ptp_config": {"port": [{**PORT, "delay_mechanism": "e2e"}]}},
            "ptp_config.port[0].delay_mechanism",
            "'e2e' is not known here; did you mean E2E?",
            "e2e",
            "one of E2E, P2P",
        ),
        (
            {"ptp_config": {"port": [PORT, {"device": "eth1"}]}},
            "ptp_config.port[1].index",
            "is missing",
            "",
            "a whole number from 0 to 63",
        ),
        (
            {"ptp_config": {"port": [{"index": 0}]}},
            "ptp_config.port[0]",
            "device_type virtual_nic needs a device",
            '{"index": 0}',
            "",
        ),
        (
            {"ptp_config": {"port": [{**PORT, "device": "eth 0"}]}},
            "ptp_config.port[0].device",
            "'eth 0' has a form that is not allowed",
            "eth 0",
            "at most 15 characters",
        ),
        (
            {"ptp_config": {"port": [{**PORT, "device": "e" * 16}]}},
            "ptp_config.port[0].device",
            "is too long (16)",
            "e" * 16,
            "at most 15 characters",
        ),
        (
            {"ptp_config": {"port": [{**PORT, "ip_config": {"ip_address": "1.2.3"}}]}},
            "ptp_config.port[0].ip_config.ip_address",
            "'1.2.3' is not an IPv4 address",
            "1.2.3",
            "an IPv4 address or null",
        ),
        (
            {"options": {"ptp4l": {"priority1": [1]}}},
            "options.ptp4l.priority1",
            "a list does not fit here",
            "[1]",
            "true or false, a whole number, a number or text",
        ),
        ({"log_level": float("inf")}, "log_level", "inf is not a finite number", "inf", ""),
        ({"log_level": {1}}, "log_level", "is a set", "{1}", ""),
        ({"enabled": True}, "", "enabled needs at least one port", '{"enabled": true}', ""),
        ([1], "", "a list is not a mapping", "a list", "a mapping with the fields enabled"),
        (None, "", "null is not a mapping", "null", "a mapping"),
    ],
)
def test_a_problem_names_place_value_and_what_is_valid(
    clock: Registry, value: object, where: str, message: str, stood: str, valid: str
) -> None:
    (problem,) = problems(clock, SYSTEM_TIME, value).values()
    assert problem.where == where
    assert message in problem.message
    assert problem.value == stood
    assert valid in problem.valid


def test_all_problems_come_at_once(clock: Registry) -> None:
    found = problems(
        clock,
        SYSTEM_TIME,
        {
            "enabeld": True,
            "log_level": 9,
            "ptp_config": {"domain": 300, "port": [{"index": "x"}, 5]},
            "options": {"ptp4l": {"a.b": [], "ok": 1}},
        },
    )
    assert set(found) == {
        "enabeld",
        "log_level",
        "ptp_config.domain",
        "ptp_config.port[0].index",
        "ptp_config.port[1]",
        'options.ptp4l["a.b"]',
    }


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["wire"] = "wire"
    speed: Annotated[int, Field(gt=0)]


class Radio(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["radio"] = "radio"
    band: str
    power: float = 1.0


class Link(BaseModel):
    model_config = ConfigDict(extra="forbid")

    free: Wire | Radio | None = None
    tagged: Annotated[Wire | Radio | None, Field(discriminator="kind")] = None
    deep: dict[str, list[int | Literal["auto", "none"]]] = {}
    password: Annotated[Secret, Field(min_length=8)] = "long enough"
    pair: tuple[int, str] = (1, "a")
    prefix: IPv4Interface | None = None
    step: Annotated[int, Field(multiple_of=5)] = 5

    @model_validator(mode="after")
    def _no_thirteen(self) -> "Link":
        if self.step == 65:
            raise ValueError("13 steps are too many")
        return self


def at_most_two(link: Link) -> list[Problem]:
    return [
        Problem(f"deep.{name}", "has too many items", str(len(items)), "at most 2")
        for name, items in link.deep.items()
        if len(items) > 2
    ]


@pytest.fixture
def links() -> Registry:
    registry = Registry()
    registry.register("net/a/link", Link, description="A link", check=at_most_two)
    return registry


def test_the_branches_of_a_union_become_one_problem(links: Registry) -> None:
    found = problems(links, "net/a/link", {"deep": {"x": ["atuo", 1]}})
    assert found["deep.x[0]"].message == "'atuo' is not known here; did you mean auto?"
    assert found["deep.x[0]"].valid == "a whole number or one of auto, none"

    found = problems(links, "net/a/link", {"free": {"band": 5, "power": 2}})
    assert list(found) == ["free"]
    assert found["free"].message == (
        "fits none of the possible forms; closest is Radio but for band"
    )


def test_a_tagged_union_reports_the_chosen_branch(links: Registry) -> None:
    found = problems(links, "net/a/link", {"tagged": {"kind": "wire", "speed": 0, "spede": 1}})
    assert found["tagged.speed"].message == "0 is too small"
    assert found["tagged.speed"].valid == "a whole number above 0"
    assert found["tagged.spede"].message == "unknown field; did you mean speed?"
    assert list(problems(links, "net/a/link", {"tagged": {"kind": "tube"}})) == ["tagged"]


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        ({"pair": [1, 2, 3]}, "pair", "has too many items (3)"),
        ({"pair": ["x", "y"]}, "pair[0]", "'x' is not a whole number"),
        ({"prefix": "10.0.0.1/99"}, "prefix", "'10.0.0.1/99' is not an IPv4 address with prefix"),
        ({"step": 7}, "step", "in steps of 5"),
        ({"step": 65}, "", "13 steps are too many"),
        ({"deep": {"x": [2**70]}}, "deep.x[0]", "more than 64 bits"),
        ({"deep": {"\ud800": []}}, "deep", "not Unicode"),
        ({"password": "\ud800"}, "password", "not Unicode"),
        ({1: 2}, "", "the name 1 is not text"),
    ],
)
def test_more_kinds_of_problems(
    links: Registry, value: dict[str, Any], where: str, message: str
) -> None:
    (problem,) = problems(links, "net/a/link", value).values()
    assert problem.where == where
    assert message in str(problem)


def test_a_refused_secret_is_not_shown(links: Registry) -> None:
    (problem,) = problems(links, "net/a/link", {"password": "hunter2"}).values()
    assert problem.message.startswith("is too short")
    assert "hunter2" not in str(problem) + problem.value


def test_problems_of_model_and_check_come_together(links: Registry) -> None:
    found = problems(links, "net/a/link", {"step": 7, "deep": {"x": [1, 2, 3], "y": [1]}})
    assert set(found) == {"step", "deep.x"}


def test_what_the_check_says_near_a_refused_field_is_not_passed_on(links: Registry) -> None:
    # Without the refused item the list would be another one.
    found = problems(links, "net/a/link", {"deep": {"x": [1, 2, "bad"]}})
    assert set(found) == {"deep.x[2]"}


def test_nesting_has_a_bound(links: Registry) -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"deep": deep}
    (problem,) = problems(links, "net/a/link", deep).values()
    assert "nested deeper" in problem.message


def test_size_has_a_bound(links: Registry) -> None:
    (problem,) = problems(links, "net/a/link", {"password": "x" * 2_000_000}).values()
    assert "bytes as JSON" in problem.message


def test_an_unknown_key_names_the_nearest(clock: Registry) -> None:
    with pytest.raises(NotFound, match="no key host/system/systemtime") as caught:
        clock.validate("host/system/systemtime", {})
    assert caught.value.hint == f"did you mean {SYSTEM_TIME}?"
    with pytest.raises(NotFound) as caught:
        clock.validate("net/x/y", {})
    assert SYSTEM_TIME in str(caught.value.hint)


def test_instances_are_given_where_and_only_where_they_belong(registry: Registry) -> None:
    registry.validate("host/test/many/a", {})
    assert "is missing" in str(problems(registry, "host/test/many", {})["instance"])
    assert "no instances" in str(problems(registry, "host/test/sample/a", {})["instance"])


def test_keys_are_listed_and_cannot_be_taken_twice(registry: Registry) -> None:
    keys = registry.keys()
    assert [str(key) for key in keys] == ["host/test/many", "host/test/sample"]
    with pytest.raises(ValueError, match="taken"):
        registry.register("host/test/many", Link, description="")


def test_the_schema_is_json_schema(clock: Registry, registry: Registry) -> None:
    schema = clock.json_schema("esx/system/system_time")
    Draft202012Validator.check_schema(schema)
    assert schema["description"] == "How time is kept"
    assert schema["properties"]["log_level"]["maximum"] == 7
    token = registry.json_schema("host/test/sample")["properties"]["token"]
    assert token["writeOnly"] is True
    assert token["format"] == "password"
