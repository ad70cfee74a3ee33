"""Declares our options on Locust's parser: importing it does so."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, NoReturn

from locust import events

from locust_kvcache.contract.command import meant_option
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.option import GROUPS
from locust_kvcache.loadgen.options.processes import follow_ports
from locust_kvcache.loadgen.typed_locust import listen

SIMPLE = ("scenarios", "requests", "rounds", "deployment")  # what Locust's own start form shows of ours


def refuse(parser: Any, message: str) -> NoReturn:
    """Arguments that argparse refuses are bad input: one line and the exit code of the table."""
    hint = meant_option(message, parser)
    line = (
        " ".join(f"{message}{'; ' if hint else ''}{hint}".split()).encode("utf-8", "backslashreplace").decode()
    )  # half a character has no bytes
    sys.stderr.write(f"error: {line}\n")
    raise SystemExit(int(Exit.BAD_INPUT))


def _declare(parser: Any) -> None:
    for name in GROUPS:
        group = parser.add_argument_group(f"KV cache load test: {name}")
        for option in OPTIONS:
            if option.group == name:
                action: Any = option.declare(group.add_argument)
                action.include_in_web_ui = option.name in SIMPLE  # Locust's own mark; all of `in_form` stand at /kvcache/start
    parser.set_defaults(web_host="127.0.0.1")  # a page without a login is for this host, unless --web-host says otherwise
    parser.error = partial(refuse, parser)
    follow_ports(parser)


listen(events.init_command_line_parser, _declare)
