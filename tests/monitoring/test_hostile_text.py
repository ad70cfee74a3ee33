"""What servers and files say may be markup: on the live page it must stay text, by a real browser's judgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from gevent.pywsgi import WSGIServer

from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.web.kvcache_tab import COLUMNS
from locust_kvcache.loadgen.web.live_page import attach
from tests.monitoring.chrome import BINARY, chromium

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium on this machine: the browser test needs one")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The live page alone, of a run in which every text is hostile."""
    live = Live({(HOSTILE, 1): 2})
    live.rounds[HOSTILE, 1].ttft.add(20.0)
    live.points.add((HOSTILE, 1), 1.0, 20.0)
    run = SimpleNamespace(finished=True, incomplete_reason=HOSTILE, warnings=[HOSTILE], folder=tmp_path / HOSTILE)
    web_ui: Any = SimpleNamespace(app=Flask("page"), auth_required_if_enabled=lambda view: view)
    driver: Any = SimpleNamespace(live=live, run=run)
    attach(web_ui, lambda: driver, COLUMNS, "")
    server = WSGIServer(("127.0.0.1", 0), web_ui.app, log=None)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}/kvcache"
    server.stop()


def test_markup_stays_text(page: str, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as tab:
        tab.open(page)
        tab.wait_for_text("incomplete")
        shown = {
            place: tab.js(f"document.querySelector('{place}').textContent") for place in ("#reason", "#run", "td", "li", "#keys")
        }
        assert [place for place, text in shown.items() if HOSTILE not in text] == []
        assert tab.js("document.querySelectorAll('img').length") == 0
        assert tab.js("document.title") == "KV cache, live"
