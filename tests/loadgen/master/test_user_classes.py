"""Which classes are ours, which of them run a scenario, and what tags leave of them."""

from __future__ import annotations

import locust  # isort: skip  (patches the standard library before anything else uses it)

from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache import KVCacheUser
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.master.user_classes import check_classes, classes_for, scenarios_of


class Ours(KVCacheUser):
    abstract = True

    @locust.task
    @locust.tag("plan")
    def ask(self) -> None: ...


class Cold(Ours):
    scenario = "cold_start"


class ColdToo(Ours):
    scenario = "cold_start"


class General(Ours): ...


class Browser(locust.HttpUser):
    scenario = "a name of its own business"


class Nested(KVCacheUser):
    @locust.task
    class Inner(locust.TaskSet):
        @locust.task
        @locust.tag("deep")
        def ask(self) -> None: ...


@pytest.mark.parametrize(
    ("scenario", "loaded", "wanted"),
    [
        ("cold_start", [Cold, ColdToo, General, Browser], [Cold, ColdToo, Browser]),
        ("code_generation", [Cold, General, Browser], [General, Browser]),
        ("code_generation", [Cold, ColdToo, Browser], [Cold, Browser]),  # any of ours: the plan says what is sent
        ("cold_start", [Browser], [Browser]),
    ],
)
def test_classes_of_a_scenario(scenario: str, loaded: list[Any], wanted: list[Any]) -> None:
    assert classes_for(scenario, loaded) == wanted


def test_a_foreign_class_names_no_scenario() -> None:
    assert scenarios_of([Cold, General, Browser]) == ["cold_start", ""]


def environment(**options: Any) -> Any:
    return SimpleNamespace(parsed_options=SimpleNamespace(**options))


@pytest.mark.parametrize(
    ("options", "classes", "said"),
    [
        ({}, [Browser], "none of the user classes is a KVCacheUser"),
        ({}, [KVCacheUser], "KVCacheUser has no task"),
        ({"tags": ["smoke"]}, [Cold, Browser], "--tags smoke leaves Cold without a task"),
        ({"exclude_tags": ["plan"]}, [Cold], "--exclude-tags plan leaves Cold without a task"),
        ({"tags": ["plan"]}, [Nested], "--tags plan leaves Nested without a task"),
    ],
)
def test_nobody_who_would_send(options: dict[str, Any], classes: list[Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_classes(environment(**options), classes)


@pytest.mark.parametrize("options", [{}, {"tags": ["plan"]}, {"tags": None, "exclude_tags": ["browse"]}])
def test_enough_is_left(options: dict[str, Any]) -> None:
    check_classes(environment(**options), [Cold, Browser])
    check_classes(environment(tags=["deep"]), [Nested])
