"""Restarts the engine before the arm after_restart, by the deployment's own command, and waits until it answers again."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import gevent
import requests

from locust_kvcache.contract.deployment import Access
from locust_kvcache.contract.restart import Restart
from locust_kvcache.loadgen.server.cache_actions import run_command
from locust_kvcache.loadgen.server.pages import ask_page

PAGE_TIMEOUT_S = 10.0
POLL_S = 0.2


def restart_engine(asked: Restart, access: Access) -> dict[str, Any]:
    """Its result, for the round's entry in run.json: command, ok, detail, seconds."""
    begun_s = time.monotonic()
    try:
        ok, detail = run_command(["/bin/sh", "-c", asked.command], asked.timeout_s)
    except (OSError, subprocess.SubprocessError) as error:
        ok, detail = False, f"{type(error).__name__}: {error}"[:300]
    if ok:
        ok, detail = _wait(asked, access, begun_s + asked.timeout_s)
    return {"command": asked.command, "ok": ok, "detail": detail, "seconds": round(time.monotonic() - begun_s, 3)}


def _wait(asked: Restart, access: Access, deadline_s: float) -> tuple[bool, str]:
    seen = "nothing was asked"
    while time.monotonic() < deadline_s:
        try:
            answer = ask_page(access, "GET", asked.wait_for, PAGE_TIMEOUT_S)
            if answer.ok:
                return True, f"{asked.wait_for} answered HTTP {answer.status_code}"
            seen = f"HTTP {answer.status_code}"
        except requests.RequestException as error:
            seen = type(error).__name__
        gevent.sleep(POLL_S)
    return False, f"{asked.wait_for} did not answer within {asked.timeout_s:g} s: {seen}"
