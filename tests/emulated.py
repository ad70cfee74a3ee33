"""An emulator as a process, with a profile whose truth a test states itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import wait_for_server
from tests.ports import free_port
from tests.warm.servers import start_server

TIMING: dict[str, Any] = {
    "frontend_s": [[0, 0.002]], "step_floor_s": 0.001, "prefill_s_per_token": 2e-4, "attention_s_per_token2": 0.0,
    "step_s_per_decoding": 0.0,
}  # fmt: skip
SERVER: dict[str, Any] = {"gpu_capacity_tokens": 1_000_000, "max_num_seqs": 64, "max_num_batched_tokens": 2048}
STORE: dict[str, Any] = {"chunk_tokens": 16, "capacity_bytes": 1e12, "read_bytes_per_s": 4e8, "write_bytes_per_s": 1e12, "latency_s": 0.0,
                         "load": "sync"}  # fmt: skip
KV_BYTES = 10_000


@contextlib.contextmanager
def emulator(folder: Path, server: dict[str, Any], *args: str) -> Iterator[str]:
    """`server` is laid over SERVER; its `timing` over TIMING. The URL."""
    timing = {**TIMING, **server.get("timing", {})}
    profile = {
        "served_name": "truth", "max_model_len": 32768, "block_size": 16, "kv_bytes_per_token": KV_BYTES,
        "servers": {"single": {**SERVER, **server, "timing": timing}},
    }  # fmt: skip
    file, port = folder / "truth.yaml", free_port()
    file.write_text(yaml.safe_dump(profile))
    process = start_server("locust_kvcache.emulator", "--port", str(port), "--profile", str(file), *args)
    try:
        wait_for_server(process, f"http://127.0.0.1:{port}/health", "the emulator")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
