"""Empties cache tiers and checks the result: an answer of success is not taken as proof (docs/cold-proof.md).

Runs on the master between rounds, when no request is open; nothing here is on the measured path.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import gevent
import requests

from locust_kvcache.contract.cache_tiers import CacheAction
from locust_kvcache.contract.deployment import Access
from locust_kvcache.contract.extensions import CACHE_ACTIONS, CacheActionKind, extensions
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.server.pages import ask_page, read_json

HTTP_TIMEOUT_S = 10.0
RETRY_S = 0.25
REQUESTS = {
    "vllm_reset": ("POST", "/reset_prefix_cache"),
    "vllm_reset_external": ("POST", "/reset_prefix_cache?reset_external=true"),
    "lmcache_clear": ("DELETE", "/cache/clear"),
    "lmcache_mp_clear": ("POST", "/cache/clear"),
    "sglang_flush": ("POST", "/flush_cache"),
}
MOONCAKE = """
import sys
from mooncake.store import MooncakeDistributedStore
store = MooncakeDistributedStore()
code = store.setup("127.0.0.1", "P2PHANDSHAKE", 16 << 20, 16 << 20, "tcp", "", sys.argv[1])
if code:
    sys.exit(f"setup answered {code}: is {sys.argv[1]} the master's RPC address?")
try:
    removed = store.remove_all(True)
except TypeError:
    removed = store.remove_all()
print(removed)
sys.exit(0 if removed >= 0 else f"remove_all answered {removed}")
"""


@dataclass(frozen=True)
class ActionResult:
    """The result of one action; `detail` says it in words, `ok` only that nothing contradicts it."""

    tier: str
    kind: str
    target: str
    ok: bool
    detail: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def carry_out(actions: Iterable[CacheAction], access: Access) -> list[ActionResult]:
    """One after another, in the file's order: a tier above may write into one below while it is emptied."""
    return [_carry_out(action, access) for action in actions]


def _carry_out(action: CacheAction, access: Access) -> ActionResult:
    begun_s = time.monotonic()
    try:
        if action.kind == "command":
            ok, detail = run_command(["/bin/sh", "-c", action.target], action.timeout_s)
        elif action.kind == "mooncake_remove_all":
            ok, detail = _mooncake(action, access)
        elif action.kind in REQUESTS:
            ok, detail = _http(action, access)
        else:
            ok, detail = _of_package(action)
    except (requests.RequestException, OSError, subprocess.SubprocessError) as error:
        ok, detail = False, f"{type(error).__name__}: {error}"[:300]
    return ActionResult(action.tier, action.kind, action.target, ok, detail, round(time.monotonic() - begun_s, 3))


def _of_package(action: CacheAction) -> tuple[bool, str]:
    """A kind that another package adds; what it raises is a failed action."""
    kind: CacheActionKind = extensions(CACHE_ACTIONS)[action.kind].loaded
    try:
        ok, detail = kind.empty(action.target, action.timeout_s)
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"[:300]
    return bool(ok), str(detail)[:300]


def _http(action: CacheAction, access: Access) -> tuple[bool, str]:
    """Success is 2xx and no {"success": false} in the body; vLLM says that while blocks are held, so it is asked again."""
    method, path = REQUESTS[action.kind]
    deadline_s = time.monotonic() + action.timeout_s
    tries = 0
    while True:
        tries += 1
        answer = ask_page(access, method, action.target + path, HTTP_TIMEOUT_S)
        refused = _refused(answer)
        if answer.ok and not refused:
            return True, f"HTTP {answer.status_code}" + (f" at try {tries}" if tries > 1 else "")
        if answer.status_code == 404:
            hint = "; start vLLM with VLLM_SERVER_DEV_MODE=1" if action.kind.startswith("vllm") else ""
            return False, f"HTTP 404: {method} {path} is not there{hint}"
        if not answer.ok:
            return False, f"HTTP {answer.status_code}: {answer.text[:200]}"
        if time.monotonic() > deadline_s:
            return (
                False,
                f"refused {tries} times in {action.timeout_s:g} s (blocks are held, or puts are under way): {answer.text[:100]}",
            )
        gevent.sleep(RETRY_S)


def _refused(answer: requests.Response) -> bool:
    try:
        body = read_json(answer)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("success") is False


def run_command(command: list[str], timeout_s: float) -> tuple[bool, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    said = (done.stdout + done.stderr).strip()[-200:]
    return done.returncode == 0, f"exit code {done.returncode}" + (f": {said}" if said else "")


def _mooncake(action: CacheAction, access: Access) -> tuple[bool, str]:
    """Removed by a client of its own process (its library does not go with gevent), then checked by the master's own count."""
    ok, detail = run_command([action.python or sys.executable, "-c", MOONCAKE, action.target], action.timeout_s)
    if "No module named" in detail:
        return (
            False,
            "the mooncake package is not installed here: name an interpreter that has it as `python`, or use kind `command`",
        )
    if not ok or action.metrics is None:
        return ok, detail + ("" if action.metrics else "; not checked: give the master's page as `metrics`")
    keys = key_count(action.metrics, access)
    if keys is None:
        return False, f"remove_all was called; {action.metrics} does not tell master_key_count"
    return keys == 0, f"remove_all was called; {keys:.0f} keys are left by the master's count"


def key_count(url: str, access: Access) -> float | None:
    """Keys in the Mooncake store by its master's metrics page."""
    samples = scrape([("mooncake_master", url)], access)[0]["samples"]
    found = [value for name, value in samples.items() if name.split("{")[0] == "master_key_count"]
    return sum(found) if found else None
