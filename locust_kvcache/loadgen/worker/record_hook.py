"""Defines the event `record_finished`, which gives each record to a user's listeners.

One that fails is logged once, not once per request.
"""

from __future__ import annotations

from typing import Any

from locust import log as locust_log
from locust.event import EventHook
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser

from locust_kvcache.loadgen.worker.logged_once import ErrorLog

LOCUST_ORDERS = (
    StopUser,
    StopTest,
    RescheduleTask,
    RescheduleTaskImmediately,
    InterruptTaskSet,
)  # raised by listeners on purpose


class RecordHook(EventHook):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._errors = ErrorLog()

    def fire(self, *, reverse: bool = False, **kwargs: Any) -> None:
        handlers = self._handlers[::-1] if reverse else self._handlers.copy()
        for handler in handlers:
            try:
                handler(**kwargs)
            except LOCUST_ORDERS:
                raise
            except Exception as error:
                self._errors.tell(error, "calling a listener of record_finished")
                locust_log.unhandled_greenlet_exception = True  # as Locust's own hooks do: it sets the exit code
