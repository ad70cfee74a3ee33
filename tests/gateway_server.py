"""The stub server behind a gateway's rules: another path, a query, a key in a header of its own, a field in each body.

python -m tests.gateway_server PORT LOG     LOG gets a line per request: path, x-session-id, tenant, whether the key was right
"""

from __future__ import annotations

import io
import json
import sys

from tests.stub_server import Handler, Server

KEY = "k-123"


class Gateway(Handler):
    def _allowed(self) -> bool:
        right = self.headers.get("x-api-key") == KEY and "Authorization" not in self.headers
        with self.lock, open(sys.argv[2] + ".gateway", "a") as log:
            entry = {
                "path": self.path,
                "session": self.headers.get("x-session-id"),
                "tenant": self.headers.get("x-tenant"),
                "key": right,
            }
            log.write(json.dumps(entry) + "\n")
        if not right:
            self._json(401, {"error": {"message": "no key"}})
        return right

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if self.path == "/gw/metrics":
            body = b'vllm:cache_config_info{block_size="16"} 1\nrequests_total 3\n'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path == "/gw/openai/models?v=1":
            self.path = "/v1/models"
            super().do_GET()
        else:
            self._json(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._allowed():
            return
        if self.path != "/gw/openai/chat/completions?v=1":
            self._json(404, {"error": {"message": "no such page"}})
            return
        if json.loads(body).get("priority") != 7:
            self._json(400, {"error": {"message": "priority is missing"}})
            return
        self.path, kept = "/v1/chat/completions", self.rfile
        self.rfile = io.BytesIO(body)
        super().do_POST()
        self.rfile = kept


if __name__ == "__main__":
    Handler.log_path = sys.argv[2]
    Server(("127.0.0.1", int(sys.argv[1])), Gateway).serve_forever()
