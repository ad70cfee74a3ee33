"""Reads logs of agents: OpenTelemetry's spans of model calls (GenAI conventions), and OpenAI requests with their times.

Times and tokens come from the log; what prompts share comes from their text, where the log has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.traces.formats import OPENAI, OTEL, built_like
from locust_kvcache.workload.traces.recorded import Recorded
from locust_kvcache.workload.traces.text_blocks import text_blocks, texts_of
from locust_kvcache.workload.traces.timing import in_seconds
from locust_kvcache.workload.traces.values import date_value, is_date, length_value, time_value

INPUTS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")  # by today's conventions, and by those of before
OUTPUTS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
ANSWERS, ASKED = ("gen_ai.output.messages", "gen_ai.output.text"), "gen_ai.request.max_tokens"
PROMPT = ("gen_ai.system_instructions", "gen_ai.input.messages")
CALLS = ("chat", "text_completion", "generate_content")
BEGIN_KEYS = ("start_time", "timestamp", "created_at", "created")
END_KEYS = ("end_time", "ended_at")
SESSION_KEYS = ("session_id", "conversation_id", "thread_id")


def spans_of(value: Any) -> Iterator[dict[str, Any]]:
    """The spans of one entry: an OTLP export, a trace with its `spans`, or one span of a console or file exporter."""
    if not isinstance(value, dict) or not ("resourceSpans" in value or "spans" in value):
        yield value
        return
    if not isinstance(value.get("spans") or [], list):
        raise ValueError(f"key 'spans' is {str(value['spans'])[:60]!r}; expected a list of spans")
    for span in value.get("spans") or ():  # a span that names no trace is of the trace that holds it
        yield {"trace_id": value["trace_id"], **span} if isinstance(span, dict) and value.get("trace_id") else span
    for resource in value.get("resourceSpans") or ():
        for scope in resource.get("scopeSpans") or ():
            yield from scope.get("spans") or ()


def _attributes(span: dict[str, Any]) -> dict[str, Any]:
    """As OTLP writes them ([{key, value: {stringValue}}]) or as a mapping."""
    given = span.get("attributes") or {}
    if isinstance(given, dict):
        return given
    return {str(one.get("key")): _plain(one.get("value") or {}) for one in given}


def _plain(value: dict[str, Any]) -> Any:
    for key, found in value.items():
        if key == "arrayValue":
            return [_plain(one) for one in found.get("values") or ()]
        if key == "kvlistValue":
            return {str(one.get("key")): _plain(one.get("value") or {}) for one in found.get("values") or ()}
        return int(found) if key == "intValue" else found
    return None


def span_request(span: Any, where: str, block_size: int) -> Recorded | None:
    """None for a span that is no call of a model."""
    if not isinstance(span, dict):
        raise BadInput(f"{where} is {str(span)[:60]!r}; expected a span, or an object with resourceSpans")
    found = _attributes(span)
    texts = _message_texts(found, PROMPT)
    asked = next((key for key in INPUTS if found.get(key) is not None), "")
    if (not asked and not texts) or (found.get("gen_ai.operation.name") or CALLS[0]) not in CALLS:
        return None
    context = span.get("context") if isinstance(span.get("context"), dict) else {}
    trace = span.get("traceId") or span.get("trace_id") or (context or {}).get("trace_id")
    session = found.get("gen_ai.conversation.id") or trace
    tokens, blocks = text_blocks(texts, block_size) if texts else (length_value(found[asked], asked, where, 1), None)
    output = max(1, _answer_tokens(found, where))
    return Recorded(str(session), _span_time(span, "start", where), _span_time(span, "end", where), tokens, output, blocks)


def _answer_tokens(found: dict[str, Any], where: str) -> int:
    """As the service counted them; else estimated from the answer's text; else what was asked for at most."""
    told = next((key for key in OUTPUTS if found.get(key) is not None), None)
    if told is None and (said := _message_texts(found, ANSWERS)):
        return text_blocks(said, 1)[0]
    key = told or (ASKED if found.get(ASKED) is not None else OUTPUTS[0])
    return length_value(found.get(key), key, where, 0)


def _span_time(span: dict[str, Any], which: str, where: str) -> float:
    nanoseconds = span.get(f"{which}TimeUnixNano")
    if nanoseconds is not None:
        return time_value(float(nanoseconds) / 1e9, f"{which}TimeUnixNano", where)
    return _time(span.get(f"{which}_time"), f"{which}_time", where)


def _time(value: Any, key: str, where: str) -> float:
    return date_value(value, key, where) if is_date(value) else in_seconds(time_value(value, key, where))


def _message_texts(found: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    """Instructions and messages, in the order of the prompt; images and other parts without text are left out."""
    texts = []
    for key in keys:
        given = found.get(key)
        try:
            listed = json.loads(given) if isinstance(given, str) else given
        except ValueError:
            listed = [{"role": "user", "content": given}]
        for one in listed if isinstance(listed, list) else ():
            parts = one.get("parts") or [one] if isinstance(one, dict) else ()
            said = [
                str(part.get("content") or part.get("text") or part.get("response") or "")
                for part in parts
                if isinstance(part, dict)
            ]
            texts.append(f"{one.get('role', 'system')}\n" + "\n".join(said) + "\n" if isinstance(one, dict) else "")
    return [text for text in texts if text]


def logged_request(row: Any, where: str, block_size: int) -> Recorded:
    """An OpenAI request (`messages`, or a `request` or `body` with them) with its time, and where known its end and session."""
    if not isinstance(row, dict):
        raise BadInput(f"{where} is {str(row)[:60]!r}; expected an object with messages, a time, and usage")
    asked = next((row[key] for key in ("request", "body") if isinstance(row.get(key), dict)), row)
    texts = texts_of(asked, where)
    if not texts:
        raise BadInput(f"{where}: key 'messages' is missing; expected a list of messages")
    begin = next((key for key in BEGIN_KEYS if row.get(key) is not None), BEGIN_KEYS[0])
    end = next((key for key in END_KEYS if row.get(key) is not None), None)
    answered = row.get("response") if isinstance(row.get("response"), dict) else row
    usage = (answered or {}).get("usage") or row.get("usage") or {}
    output = row.get("output_length", usage.get("completion_tokens", asked.get("max_completion_tokens", asked.get("max_tokens"))))
    tokens, blocks = text_blocks(texts, block_size)
    return Recorded(
        str(next((row[key] for key in SESSION_KEYS if row.get(key) is not None), where)),
        _time(row.get(begin), begin, where),
        None if end is None else _time(row[end], end, where),
        tokens,
        max(1, length_value(output, "usage.completion_tokens", where, 0)),
        blocks,
    )


def log_requests(entries: Iterable[tuple[Any, str]], spans: bool, block_size: int) -> tuple[list[Recorded], int]:
    """(the requests, how many spans are none)."""
    found = list[Recorded | None]()
    for value, where in entries:
        with built_like(OTEL if spans else OPENAI, where):
            if spans:
                found += [span_request(span, where, block_size) for span in spans_of(value)]
            else:
                found.append(logged_request(value, where, block_size))
    requests = [one for one in found if one is not None]
    return requests, len(found) - len(requests)
