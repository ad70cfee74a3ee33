"""Makes a spawn message cheap for a worker. Locust 2.47 builds a parser of its own options anew for each option in the message: with
ours that takes about a second, in which the worker answers no heartbeat, and on a busy host the master takes it for lost."""

from __future__ import annotations

import functools

from locust import argument_parser


def parse_own_options_once() -> None:
    """Locust's own options and their defaults do not change while a process runs."""
    if not hasattr(argument_parser.default_args_dict, "cache_info"):
        argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
