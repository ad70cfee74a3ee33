"""Servers that differ from the usual and can be measured all the same: the preflight takes them, and says what it took for granted."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
import time
from dataclasses import replace
from typing import Any

import gevent
import pytest
import requests

from locust_kvcache.contract.deployment import Access, Transport
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.server import calibration, patience
from locust_kvcache.loadgen.server.calibration import CountsRefused
from locust_kvcache.loadgen.server.model_list import ask_models
from locust_kvcache.loadgen.server.pages import ask_page
from locust_kvcache.loadgen.server.preflight import Preflight, Server
from locust_kvcache.loadgen.server.sized_canary import held_back_ms
from locust_kvcache.loadgen.worker.loop_lag import LagMonitor
from locust_kvcache.workload.given_lengths import with_lengths
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from tests.ports import free_port
from tests.scripted_server import Scripted, served, words_of

SCENARIO = replace(load_scenario("cold_start"), requests=4)
Refusal = tuple[int, Any, dict[str, str]] | None


def looked_at(kind: type[Scripted], model: str | None = None, scenario: Scenario = SCENARIO, timeout_s: float = 10.0) -> Server:
    with served(kind) as (deployment, _):
        return Preflight(replace(deployment, metrics=()), timeout_s).run(model, [scenario])


@pytest.mark.parametrize(
    "models",
    [
        [{"id": "m"}],
        ["m"],
        {"data": [{"id": "m", "max_model_len": None}, {"object": "model"}, 7]},
        {"models": [{"name": "m"}], "object": "list"},
        {"data": {"id": "m"}},
    ],
)
def test_a_list_of_one_model_names_it_however_it_is_written(models: Any) -> None:
    found = looked_at(type("Listing", (Scripted,), {"models": models}))
    assert found.model == "m"
    assert found.calibration.source == "usage"


class NoList(Scripted):
    status, page = 404, b"<html><head><style>p {}</style></head><body><h1>Not  here</h1></body></html>"

    def list_models(self) -> None:
        self.send_json(self.page, self.status)


@pytest.mark.parametrize(
    ("status", "page", "said"),
    [
        (404, NoList.page, "HTTP 404: Not here"),
        (500, b'{"error": "boom"}', 'HTTP 500: {"error": "boom"}'),
        (403, b"no", "HTTP 403: no"),
        (200, b'{"object": "list", "data": null}', "no list of models: {'object': 'list', 'data': None}"),
        (200, b'{"data": []}', "an empty list"),
        (200, b'{"data": [{"title": "a"}]}', "a list without names: [{'title': 'a'}]"),
        (200, b'{"data": [{"id": "openai/*"}, {"id": "b"}]}', "2 models: openai/*, b"),
        (200, b"<title>Chat</title>", "no JSON: Chat"),
        (200, b"[" * 100_000, "no JSON: [[["),
        (200, '{"data": []}'.encode("utf-16"), "d a t a"),
        (500, b"\x1b[31m red\x07", "HTTP 500: [31m red"),
    ],
)
def test_a_model_that_is_named_is_taken_at_its_word_and_one_that_is_not_is_asked_for(status: int, page: bytes, said: str) -> None:
    kind = type("List", (NoList,), {"status": status, "page": page})
    found = looked_at(kind, "alias")
    assert found.model == "alias"
    assert any("'alias'" in text and said in text for text in found.warnings)
    with pytest.raises(BadInput) as error:
        looked_at(kind)
    assert said in str(error.value)
    assert "which model?" in str(error.value) or "wants an API key" in str(error.value)


class Refuses(Scripted):
    status = 400
    unknown: tuple[str, ...] = ()
    words = "unexpected keyword {name}"

    def refuse(self, body: dict[str, Any]) -> Refusal:
        name = next((name for name in self.unknown if name in body), None)
        return None if name is None else (self.status, {"error": {"message": self.words.format(name=name)}}, {})


@pytest.mark.parametrize(
    ("unknown", "status", "words", "left_out"),
    [
        (("ignore_eos",), 500, "generate() got an unexpected keyword argument '{name}'", {"ignore_eos"}),
        (("ignore_eos",), 500, "Internal Server Error", {"ignore_eos"}),
        (("stream_options",), 400, "extra_forbidden: {name}", {"stream_options"}),
        (("stream_options",), 422, "bad request", {"stream_options"}),
        (("stream_options", "ignore_eos", "temperature"), 422, "bad", {"stream_options", "ignore_eos", "temperature"}),
        (("max_tokens", "ignore_eos"), 400, "use max_completion_tokens", {"max_tokens", "ignore_eos"}),
        (("temperature",), 400, "only the default {name} is supported", {"temperature"}),
    ],
)
def test_only_the_parameters_that_a_server_refuses_are_left_out(
    unknown: tuple[str, ...], status: int, words: str, left_out: set[str]
) -> None:
    found = looked_at(type("Refusing", (Refuses,), {"unknown": unknown, "status": status, "words": words}))
    usual = {"stream", "stream_options", "max_tokens", "temperature", "ignore_eos"}
    assert usual - set(found.parameters) == left_out
    for name in left_out:
        assert any(f"'{name}'" in text and "left out" in text for text in found.warnings)


class RefusesInTheStream(Refuses):
    unknown = ("ignore_eos",)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_events([{"error": {"message": "ignore_eos?"}}]) if "ignore_eos" in body else self.answer(body)


def test_a_parameter_may_be_refused_inside_a_stream() -> None:
    assert "ignore_eos" not in looked_at(RefusesInTheStream).parameters


def test_a_server_that_refuses_everything_is_quoted_with_its_first_words() -> None:
    class Broken(Scripted):
        def refuse(self, body: dict[str, Any]) -> Refusal:
            return 500, {"error": "no weights"}, {}

    with pytest.raises(BadInput, match=r'failed: http_error: HTTP 500: {"error": "no weights"}'):
        looked_at(Broken)


class Thinks(Scripted):
    hidden = 20

    def answer(self, body: dict[str, Any]) -> None:
        tokens, count = len(words_of(body)), self.output_tokens(body)
        shown = [self.delta(number, count) for number in range(self.hidden, count)]
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
        self.send_events([*shown, *([] if shown else [last]), {"choices": [], "usage": self.usage(tokens, count, 0)}])


def test_twenty_hidden_tokens_are_waited_for() -> None:
    assert looked_at(Thinks).calibration.source == "usage"


class Limited(Scripted):
    """Takes `burst` requests, then says 429 for as many seconds as it says."""

    burst, wait, busy = 3, "0.1", 429

    def refuse(self, body: dict[str, Any]) -> Refusal:
        if len(self.asked) % self.burst == 0:
            return self.busy, {"error": "slow down"}, {"Retry_After": self.wait}
        return None


@pytest.mark.parametrize("busy", [429, 529])  # 529: overloaded, as Anthropic and some gateways say it
def test_a_rate_limit_is_waited_for_and_prompt_sizes_are_calibrated(busy: int) -> None:
    found = looked_at(type("Busy", (Limited,), {"busy": busy}))
    assert found.calibration.source == "usage"
    assert found.largest_request["status"] == "ok"


def test_a_limit_of_an_hour_is_said_instead_of_waited_for() -> None:
    class Closed(Scripted):
        def refuse(self, body: dict[str, Any]) -> Refusal:
            return 429, {"error": "quota"}, {"Retry_After": "3600"}

    begun_s = time.monotonic()
    with pytest.raises(BadInput, match=r"HTTP 429.*quota"):
        looked_at(Closed)
    assert time.monotonic() - begun_s < 60


@pytest.mark.parametrize(
    ("header", "tries", "expected"), [("2", 1, 2.0), ("0", 1, 0.1), ("31", 1, None), (None, 1, 1.0), ("Fri, 31 Dec", 2, 2.0)]
)
def test_how_long_a_busy_server_is_waited_for(header: str | None, tries: int, expected: float | None) -> None:
    assert patience.wait_s(header, tries) == expected


class ResetsOnce(Scripted):
    """The connection of the sixth request, one of those that calibrate, breaks."""

    def answer(self, body: dict[str, Any]) -> None:
        if len(self.asked) == 6:
            self.close_connection = True
        else:
            super().answer(body)


def test_one_calibration_request_that_breaks_is_sent_again() -> None:
    assert looked_at(ResetsOnce).calibration.source == "usage"


class Short(Scripted):
    context = 1024

    def refuse(self, body: dict[str, Any]) -> Refusal:
        too_long = len(words_of(body)) + self.output_tokens(body) > self.context
        return (400, {"error": f"This model's maximum context length is {self.context} tokens"}, {}) if too_long else None


def test_a_short_context_is_calibrated_with_shorter_texts_and_named_where_the_plan_is_longer() -> None:
    assert looked_at(Short, scenario=with_lengths(SCENARIO, 600, 8)).calibration.source == "usage"
    with pytest.raises(BadInput, match=r"refuses the largest request.*maximum context length is 1024"):
        looked_at(Short)


def test_a_context_of_a_few_hundred_tokens_is_calibrated_too() -> None:
    assert (
        looked_at(type("Tiny", (Short,), {"context": 400}), scenario=with_lengths(SCENARIO, 200, 8)).calibration.source == "usage"
    )


def test_a_planned_length_beyond_the_models_context_is_refused_before_it_is_sent() -> None:
    models = {"data": [{"id": "m", "max_model_len": 4100}]}
    with pytest.raises(BadInput, match=r"plans a request of 4,0\d\d prompt tokens and 40 of output, and m takes 4,100 together"):
        looked_at(type("Context", (Scripted,), {"models": models}))
    assert looked_at(type("Context", (Scripted,), {"models": {"data": [{"id": "m", "max_model_len": 4200}]}})).model == "m"


def test_an_answer_that_does_not_fit_behind_the_prompt_is_refused_before_the_load() -> None:
    """600 + 16 tokens fit into 1,024, and 600 + 500 do not."""
    with pytest.raises(BadInput, match=r"refuses the largest request.*500 of output.*maximum context length is 1024"):
        looked_at(Short, scenario=with_lengths(SCENARIO, 600, 500))
    assert looked_at(Short, scenario=with_lengths(SCENARIO, 600, 100)).model == "m"


class LetsSmallOnesThrough(Short):
    def refuse(self, body: dict[str, Any]) -> Refusal:
        return (403, {"error": "blocked by rule 7"}, {}) if super().refuse(body) else None


def test_a_long_request_that_a_gateway_forbids_is_not_called_too_long_for_the_model() -> None:
    with pytest.raises(BadInput, match=r"refuses the largest request.*HTTP 403.*rule 7.*a gateway's rule or quota"):
        looked_at(LetsSmallOnesThrough)


class Least(Scripted):
    def refuse(self, body: dict[str, Any]) -> Refusal:
        return (400, {"error": "max_tokens must be at least 16"}, {}) if self.output_tokens(body) < 16 else None


class LeastInStream(Scripted):
    """Says so with HTTP 200."""

    def answer(self, body: dict[str, Any]) -> None:
        if self.output_tokens(body) < 16:
            self.send_events([{"error": {"message": "max_tokens must be at least 16"}}])
        else:
            super().answer(body)


def test_a_server_that_takes_no_few_tokens_is_asked_for_more_however_it_refuses() -> None:
    assert looked_at(LeastInStream).largest_request["status"] == "ok"


@pytest.mark.parametrize("kind", [Least, LeastInStream])
def test_fewer_tokens_of_output_than_a_server_takes_are_no_long_request(kind: type[Scripted]) -> None:
    with pytest.raises(BadInput, match=r"8 of output.*must be at least 16.*answered requests of 16 tokens.*--output-tokens 16"):
        looked_at(kind, scenario=with_lengths(SCENARIO, 200, 8))


class NoSystem(Scripted):
    words = "System role not supported"

    def refuse(self, body: dict[str, Any]) -> Refusal:
        if any(message["role"] == "system" for message in body["messages"]):
            return 400, {"error": {"message": self.words}}, {}
        return None


@pytest.mark.parametrize("words", ["System role not supported", "Conversation roles must alternate user/assistant/user/..."])
def test_no_system_role_is_said_with_both_ways_out(words: str) -> None:
    with pytest.raises(BadInput, match=rf"{words[:20]}.*--fold-system.*api: completions"):
        looked_at(type("Refusing", (NoSystem,), {"words": words}))


def test_the_system_text_can_be_folded_into_the_users_message() -> None:
    with served(NoSystem) as (deployment, asked):
        folding = replace(deployment, metrics=(), fold_system=True)
        found = Preflight(folding, 10.0).run(None, [SCENARIO])
    assert found.largest_request["status"] == "ok"
    assert found.largest_request["prompt_tokens"] == pytest.approx(found.largest_request["planned_prompt_tokens"], rel=0.02)
    assert {tuple(message["role"] for message in body["messages"]) for body in asked[1:]} == {("user",)}


class Plain(Scripted):
    content_type = "application/json"

    def answer(self, body: dict[str, Any]) -> None:
        count = self.output_tokens(body)
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi " * count}, "finish_reason": "length"}
        tokens = words_of(body)
        self.send_json(
            {"choices": [choice], "usage": self.usage(len(tokens), count, self.cached_tokens(tokens))},
            Content_Type=self.content_type,
        )


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain"])
def test_one_object_instead_of_a_stream_is_an_answer_without_a_first_token(content_type: str) -> None:
    found = looked_at(type("PlainKind", (Plain,), {"content_type": content_type}))
    assert found.largest_request["status"] == "ok"
    assert any("the server does not stream" in text for text in found.warnings)


class Silent(Scripted):
    """[DONE], and no end of the body: the connection stays open."""

    def end_body(self) -> None:
        pass


class Unfinished(Silent):
    """[DONE], and the connection is closed without the body's end."""

    def end_body(self) -> None:
        self.close_connection = True


class Reasonless(Scripted):
    def delta(self, number: int, count: int) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"content": " w"}, "finish_reason": None}]}


class InSmallPieces(Silent):
    """Its [DONE] comes in pieces of three bytes."""

    def send_events(self, events: list[Any], end: bytes = b"data: [DONE]\n\n") -> None:
        super().send_events([*events, *(end[at : at + 3] for at in range(0, len(end), 3))], b"")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (InSmallPieces, "the end of its body"),
        (Silent, "the end of its body"),
        (Unfinished, "the end of its body"),
        (Reasonless, "a finish_reason"),
    ],
)
def test_an_answer_that_says_done_is_whole(kind: type[Scripted], said: str) -> None:
    found = looked_at(kind)
    assert found.largest_request["status"] == "ok"
    assert any(f"ended with [DONE] and without {said}" in text for text in found.warnings)


@pytest.mark.parametrize(
    "usage",
    [
        lambda cached: {"cached_tokens": cached},
        lambda cached: {"prompt_cache_hit_tokens": cached},
        lambda cached: {"num_cached_tokens": cached, "prompt_tokens_details": None},
        lambda cached: {"cache_read_input_tokens": cached},
        lambda cached: {"prompt_tokens_details": {"cached_tokens": float(cached)}},
    ],
)
def test_cached_tokens_are_found_where_a_server_puts_them(usage: Any) -> None:
    class Own(Scripted):
        def usage(self, prompt: int, output: int, cached: int) -> Any:
            return {"prompt_tokens": prompt, "completion_tokens": output, **usage(cached)}

    assert looked_at(Own).reports_cached_tokens


def test_zero_is_taken_as_left_out_only_after_this_server_has_reported_more() -> None:
    class LeavesZeroOut(Scripted):
        def usage(self, prompt: int, output: int, cached: int) -> Any:
            return {"prompt_tokens": prompt, "completion_tokens": output, **({"cached_tokens": cached} if cached else {})}

    class SaysZeroNowAndThen(LeavesZeroOut):
        def usage(self, prompt: int, output: int, cached: int) -> Any:
            return {"prompt_tokens": prompt, "completion_tokens": output, **({"cached_tokens": 0} if cached else {})}

    assert looked_at(LeavesZeroOut).zero_cached_if_missing
    assert not looked_at(SaysZeroNowAndThen).zero_cached_if_missing


class Remembers(Scripted):
    """Something in front of the model that caches whole responses, with their ids."""

    fixed: str | None = None

    def delta(self, number: int, count: int) -> dict[str, Any]:
        name = self.fixed or f"chatcmpl-{hash(str(self.asked[-1]))}"
        return {"id": name, **super().delta(number, count)}


def test_the_same_id_for_the_same_prompt_is_a_cache_of_responses_and_a_constant_one_is_not() -> None:
    assert any("caches whole responses" in text for text in looked_at(Remembers).warnings)
    constant = type("Constant", (Remembers,), {"fixed": "chatcmpl-0"})
    assert not any("caches whole responses" in text for text in looked_at(constant).warnings)


@pytest.mark.parametrize("said", [0, -5, 1, "many", None])
def test_a_tokenizer_that_counts_nothing_is_not_used(said: Any) -> None:
    class Counts(Scripted):
        def tokenize(self, body: dict[str, Any]) -> None:
            self.send_json({"count": said})

    found = looked_at(Counts)
    assert found.calibration.source == "usage"
    assert any(f"/tokenize counts {said!r}" in text for text in found.warnings) == (said is not None)
    assert any("/tokenize counts 1 tokens in a prompt that the model counts as" in text for text in found.warnings) == (said == 1)


def test_a_tokenizer_that_takes_minutes_for_all_words_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def count_text(text: str) -> int:
        gevent.sleep(600 if text.count(" ") > 1 else 0)
        return 1 + text.count(" ")

    monkeypatch.setattr(calibration, "COUNTING_S", 0.05)
    with pytest.raises(CountsRefused, match=r"counting 232 words took longer than 0\.05 s"):
        calibration.calibrate(lambda _: 100, count_text, "tokenize", [SCENARIO])


@pytest.mark.parametrize("said", [0, -5, 512])
def test_counts_that_no_text_has_are_refused_with_the_reason(said: int) -> None:
    class Counts(Scripted):
        def usage(self, prompt: int, output: int, cached: int) -> Any:
            return {"prompt_tokens": said, "completion_tokens": output}

    found = looked_at(Counts)
    assert found.calibration.source == "assumed"
    assert any("prompt_tokens are refused" in text and str(said) in text for text in found.warnings)


def test_prompt_sizes_are_calibrated_though_the_output_is_counted_wrongly() -> None:
    class Counts(Scripted):
        def usage(self, prompt: int, output: int, cached: int) -> Any:
            return {"prompt_tokens": prompt, "completion_tokens": 0}

    found = looked_at(Counts)
    assert found.calibration.source == "usage"
    assert any("rejected: completion_tokens is 0" in text for text in found.warnings)


def test_a_redirect_to_another_server_is_named_and_not_followed() -> None:
    class Redirects(Scripted):
        def list_models(self) -> None:
            self.send_json(b"", 302, Location="https://127.0.0.1:1/login")

    with pytest.raises(BadInput, match=r"redirects to https://127\.0\.0\.1:1/login"):
        looked_at(Redirects)


class HoldsTheBeginning(Scripted):
    """Something on the way sends the first six chunks together, and the others one by one."""

    def send_events(self, events: list[Any], end: bytes = b"data: [DONE]\n\n") -> None:
        first = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events[:6])
        super().send_events([first, *events[6:]], end)

    def send_chunk(self, data: bytes) -> None:
        super().send_chunk(data)
        time.sleep(0.01)


def test_a_first_output_that_was_kept_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LagMonitor, "worst_since_ms", lambda *_: 0.0)  # a busy machine's own delay would excuse it
    assert any("the first output came together with the next chunks" in text for text in looked_at(HoldsTheBeginning).warnings)


@pytest.mark.parametrize(
    ("stamps_ms", "held_ms"),
    [
        ([0, 0, 0, 0, 0, 10, 20, 30, 40], 50.0),
        ([0, 0, 0, 10, 20, 30, 40], None),  # three together are none
        ([0, 10, 20, 30, 40], None),
        ([0, 0, 0, 0, 0, 1, 2, 3, 4], None),  # fast servers write in bursts
        ([0, 0, 0, 0, 0, 10, 20], None),
        ([], None),
    ],
)
def test_how_long_a_first_output_was_kept_back(stamps_ms: list[float], held_ms: float | None) -> None:
    assert held_back_ms([1 + stamp / 1000 for stamp in stamps_ms]) == (None if held_ms is None else pytest.approx(held_ms))


def test_an_answer_that_ends_by_itself_is_named_without_usage_too() -> None:
    class Ends(Scripted):
        def output_tokens(self, body: dict[str, Any]) -> int:
            return min(6, super().output_tokens(body))

        def delta(self, number: int, count: int) -> dict[str, Any]:
            finish = "stop" if number == count - 1 else None
            return {"choices": [{"index": 0, "delta": {"content": " w"}, "finish_reason": finish}]}

        def usage(self, prompt: int, output: int, cached: int) -> Any:
            return None

    assert any("6 chunks ended by itself (finish_reason 'stop') where 16 tokens" in text for text in looked_at(Ends).warnings)


def test_a_certificate_that_is_not_trusted_is_said_in_a_line_with_the_way_out() -> None:
    def get(_: str) -> requests.Response:
        reason = "(SSLCertVerificationError(1, '[SSL: X] certificate verify failed: self-signed certificate (_ssl.c:1006)')"
        raise requests.exceptions.SSLError(f"HTTPSConnectionPool(host='h', port=1): Max retries exceeded {reason}")

    with pytest.raises(BadInput, match=r"^the certificate of https://h is not trusted: self-signed certificate\. Name .*ca_file"):
        ask_models(get, "https://h")


@pytest.mark.parametrize(
    ("host", "why"), [("127.0.0.1", "Connection refused"), ("no-such-host.invalid", "Name or service not known|name res")]
)
def test_why_a_server_cannot_be_reached_and_the_proxy_that_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, host: str, why: str
) -> None:
    url = f"http://{host}:{free_port()}"
    access = Access(Transport(), "NO_KEY")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInput, match=rf"cannot be reached \(.*({why}).*\)\. Is the server up\?") as caught:
        ask_models(lambda path: ask_page(access, "GET", url + path), url)
    assert "http_proxy" not in str(caught.value)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    with pytest.raises(BadInput, match=r"takes no proxy from the environment .*: name it in the deployment file \(proxy: URL\)"):
        ask_models(lambda path: ask_page(access, "GET", url + path), url)
    monkeypatch.setenv("no_proxy", host)
    with pytest.raises(BadInput) as caught:
        ask_models(lambda path: ask_page(access, "GET", url + path), url)
    assert "http_proxy" not in str(caught.value)


def test_the_address_that_was_asked_stands_in_the_message_and_its_query_does_not() -> None:
    with served(NoList) as (deployment, _):
        behind = replace(deployment, transport=Transport(api_path="/openai/v1", query="key=s3cret"))
        with pytest.raises(BadInput, match=r"which model\? http://[^/]*/openai/v1/models answered HTTP 404") as error:
            Preflight(behind, 10.0).run(None, [SCENARIO])
    assert "s3cret" not in str(error.value)
