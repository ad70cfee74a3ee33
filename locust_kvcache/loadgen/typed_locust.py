"""Gives types to what Locust leaves untyped: event listeners, guarded views of its page, a worker's number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from flask import Flask
from locust.event import EventHook
from locust.runners import MasterRunner
from locust.web import WebUI

P = ParamSpec("P")
R = TypeVar("R")


def new_hook() -> EventHook:
    return EventHook()  # type: ignore[no-untyped-call]


def listen(hook: EventHook, listener: Callable[..., Any]) -> None:
    """Call `listener` with the event's keyword arguments each time that it fires."""
    hook.add_listener(listener)  # type: ignore[no-untyped-call]


def flask_app(web_ui: WebUI) -> Flask:
    """Locust's page: it makes it before any of its events fires."""
    return cast(Flask, web_ui.app)


def guarded(web_ui: WebUI, view: Callable[P, R]) -> Callable[P, R]:
    """The view, for those who have logged in where `--web-login` asks for it."""
    behind_login: Callable[P, R] = web_ui.auth_required_if_enabled(view)  # type: ignore[no-untyped-call]
    return behind_login


def worker_index(runner: MasterRunner, worker: str) -> int:
    return int(runner.get_worker_index(worker))  # type: ignore[no-untyped-call]
