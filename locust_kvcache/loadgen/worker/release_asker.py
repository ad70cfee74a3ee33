"""Asks the master for releases ahead of need, so that no user waits for the master."""

from __future__ import annotations

import time
from collections.abc import Callable, Sized

from gevent.event import Event

from locust_kvcache.loadgen.protocol.messages import Message, Want
from locust_kvcache.loadgen.worker.share import Share

ASK_INTERVAL_S = 0.1
ASK_AGAIN_S = 2.0  # a release that was lost on its way is asked for again


class ReleaseAsker:
    """`share_in_play`: the share whose sessions are played now; None where there is none, or the test is stopping."""

    def __init__(self, share_in_play: Callable[[], Share | None], released: Sized, send: Callable[[Message], None]) -> None:
        self._share_in_play = share_in_play
        self._released = released  # sessions that no user has taken yet
        self._send = send
        self.low = Event()  # few of them are left

    def run(self) -> None:
        """Needs a greenlet of its own, as sending may block."""
        while True:
            self.low.wait(ASK_INTERVAL_S)
            self.low.clear()
            self._ask()

    def _ask(self) -> None:
        share, now_s = self._share_in_play(), time.monotonic()
        if share is None or not share.started_s or share.time_is_up.is_set():
            return
        if share.asked_s is not None and now_s - share.asked_s < ASK_AGAIN_S:
            return
        if count := share.wanted(len(self._released)):
            share.asked_s = now_s
            self._send(Want(share.config.run_id, share.scenario, share.number, share.received, count))
