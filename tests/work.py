"""Finds the tests that make test-quick leaves out: they start a process, run a command, analyse a run or try random examples.

Read from what the code of a test, its fixtures and the helpers that it calls name; nobody has to mark them.
"""

from __future__ import annotations

import functools
import inspect
import subprocess
import types
from collections.abc import Iterator
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import analyse_folder

WORK = (subprocess, subprocess.Popen, subprocess.run, analyse_folder)
GUARD = "_only_slow_tests_work"  # the fixture of all tests that names processes only to refuse them


def works(item: pytest.Item) -> bool:
    """Whether the test is one of Hypothesis, or it, a fixture that it asks for, or a helper of the tests that these call, names work."""
    test = getattr(item, "function", None)
    if getattr(test, "is_hypothesis_test", False):
        return True
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  (what pytest has found; no public name says it)
    functions = [found.func for name, several in fixtures.items() if name != GUARD for found in several]
    return any(_leads_to_work(code) for code in [*functions, test] if code is not None)


@functools.cache
def _leads_to_work(value: Any) -> bool:
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if any(found is work for work in WORK) or _is_work_of_the_product(found):
            return True
        if id(found) not in seen:
            seen.add(id(found))
            waiting.extend(_named_by(found, "tests."))
    return False


@functools.cache
def _starts_processes(value: Any) -> bool:
    return any(found is subprocess for part in [value, *_parts(value)] for found in _named_by(part, "locust_kvcache."))


def _is_work_of_the_product(value: Any) -> bool:
    """A command's main(), or a function or class that starts processes itself."""
    if not (isinstance(value, type) or callable(value)) or not str(getattr(value, "__module__", "")).startswith(
        "locust_kvcache."
    ):
        return False
    return getattr(value, "__name__", "") in ("main", "run_command") or _starts_processes(value)


def _parts(value: Any) -> list[Any]:
    return list(vars(value).values()) if isinstance(value, type) else []


def _named_by(value: Any, of: str) -> Iterator[Any]:
    """What a function or class, of the tests or of the product, names: globals, and attributes of modules among these."""
    if isinstance(value, type) and value.__module__.startswith(of):
        yield from _parts(value)
    function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) or hasattr(value, "__func__") else None
    if isinstance(function, types.FunctionType) and (function.__module__ or "").startswith(of):
        names = list(_names(function.__code__))
        for name in names:
            found = function.__globals__.get(name)
            yield found
            if isinstance(found, types.ModuleType) and found.__name__.startswith(("tests.", "locust_kvcache.")):
                yield from (getattr(found, attribute, None) for attribute in names)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
