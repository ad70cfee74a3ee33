"""Scenarios run one after another, but Locust spreads users over all loaded classes: this picks the class of the scenario under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from locust import User
from locust.dispatch import UsersDispatcher

Classes = list[type[User]]


def scenario_of(user_class: type[User]) -> str:
    """The scenario that a user class drives; empty for a class that is not ours."""
    return getattr(user_class, "scenario", "") or ""


def classes_for(scenario: str, loaded: Classes) -> Classes:
    """The class of that scenario, else any of ours (the plan says what is sent), and with it every class that is not ours."""
    ours = [cls for cls in loaded if scenario_of(cls)]
    own = [cls for cls in ours if scenario_of(cls) == scenario] or ours[:1]
    return own + [cls for cls in loaded if not scenario_of(cls)]


class ScenarioDispatcher(UsersDispatcher):
    """Locust's dispatcher, asked each time which classes are wanted now."""

    def __init__(self, *, wanted: Callable[[], Classes], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._wanted = wanted

    def new_dispatch(self, target_user_count: int, spawn_rate: float, user_classes: Classes | None = None) -> None:
        super().new_dispatch(target_user_count, spawn_rate, user_classes or self._wanted() or None)
