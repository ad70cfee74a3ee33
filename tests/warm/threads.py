"""Threads of the operating system for a worker of pytest-xdist that is forked when gevent has patched `threading` already.

To be imported before Locust, whose import patches.
"""

from __future__ import annotations

import _thread
import importlib.util
from types import ModuleType
from typing import Any

from execnet.gateway_base import MainThreadOnlyExecModel


def _own_copy(name: str) -> ModuleType:
    """Of a module of the standard library: what gevent changes in the module that others import, it does not change here."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_threading, _queue = _own_copy("threading"), _own_copy("queue")
setattr(_queue, "threading", _threading)  # noqa: B010  (mypy knows no such name of a module)
_start, _get_ident = _thread.start_new_thread, _thread.get_ident


class SystemThreads(MainThreadOnlyExecModel):
    """What execnet waits with and starts, where a greenlet that waits for a pipe would stop all others."""

    queue = _queue

    def get_ident(self) -> int:
        return _get_ident()

    def start(self, func: Any, args: Any = ()) -> None:
        _start(func, args)

    def Lock(self) -> Any:
        return _threading.RLock()

    def RLock(self) -> Any:
        return _threading.RLock()

    def Event(self) -> Any:
        return _threading.Event()
