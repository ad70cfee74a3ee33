"""Drives a headless Chromium by its DevTools protocol: opens a page, clicks, and returns texts and pictures."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.conftest import wait_for

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars --force-prefers-reduced-motion --remote-debugging-port=0 --window-size=1500,900"
).split()


class Tab:
    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=20, suppress_origin=True)
        self._number = 0
        self.messages: list[str] = []  # of the console, and exceptions that nobody caught
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.messages.append(json.dumps(message["params"]))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def js(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        wait_for(lambda: self.js("document.readyState") == "complete", what=f"{url} in the browser")

    @property
    def text(self) -> str:
        return str(self.js("document.body ? document.body.innerText : ''"))

    def wait_for_text(self, text: str, seconds: float = 60.0) -> None:
        wait_for(
            lambda: text.lower() in self.text.lower(), seconds, f"{text!r} on the page", pause_s=0.4
        )  # laying out costs the browser

    def click(self, text: str, within: str = "button,a,[role=tab],summary,[role=button]") -> None:
        """A real mouse click on the middle of the visible element with this text."""
        find = (
            f"[...document.querySelectorAll({json.dumps(within)})].find(e => e.getClientRects().length"
            f" && e.innerText.trim().toLowerCase() === {json.dumps(text.lower())})"
        )
        wait_for(lambda: self.js(f"!!({find})"), what=f"an element {text!r} to click")
        self._click(find)

    def fill(self, name: str, value: str) -> None:
        """Type into the input with this name in place of what it holds."""
        find = f"document.querySelector('[name={json.dumps(name)}]')"
        wait_for(lambda: self.js(f"!!({find})"), what=f"the input {name}")
        self._click(find)
        self.js(f"{find}.select()")
        self.call("Input.insertText", text=value)

    def _click(self, find: str) -> None:
        """The page moves and opens by animation: click once the element stands still and nothing lies over its middle."""
        x, y = wait_for(lambda: self._still(find), what=f"an element that stands still: {find}")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def _still(self, find: str) -> Any:
        """The element's middle if it is where it was two frames ago and a click there would hit it, else null."""
        return self.js(
            "(async () => {"
            f"const find = () => {find}, place = e => e.getBoundingClientRect(), frame = () => new Promise(requestAnimationFrame);"
            "let e = find(); if (!e) return null;"
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const was = place(e); await frame(); await frame();"
            "e = find(); if (!e) return null;"
            "const r = place(e), x = r.x + r.width / 2, y = r.y + r.height / 2, hit = document.elementFromPoint(x, y);"
            "return r.x === was.x && r.y === was.y && r.width && e.contains(hit) ? [x, y] : null })()"
        )

    def picture(self, path: Path, height: int = 900) -> Path:
        self.call("Emulation.setDeviceMetricsOverride", width=1500, height=height, deviceScaleFactor=1, mobile=False)
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    assert BINARY is not None
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen([BINARY, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log)
    try:
        port_file = profile / "DevToolsActivePort"
        port = wait_for(lambda: port_file.is_file() and port_file.read_text().split()[0], 40, "Chromium")
        pages = wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/json/list", timeout=2).json(), what="Chromium's page")
        yield Tab(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
    finally:
        process.terminate()
        process.wait(60)
