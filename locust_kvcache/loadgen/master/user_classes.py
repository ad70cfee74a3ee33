"""Finds which loaded user classes are ours (KVCacheUser), and which of them run a scenario."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from locust import User
from locust.env import Environment

from locust_kvcache.contract.errors import BadInput

Classes = list[type[User]]


def is_ours(user_class: type[User]) -> bool:
    """A KVCacheUser; all others are a user's own business, and are neither waited for nor given work."""
    return bool(getattr(user_class, "drives_plan", False))


def scenario_of(user_class: type[User]) -> str:
    """The scenario that a class of ours drives; empty: whatever is to be sent."""
    return (getattr(user_class, "scenario", "") or "") if is_ours(user_class) else ""


def classes_for(scenario: str, loaded: Sequence[type[User]]) -> Classes:
    """The classes of that scenario, else those that name none, else any of ours; and with them every class that is not ours."""
    ours = [cls for cls in loaded if is_ours(cls)]
    named = [cls for cls in ours if scenario_of(cls) == scenario]
    general = [cls for cls in ours if not scenario_of(cls)]
    return (named or general or ours[:1]) + [cls for cls in loaded if not is_ours(cls)]


def scenarios_of(loaded: Iterable[type[User]]) -> list[str]:
    return [scenario_of(cls) for cls in loaded if is_ours(cls)]


def check_classes(environment: Environment, loaded: Iterable[type[User]]) -> None:
    """BadInput if nobody could send the plan: no class of ours, or one that --tags leaves without a task."""
    ours = [cls for cls in loaded if is_ours(cls)]
    if not ours:
        raise BadInput(
            "none of the user classes is a KVCacheUser: nobody would send the plan. Subclass it (from locust_kvcache import KVCacheUser), "
            "and name that class if you name classes"
        )
    parsed: Any = environment.parsed_options
    tags, excluded = (set(getattr(parsed, name, None) or ()) for name in ("tags", "exclude_tags"))
    for cls in ours:
        if not _has_task(cls, tags, excluded):
            given = " ".join([*(f"--tags {tag}" for tag in sorted(tags)), *(f"--exclude-tags {tag}" for tag in sorted(excluded))])
            left = f"{given} leaves {cls.__name__} without a task" if given else f"{cls.__name__} has no task"
            raise BadInput(
                f"{left}, and its users would send nothing: tag the task that calls run_next_session, or leave the class out"
            )


def _has_task(holder: Any, tags: set[str], excluded: set[str]) -> bool:
    """As Locust filters: a task set counts for what is left in it."""
    for one in holder.tasks:
        if hasattr(one, "tasks"):
            left = _has_task(one, tags, excluded)
        else:
            own: set[str] = getattr(one, "locust_tag_set", set())
            left = (not tags or bool(own & tags)) and not own & excluded
        if left:
            return True
    return False
