"""Sends one request of the largest planned size before any load, with its own nonce, and compares the answer with the plan.

Scenarios and a Probe come in, facts and warnings go out: a server that cuts prompts, counts otherwise, ends answers early, or a proxy
that buffers, is named before hours are spent on it. BadInput where the server refuses such a request.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gevent

from locust_kvcache.contract.clumps import CLUMP_CHUNKS, TOGETHER_MS, was_buffered
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.quantile import quantile
from locust_kvcache.contract.stream_times import stream_timing
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.protocol.run_config import body_parameters, pause
from locust_kvcache.loadgen.server.accepted_parameters import refused_in_stream
from locust_kvcache.loadgen.server.patience import patiently
from locust_kvcache.loadgen.server.probe import Probe
from locust_kvcache.loadgen.worker.loop_lag import INTERVAL_S, LagMonitor
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan, Session, Turn
from locust_kvcache.workload.spec import Scenario

MOST_OUTPUT_TOKENS = 16  # enough to see an answer that ends early
TOLERANCE = 0.05  # of the planned prompt tokens
LEAST_TOKENS_OFF = 32
LEAST_GAP_MS = 2.0  # between the later chunks: servers that are faster write in bursts themselves
ENDED_ITSELF = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
NOT_REFUSED = (408, 425, 429)  # of 400 to 499: these may pass


@dataclass(frozen=True)
class Sized:
    """The largest planned request of all scenarios, as it was sent and answered."""

    scenario: Scenario
    turn: Turn
    outcome: StreamOutcome
    whole: StreamOutcome | None = None  # the same with all output that is planned, stopped as soon as it was begun
    loop_lag_ms: float | None = None  # worst delay of this process meanwhile: it makes clumps too

    @property
    def facts(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "scenario": self.scenario.name,
            "status": self.outcome.status,
            "planned_prompt_tokens": self.turn.prompt_tokens,
            "prompt_tokens": self.outcome.reader.prompt_tokens,
            "planned_output_tokens": self.turn.output_tokens,
            "output_tokens": self.outcome.reader.output_tokens,
        }


def ask_largest(probe: Probe, scenarios: Iterable[Scenario], calibration: Calibration, seed: int = 1) -> Sized:
    """Send the largest request that any of the scenarios plans, with at most MOST_OUTPUT_TOKENS of output."""
    nonce = secrets.token_hex(4)
    most_output = max(MOST_OUTPUT_TOKENS, probe.least_tokens)
    found: list[tuple[Turn, Session, PreparedRequests]] = []
    for scenario in scenarios:
        plan = make_plan(scenario, calibration, nonce, seed, pause)
        parameters = body_parameters(probe.parameters, scenario)
        prepared = PreparedRequests(plan, probe.target, probe.model, probe.api_key, parameters, fold_system=probe.fold_system)
        turn, session = largest_turn(plan)
        found.append((turn, session, prepared))
    planned, session, prepared = max(found, key=lambda entry: entry[0].prompt_tokens)
    output = prepared.plan.output_tokens(planned)
    turn = replace(planned, output_tokens=min(output, most_output))
    prepared.prepare(session)
    request, whole = prepared.request(session, turn), prepared.request(session, planned)
    assert request is not None, "a first turn, or one whose earlier answers are planned"
    assert whole is not None
    lag = LagMonitor()
    lag.start()
    outcome = patiently(lambda: probe.send(request, turn.output_tokens))
    gevent.sleep(2 * INTERVAL_S)  # the monitor looks once more
    lag.stop()
    begun = probe.begin(whole, output) if outcome.status == "ok" and output > most_output else None
    return Sized(prepared.plan.scenario, turn, outcome, begun, lag.worst_since_ms(outcome.response.sent_at_s))


def largest_turn(plan: Plan, sendable: bool = True) -> tuple[Turn, Session]:
    """The longest prompt. `sendable`: that can be made now; a later turn carries the server's own answers in some scenarios, and none was
    given yet."""
    most, place = 0, (0, 0)
    for session, prompts in enumerate(plan.prompts()):
        usable = prompts[:1] if sendable and plan.scenario_of(session).reply == "server" else prompts
        if (longest := max(usable)) > most:
            most, place = longest, (session, usable.index(longest))
    found = plan.sessions[place[0]]
    return found.turns[place[1]], found


def check_context(
    model: str, context_tokens: dict[str, int], scenarios: Iterable[Scenario], calibration: Calibration, seed: int = 1
) -> None:
    """BadInput where a planned request and its answer are longer than the context that /v1/models tells of."""
    most = context_tokens.get(model)
    if most is None:
        return
    for scenario in scenarios:
        plan = make_plan(scenario, calibration, "", seed, pause)
        turn, _ = largest_turn(plan, sendable=False)
        planned, output = turn.prompt_tokens, plan.output_tokens(turn)
        if planned + output > most * (1 + (TOLERANCE if turn.estimated else 0.0)):
            raise BadInput(
                f"scenario {scenario.name} plans a request of {planned:,} prompt tokens and {output:,} of output, and {model} takes "
                f"{most:,} together (/v1/models). Plan shorter ones (--prompt-tokens, --output-tokens), or raise the server's limit "
                "(vLLM: --max-model-len)"
            )


TOO_LONG = (
    "Plan shorter ones (--prompt-tokens, --output-tokens), or raise the server's (vLLM: --max-model-len) or the proxy's limit (nginx: "
    "client_max_body_size)"
)


def check_refused(sized: Sized, endpoint: str, least_tokens: int = 1) -> None:
    """BadInput where such a request is not possible at all. `least_tokens`: of output that the server answered before."""
    for outcome in filter(None, (sized.outcome, sized.whole)):
        if not _is_refused(outcome, least_tokens):
            continue
        raise BadInput(
            f"{endpoint} refuses the largest request of scenario {sized.scenario.name} ({sized.turn.prompt_tokens:,} prompt tokens, "
            f"{outcome.asked_tokens:,} of output): {(outcome.error or '').rstrip('.')}. {_way_out(outcome, least_tokens)}"
        )


def _is_refused(outcome: StreamOutcome, least_tokens: int) -> bool:
    """By the HTTP status, or by an error in the stream that can mean nothing else."""
    status = outcome.response.http_status or 0
    if status in NOT_REFUSED:
        return False
    return 400 <= status < 500 or outcome.too_long or (_asks_too_few(outcome, least_tokens) and refused_in_stream(outcome))


def _asks_too_few(outcome: StreamOutcome, least_tokens: int) -> bool:
    return outcome.asked_tokens is not None and outcome.asked_tokens < least_tokens


def _way_out(outcome: StreamOutcome, least_tokens: int) -> str:
    if outcome.response.http_status in (401, 403):
        return "It let smaller requests through just before: has the key expired, or does a gateway's rule or quota refuse long ones?"
    if _asks_too_few(outcome, least_tokens):
        return f"It answered requests of {least_tokens} tokens of output: --output-tokens {least_tokens}, or more"
    return TOO_LONG


def sized_warnings(sized: Sized, calibrated: bool, again: Callable[[], Sized]) -> list[str]:
    """What is wrong with the answer, with figures.

    `calibrated`: the planned size was made from the server's own counts. `again` sends another request of that size: chunks in clumps
    are a proxy's doing only if they come so twice, as a busy machine makes them once in a while.
    """
    outcome, reader, turn = sized.outcome, sized.outcome.reader, sized.turn
    what = f"a request of the largest planned size ({turn.prompt_tokens:,} prompt tokens, scenario {sized.scenario.name})"
    if outcome.status != "ok":
        return [f"{what} failed: {outcome.status}: {outcome.error}"]
    found = []
    if reader.counts.rejected:
        found.append(f"the server reports token counts that cannot be true and are rejected: {reader.counts.rejected}")
    counted, planned = reader.prompt_tokens, turn.prompt_tokens
    off = counted is not None and abs(counted - planned) > max(TOLERANCE * planned, LEAST_TOKENS_OFF)
    if calibrated and not turn.estimated and counted is not None and off:
        found.append(
            f"{what} was counted by the server as {counted:,} tokens: it cuts prompts (context length? Ollama: num_ctx), or counts "
            "otherwise than when it was asked for sizes"
        )
    asked, came = turn.output_tokens, reader.output_tokens
    if came is None and asked is not None and len(reader.log) < asked and reader.finish_reason in ENDED_ITSELF:
        found.append(
            f"an answer of {len(reader.log)} chunks ended by itself (finish_reason {reader.finish_reason!r}) where {asked} tokens were "
            "requested: the server ignores ignore_eos, so answers may be of unequal length"
        )
    if asked is not None and came is not None and came != asked:
        found.append(
            f"an answer has {came} tokens where {asked} were requested: the server ignores ignore_eos or max_tokens, so answers may be of "
            "unequal length, and rounds then not comparable on E2E latency and throughput"
        )
    return found + _stream_warnings(sized, again)


def _buffered(sized: Sized) -> bool:
    outcome = sized.outcome
    timing = stream_timing(outcome.response.sent_at_s, None, None, outcome.chunks, outcome.reader.output_tokens)
    return was_buffered(timing.clump_gap_ms, sized.loop_lag_ms)


def held_back_ms(stamps_s: Sequence[float]) -> float | None:
    """How long a first output seems to have waited on its way: the chunks that came with it, times the usual gap of those that followed.

    None where it came alone, or with fewer than CLUMP_CHUNKS, or where too few followed.
    """
    gaps_ms = [(after - before) * 1000 for before, after in itertools.pairwise(stamps_s)]
    together = next((number for number, gap_ms in enumerate(gaps_ms) if gap_ms > TOGETHER_MS), len(gaps_ms)) + 1
    later = gaps_ms[together - 1 :]
    if together < CLUMP_CHUNKS or len(later) < CLUMP_CHUNKS:
        return None
    gap_ms = quantile(later, 0.5)
    return together * gap_ms if gap_ms >= LEAST_GAP_MS else None


def _held_back_ms(sized: Sized) -> float | None:
    """As held_back_ms; None where this process's own delay may have done it."""
    held_ms = held_back_ms([chunk.received_at_s for chunk in sized.outcome.chunks])
    return held_ms if held_ms is not None and (sized.loop_lag_ms or 0.0) < held_ms / 4 else None


def _stream_warnings(sized: Sized, again: Callable[[], Sized]) -> list[str]:
    outcome, reader = sized.outcome, sized.outcome.reader
    found = []
    if outcome.end_missing:
        found.append(
            "an answer ended with [DONE] and without "
            + ("the end of its body" if outcome.response.end_missing else "a finish_reason")
            + ": it counts as whole"
        )
    if outcome.not_streamed:
        found.append(
            "the server does not stream: it answered `stream: true` with one JSON object, so that TTFT is the time of the whole answer, "
            "and TPOT and ITL are missing"
        )
    elif _buffered(sized) and _buffered(again()):
        found.append(
            "an answer came all at once or in batches: buffered by a proxy (nginx: proxy_buffering off), or not streamed; TTFT "
            "then includes the decode time, and TPOT and ITL are missing"
        )
    elif (held_ms := _held_back_ms(sized)) and _held_back_ms(again()):
        found.append(
            f"the first output came together with the next chunks: something on the way (a proxy's buffer?) kept it back for about "
            f"{held_ms:.0f} ms, and TTFT is that much too long"
        )
    if reader.unknown_field:
        found.append(
            f"answers have output in the unknown field {reader.unknown_field!r}; it counts as output that is not visible"
        )
    return found
