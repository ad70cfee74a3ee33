"""Gives --processes a free port, and lets a worker tell that it belongs to this command.

Locust's workers of `--processes N` connect to --master-port, its master binds --master-bind-port: one of them implies the other, and
without either a free port is taken, so that two commands on one host do not get each other's workers.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput

LOCUSTS_PORT = 5557


class Unset(int):
    """A default of Locust's own, which nobody has given."""


@dataclass
class Forking:
    """What the processes of one command share: they are forked after its options are read."""

    token: str = ""  # of a master with workers of its own; empty where there are none
    parent: int = 0  # process id; 0 where nothing is forked


FORKING = Forking()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def choose_ports(parsed: Any) -> None:
    """Both ports of a command with --processes and a master; BadInput where they differ."""
    bind, connect = parsed.master_bind_port, parsed.master_port
    if parsed.processes and not parsed.worker and not parsed.master:
        given = [port for port in (bind, connect) if not isinstance(port, Unset)]
        if len(set(given)) > 1:
            raise BadInput(
                f"--master-bind-port is {bind} and --master-port is {connect}: the workers of --processes connect to the one, their master "
                "binds the other. Give one of them"
            )
        bind = connect = given[0] if given else free_port()
    parsed.master_bind_port, parsed.master_port = int(bind), int(connect)


def note_forking(parsed: Any) -> None:
    if parsed.processes:
        FORKING.parent = os.getpid()
        FORKING.token = "" if parsed.worker else secrets.token_hex(4)


def follow_ports(parser: Any) -> None:
    """Have Locust's parser choose them when it has read the command line."""
    parse: Callable[..., Any] = parser.parse_args
    parser.set_defaults(master_bind_port=Unset(LOCUSTS_PORT), master_port=Unset(LOCUSTS_PORT))

    @functools.wraps(parse)
    def parse_args(*args: Any, **keywords: Any) -> Any:
        parsed = parse(*args, **keywords)
        try:
            choose_ports(parsed)
        except BadInput as error:
            parser.error(str(error))
        if not FORKING.parent:  # Locust parses again for its page
            note_forking(parsed)
        return parsed

    parser.parse_args = parse_args
