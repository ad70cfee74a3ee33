"""The emulator as a process: the shape of its answers is vLLM's, and its cache decides its times and its counters."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
import requests

from tests.conftest import ROOT
from tests.emulator.conftest import Serve
from tests.ports import free_port


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve("--time-scale", "0.2")


def ask(url: str, **body: Any) -> tuple[list[dict[str, Any]], list[float]]:
    """(events of a streamed chat answer, seconds after sending at which each came)."""
    sent = {"model": "tiny", "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}, **body}
    started_s, events, at_s = time.monotonic(), [], []
    with requests.post(f"{url}/v1/chat/completions", json=sent, stream=True, timeout=30) as answer:
        assert answer.status_code == 200, answer.text
        for line in answer.iter_lines(chunk_size=None):
            if line.startswith(b"data: {"):
                events.append(json.loads(line[6:]))
                at_s.append(time.monotonic() - started_s)
    assert line == b"data: [DONE]" or events
    return events, at_s


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_the_stream_has_vllms_shape(url: str) -> None:
    events, _ = ask(url, messages=chat("hello"))
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [event["choices"][0] for event in events[1:-1]]
    assert len(deltas) == 4
    assert all(choice["delta"]["content"] for choice in deltas)
    assert [choice["finish_reason"] for choice in deltas] == [None, None, None, "length"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 4


def test_the_cache_decides_the_time_to_the_first_token(url: str) -> None:
    text = "unique words " + " ".join(f"w{number}" for number in range(3000))
    (cold, cold_s), (hit, hit_s) = ask(url, messages=chat(text)), ask(url, messages=chat(text))
    prompt = cold[-1]["usage"]["prompt_tokens"]
    assert cold[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert hit[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == (prompt - 1) // 16 * 16
    assert cold_s[1] > 5 * hit_s[1]
    assert cold_s[1] > 0.2 * 7e-4 * prompt  # never faster than the profile says


def test_tokenize_agrees_with_usage(url: str) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *chat("What is 12 + 34?\nÄh, 東京?")]
    counted = requests.post(f"{url}/tokenize", json={"model": "tiny", "messages": messages}, timeout=5).json()
    events, _ = ask(url, messages=messages)
    assert counted["count"] == len(counted["tokens"]) == events[-1]["usage"]["prompt_tokens"]


def metric(url: str, name: str) -> float:
    page = requests.get(f"{url}/metrics", timeout=5).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


def test_counters_are_those_of_the_answers(url: str) -> None:
    before = {name: metric(url, name) for name in ("vllm:prefix_cache_hits_total", "vllm:prompt_tokens_total")}
    usages = [ask(url, messages=chat("count me " * 100))[0][-1]["usage"] for _ in range(3)]
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
    assert metric(url, "vllm:prefix_cache_hits_total") - before["vllm:prefix_cache_hits_total"] == cached > 0
    prompts = sum(usage["prompt_tokens"] for usage in usages)
    assert metric(url, "vllm:prompt_tokens_total") - before["vllm:prompt_tokens_total"] == prompts


def test_names_and_types_are_vllms(serve: Serve) -> None:
    """Against the names of a real vLLM 0.26 decoder with a Mooncake store (families that need other hardware or switches left out)."""
    store_port = free_port()
    url = serve("--time-scale", "0.05", "--role", "pd", "--mooncake-port", str(store_port))
    ask(url, messages=chat("count me " * 300))
    for path in ("/metrics", "/metrics/prefiller", "/metrics/decoder"):
        page = requests.get(url + path, timeout=5).text
        ours = dict(line.split(" ")[2:4] for line in page.splitlines() if line.startswith("# TYPE"))
        real = dict(line.split(" ") for line in (ROOT / "tests/emulator/vllm_names.txt").read_text().splitlines())
        if path == "/metrics/decoder":
            real.pop("vllm:mooncake_store_operation_time_seconds", None)
        missing = {name: kind for name, kind in real.items() if ours.get(name) != kind}
        assert not missing
    assert "master_key_count 2\n" in requests.get(f"http://127.0.0.1:{store_port}/metrics", timeout=5).text


def test_a_reset_makes_the_next_request_cold(url: str) -> None:
    messages = chat("reset me " * 100)
    ask(url, messages=messages)
    assert requests.post(f"{url}/reset_prefix_cache", timeout=5).json() == {"success": True}
    events, _ = ask(url, messages=messages)
    assert events[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_completions_take_text_and_token_ids(url: str) -> None:
    for prompt in ("some text", [1, 2, 3]):
        answer = requests.post(
            f"{url}/v1/completions", json={"model": "tiny", "prompt": prompt, "max_tokens": 3}, timeout=10
        ).json()
        assert answer["choices"][0]["text"].strip()
        assert answer["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "other", "messages": chat("x")}, 404),
        ({"messages": []}, 400),
        ({"messages": chat("x"), "max_tokens": 0.5}, 400),
        ({"messages": chat("x"), "max_tokens": 40_000}, 400),
    ],
)
def test_errors_as_vllm_gives_them(url: str, body: dict[str, Any], status: int) -> None:
    answer = requests.post(f"{url}/v1/chat/completions", json=body, timeout=5)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert requests.post(f"{url}/v1/chat/completions", data=b"{oops", timeout=5).status_code == 400


def test_a_key_is_asked_for(serve: Serve) -> None:
    url = serve("--api-key-env", "EMULATOR_KEY", EMULATOR_KEY="s3cret")
    assert requests.get(f"{url}/v1/models", timeout=5).status_code == 401
    assert requests.get(f"{url}/v1/models", headers={"Authorization": "Bearer s3cret"}, timeout=5).ok


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--profile", "nope"), "available: cpu_tiny"),
        (("--time-scale", "0"), "expected more than 0"),
        (("--role", "x"), "--role"),
    ],
)
def test_wrong_arguments_are_explained(args: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "locust_kvcache.emulator", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr


def test_several_prefillers_and_decoders_have_pages_of_their_own(serve: Serve) -> None:
    url = serve("--role", "pd", "--prefillers", "2", "--decoders", "3", "--time-scale", "0.01")
    for number in range(6):
        ask(url, messages=chat(f"{number} " * 40))
    answer = requests.get(f"{url}/metrics", timeout=5)
    assert answer.status_code == 404
    assert "/metrics/prefiller-1, /metrics/prefiller-2, /metrics/decoder-1" in answer.text
    counted = {}
    for name in ("prefiller-1", "prefiller-2", "decoder-1", "decoder-2", "decoder-3"):
        page = requests.get(f"{url}/metrics/{name}", timeout=5).text
        counted[name] = sum(
            float(line.split()[-1]) for line in page.splitlines() if line.startswith("vllm:request_success_total")
        )
    assert counted == {"prefiller-1": 3, "prefiller-2": 3, "decoder-1": 2, "decoder-2": 2, "decoder-3": 2}
    works = [json.loads(line)["servers"] for line in requests.get(f"{url}/truth", timeout=5).text.splitlines()[1:]]
    assert [tuple(one) for one in works[:3]] == [
        ("prefiller-1", "decoder-1"), ("prefiller-2", "decoder-2"), ("prefiller-1", "decoder-3"),
    ]  # fmt: skip
