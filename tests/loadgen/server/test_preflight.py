"""The preflight against servers that count, cut, end or buffer in their own ways: what it says, and with which figures."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.server.preflight import Preflight, Server
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from tests.conftest import wait_for
from tests.ports import free_port
from tests.warm.servers import start_server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = free_port(), tmp_path_factory.mktemp("odd") / "log"
    process = start_server("tests.odd_server", str(port), str(log))
    wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/v1/models", timeout=1).ok, what="the odd server")
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def scenario() -> Scenario:
    return replace(load_scenario("cold_start"), requests=4)


def looked_at(url: str, model: str) -> Server:
    return Preflight(Deployment(name="odd", kind="other", endpoint=url), 20.0).run(model, [scenario()])


def test_an_honest_server_gives_no_cause_for_complaint(url: str) -> None:
    found = looked_at(url, "honest")
    assert [text for text in found.warnings if "cached tokens" not in text and "ignore_eos" not in text] == []
    largest = found.largest_request
    assert largest["prompt_tokens"] == pytest.approx(largest["planned_prompt_tokens"], rel=0.02)
    assert largest["planned_prompt_tokens"] > 4000
    assert (largest["planned_output_tokens"], largest["output_tokens"], largest["status"]) == (16, 16, "ok")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("cuts", "was counted by the server as 1,024 tokens: it cuts prompts"),
        ("counts_twice", "tokens: it cuts prompts (context length? Ollama: num_ctx), or counts otherwise"),
        ("ends_early", "an answer has 6 tokens where 16 were requested"),
        ("gives_up", "failed: aborted: finish_reason 'abort' after 3 of 16 tokens"),
        ("buffers", "buffered by a proxy"),
        ("muses", "unknown field 'musings'"),
        ("strings", "token counts that cannot be true and are rejected: prompt_tokens is '"),
    ],
)
def test_what_is_odd_about_a_server_is_said_before_any_load(url: str, model: str, said: str) -> None:
    assert any(said in text for text in looked_at(url, model).warnings)


@pytest.mark.parametrize("model", ["hides", "at_least_16"])
def test_a_server_that_shows_nothing_of_a_small_answer_is_asked_for_a_larger_one(url: str, model: str) -> None:
    assert looked_at(url, model).largest_request["status"] == "ok"


def test_a_count_that_does_not_follow_the_text_is_refused(url: str) -> None:
    found = looked_at(url, "constant")
    assert found.calibration.source == "assumed"
    assert any("prompt_tokens are refused" in text and "counted as 512 and 512 tokens" in text for text in found.warnings)


@pytest.mark.parametrize("model", ["half_tokenizer", "constant_tokenizer"])
def test_a_tokenizer_that_is_not_the_models_is_not_planned_by(url: str, model: str) -> None:
    found = looked_at(url, model)
    assert found.calibration.source == "usage"
    assert any("/tokenize counts" in text and "another tokenizer" in text for text in found.warnings)
    assert found.largest_request["prompt_tokens"] == pytest.approx(found.largest_request["planned_prompt_tokens"], rel=0.02)


def test_prompts_that_the_server_refuses_are_bad_input_with_its_words(url: str) -> None:
    with pytest.raises(BadInput, match=r"4,\d\d\d prompt tokens.*HTTP 400.*maximum context length is 1024"):
        looked_at(url, "short_context")
