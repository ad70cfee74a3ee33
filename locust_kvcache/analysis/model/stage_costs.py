"""Computes the cost of a request in each stage from measured points, at the wanted prompt, output and hit rate; refuses to extrapolate.

prefill: busy time S = 1 / throughput at the highest concurrency, delay L = TTFT alone - S (docs/ratio.md). Between lengths a straight
line over the computed tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from locust_kvcache.analysis.basics.number_text import whole
from locust_kvcache.analysis.model.stage_points import FEW_TOKENS, SAME_LENGTH, Point, by_length
from locust_kvcache.analysis.model.tandem import Costs
from locust_kvcache.analysis.stats.intervals import Floats
from locust_kvcache.contract.errors import BadInput

SAME_BATCH = 0.03
FEW_COMPUTED = 512.0  # tokens of a prompt, below which a prefill is mostly overhead that several share
SHORT_OUTPUT = 8.0
STEP_TOKENS = 8192  # vLLM's default for its server on large GPUs
OTHER_CONTEXT = 0.25  # of the tokens in a request's context, beyond which a decode point is of another context
Resample = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Measured:
    """`pair`: runs on one prefiller and one decoder, hand-off included. `hand_off_s` is what the user says of it."""

    prefill: tuple[Point, ...] = ()
    decode: tuple[Point, ...] = ()
    pair: tuple[Point, ...] = ()
    hand_off_s: float | None = None
    step_tokens: int = STEP_TOKENS  # max_num_batched_tokens of the prefillers

    @property
    def prefill_points(self) -> tuple[Point, ...]:
        return self.prefill or self.pair

    @property
    def decode_points(self) -> tuple[Point, ...]:
        """Of each run the round that computes least: prefills of other requests lengthen the steps of a server that does both."""
        if not self.decode:
            return self.pair
        least = {(p.run, p.scenario): p for p in sorted(self.decode, key=lambda p: -p.computed_tokens)}
        return tuple(p for p in least.values() if len(p.tpot_s))


@dataclass(frozen=True)
class Mix:
    """What a request is: `hit_rate` is the share of each prompt that the prefiller finds in its cache."""

    prompt_tokens: int
    output_tokens: int
    hit_rate: float = 0.0

    @property
    def computed_tokens(self) -> float:
        return self.prompt_tokens * (1 - self.hit_rate)


def same(values: Floats) -> Floats:
    return values


def decode_curve(points: Sequence[Point], resample: Resample = same) -> tuple[Floats, Floats]:
    """(batch sizes, seconds per token), each batch size once."""
    pairs = []
    for point in points:
        if len(point.tpot_s):
            chosen = resample(np.arange(len(point.tpot_s), dtype=np.float64)).astype(int)
            pairs.append((float(point.decoding[chosen].mean()), float(point.tpot_s[chosen].mean())))
    groups: list[list[tuple[float, float]]] = []
    for pair in sorted(pairs):
        near = groups and pair[0] <= groups[-1][0][0] * (1 + SAME_BATCH)
        groups[-1].append(pair) if near else groups.append([pair])
    means = np.array([np.mean(group, axis=0) for group in groups])
    return means[:, 0], means[:, 1]


def most_at_once(points: Sequence[Point]) -> float:
    """A request's mean over its whole answer, rounded up: in a run of 8 users up to 8 decode at once, and on average fewer."""
    return float(np.ceil(max(point.decoding.max() for point in points if len(point.decoding))))


def _of_length(group: Sequence[Point], first_token_s: float, resample: Resample) -> tuple[float, float]:
    """(S, L) of the points of one length, the quietest first; `first_token_s`: of a decoder, where one stands behind the prefiller."""
    quiet, busy = group[0], group[-1]
    busy_s = float(resample(busy.prefill_share_s).mean()) - first_token_s * (quiet is busy)
    if quiet.alone and quiet.counted_prefill_s is not None:  # of several prompts at once each counts the steps of all
        busy_s = min(busy_s, quiet.counted_prefill_s)
    if not quiet.alone:
        return busy_s, 0.0
    return busy_s, max(0.0, float(resample(quiet.ttft_s).mean()) - first_token_s - busy_s)


def prefill_costs(measured: Measured, mix: Mix, token_alone_s: float, resample: Resample = same) -> tuple[float, float]:
    """(S, L) at the mix's computed tokens; BadInput where no point is near."""
    groups = by_length(measured.prefill_points)
    first_token_s = 0.0 if measured.prefill else token_alone_s
    lengths = np.array([np.mean([point.computed_tokens for point in group]) for group in groups])
    check_length(lengths, mix)
    costs = np.array([_of_length(group, first_token_s, resample) for group in groups])
    return float(np.interp(mix.computed_tokens, lengths, costs[:, 0])), float(
        np.interp(mix.computed_tokens, lengths, costs[:, 1])
    )


def check_length(lengths: Floats, mix: Mix) -> None:
    wanted, low, high = mix.computed_tokens, lengths.min(), lengths.max()
    if low - max(FEW_TOKENS, SAME_LENGTH * low) <= wanted <= high + max(FEW_TOKENS, SAME_LENGTH * high):
        return
    raise BadInput(
        f"--prompt-tokens {mix.prompt_tokens} with --hit-rate {mix.hit_rate:g} leaves {whole(wanted)} tokens to compute; the prefill runs "
        f"measured {whole(low)} to {whole(high)}: add a --prefill run of such prompts, or ask for a mix between"
    )


def hand_off_s(measured: Measured, token_alone_s: float) -> float:
    """As given; else what a pair alone takes beyond the prefill and one token; 0 where it is part of the delay, or unknown."""
    if measured.hand_off_s is not None:
        return measured.hand_off_s
    if not (measured.prefill and measured.pair):
        return 0.0
    quiet = min(measured.pair, key=lambda point: point.in_flight)
    mix = Mix(round(quiet.computed_tokens), 1)
    return max(0.0, float(quiet.ttft_s.mean()) - sum(prefill_costs(measured, mix, token_alone_s)) - token_alone_s)


def spread_of(points: Sequence[Point]) -> Floats:
    """TTFTs of requests that were alone, over their mean: how much the prefill varies from one to the next. [1] where none was alone."""
    alone = [point for point in points if point.alone and len(point.ttft_s) > 1]
    quiet = max(alone, key=lambda point: point.computed_tokens, default=None)
    return np.ones(1) if quiet is None else quiet.ttft_s / quiet.ttft_s.mean()


def costs_of(measured: Measured, mix: Mix, resample: Resample = same) -> Costs:
    batch, token_s = decode_curve(measured.decode_points, resample)
    alone_s = float(np.interp(1.0, batch, token_s))
    busy_s, delay_s = prefill_costs(measured, mix, alone_s, resample)
    spread = resample(spread_of(measured.prefill_points))
    return Costs(
        prefill_s=busy_s * spread / spread.mean(),
        delay_s=delay_s + hand_off_s(measured, alone_s),
        batch=batch,
        token_s=token_s,
        output_tokens=mix.output_tokens,
        most=most_at_once(measured.decode_points),
        step_prompts=measured.step_tokens / max(1.0, mix.computed_tokens),
    )


def _tells_few(point: Point, mix: Mix) -> bool:
    """Whether it shows what prompts with few tokens to compute cost a prefiller that does several at once."""
    near = abs(point.computed_tokens - mix.computed_tokens) <= max(FEW_TOKENS, SAME_LENGTH * mix.computed_tokens)
    return near and not point.alone and point.output_tokens <= SHORT_OUTPUT


def limits_of(measured: Measured, mix: Mix) -> list[str]:
    """What the points leave open at this mix, in sentences."""
    said = []
    prefill, decode = measured.prefill_points, measured.decode_points
    if measured.prefill and measured.hand_off_s is None and not measured.pair:
        said.append("The KV transfer was not measured and counts as 0: give --hand-off-ms, or a --pd run of one user.")
    if not any(point.alone for point in prefill):
        said.append("No prefill run had one user: the time outside the prefill (front end, proxy) counts as 0.")
    if all(point.alone for point in prefill) and not any(point.counted_prefill_s for point in prefill):
        said.append(
            "No prefill run had more than one user: the whole TTFT counts as work of the prefiller, so the prediction may be "
            "too slow."
        )
    if (longest := max((p.output_tokens for p in measured.prefill), default=0)) > FEW_TOKENS:
        said.append(
            f"The prefill runs have outputs of {whole(longest)} tokens: decode steps slow their prefills. Use 1 to 8 tokens."
        )
    if any(point.computed_tokens > FEW_TOKENS + 0.25 * point.prompt_tokens for point in measured.decode):
        worst = [p for p in decode if p.computed_tokens > FEW_TOKENS + 0.25 * p.prompt_tokens]
        if worst and measured.decode:
            said.append(f"{worst[0].name} decodes beside cold prefills: a decoder's tokens come faster. Use a round that hits.")
    if mix.computed_tokens <= FEW_COMPUTED and not any(_tells_few(point, mix) for point in measured.prefill):
        said.append(
            f"No --prefill run of several users and 1 to 8 output tokens computed about {whole(mix.computed_tokens)} tokens: such "
            "prompts are treated as if they came one by one, so the prediction may be too slow."
        )
    context = mix.prompt_tokens + mix.output_tokens / 2
    contexts = [point.prompt_tokens + point.output_tokens / 2 for point in decode]
    if not (1 - OTHER_CONTEXT) * min(contexts) <= context <= (1 + OTHER_CONTEXT) * max(contexts):
        said.append(
            f"The decode points have {whole(min(contexts))} to {whole(max(contexts))} tokens of context, this mix has {whole(context)}: "
            "tokens take longer with more context."
        )
    return said
