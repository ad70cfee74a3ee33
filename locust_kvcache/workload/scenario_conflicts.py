"""Refuses parts of a scenario file that do not go together."""

from __future__ import annotations

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.apis import CONVERSING
from locust_kvcache.workload.session_shape import SECTIONS, Shape
from locust_kvcache.workload.spec import Scenario


def check_parts(scenario: Scenario, prefix: Section, source: str) -> None:
    """`prefix`: the section of the file, `source` its name; BadInput names both parts, or the key."""
    if scenario.doses:
        _check_doses(scenario, prefix)
    if scenario.chunks is not None:
        _check_chunks(scenario, source)
    if scenario.shape is not None:
        _check_shape(scenario, scenario.shape, source)


def _check_doses(scenario: Scenario, prefix: Section) -> None:
    if scenario.prefix_shared_by != 1 or scenario.corpus:
        raise BadInput(
            f"{prefix.name('shared_by')} is {prefix.raw('shared_by')!r}; with `doses` expected 1: "
            "a shared prefix would be hit from the start"
        )


def _check_chunks(scenario: Scenario, source: str) -> None:
    """BadInput names what does not go together with `chunks`."""
    given = {
        "tools, forks, compaction or drawn turns": scenario.shape,
        "doses": scenario.doses,
        "prefix.files": scenario.corpus,
        "prefix.popularity": scenario.documents,
        "turns.count": scenario.turns > 1,
        "identity.cache_salt": scenario.identity.salts_apart,
    }
    if stray := [name for name, value in given.items() if value]:
        raise BadInput(f"{source}: {stray[0]} stands beside `chunks`; leave one of them out")
    if scenario.prefix_shared_by != 0:
        raise BadInput(f"{source}: key 'prefix.shared_by' is {scenario.prefix_shared_by}; with `chunks` expected all")


def _check_shape(scenario: Scenario, shape: Shape, source: str) -> None:
    """BadInput names what does not go together with sessions of agents."""
    given = [name for name in SECTIONS if getattr(shape, name) is not None] or ["a distribution in turns.count"]
    stray = (
        "doses" if scenario.doses else "prefix.files" if scenario.corpus else "prefix.popularity" if scenario.documents else ""
    )
    if stray or scenario.api not in CONVERSING:
        raise BadInput(f"{source}: {stray or f'api: {scenario.api}'} stands beside {given[0]}; leave one of them out")
    if shape.compaction and shape.compaction.at_tokens <= scenario.prefix_tokens + shape.schema_tokens:
        raise BadInput(
            f"{source}: key 'compaction.at_tokens' is {shape.compaction.at_tokens}; expected more than the prefix and the schemas of "
            f"tools have ({scenario.prefix_tokens + shape.schema_tokens})"
        )
