"""A worker takes a spawn message without building a parser for each option in it."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import pytest
from locust import argument_parser

from locust_kvcache.loadgen.worker.spawn_messages import parse_own_options_once


def test_locusts_own_options_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        argument_parser,
        "default_args_dict",
        getattr(argument_parser.default_args_dict, "__wrapped__", argument_parser.default_args_dict),
    )
    expected, built = argument_parser.default_args_dict(), []
    make = argument_parser.get_empty_argument_parser
    monkeypatch.setattr(
        argument_parser, "get_empty_argument_parser", lambda *args, **more: built.append(1) or make(*args, **more)
    )
    parse_own_options_once()
    parse_own_options_once()  # a second environment in one process
    assert [argument_parser.default_args_dict() for _ in range(3)] == [expected] * 3
    assert len(built) == 1
