"""Sends a worker's messages to the master, and hears the master's, each as its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from locust.env import Environment

from locust_kvcache.loadgen.protocol.messages import Message

M = TypeVar("M", bound=Message)


class MasterLine:
    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def listen(self, message_type: type[M], act: Callable[[M], None], concurrent: bool = False) -> None:
        """`concurrent`: what takes time runs in a greenlet of its own."""

        def heard(environment: Environment, msg: Any, **_: Any) -> None:
            act(message_type.from_wire(msg.data))

        self._runner.register_message(message_type.kind, heard, concurrent=concurrent)

    def send(self, message: Message) -> None:
        self._runner.send_message(message.kind, message.to_wire())
