"""Makes the tables of a prediction of splits: the predictions, their inputs, and the comparison with measurements."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.analysis.basics.number_text import DASH, number, percent, whole
from locust_kvcache.analysis.model.ratio import Estimate, Prediction
from locust_kvcache.analysis.model.ratio_check import Check
from locust_kvcache.analysis.model.stage_points import Point
from locust_kvcache.analysis.tables.table import Table

NAMES = {
    "requests_per_s": "requests/s",
    "ttft_ms": "mean TTFT, ms",
    "ttft_p90_ms": "TTFT P90, ms",
    "tpot_ms": "mean TPOT, ms",
    "e2e_ms": "mean E2E latency, ms",
}
RULE = "played with the measured points; 95 % intervals over resampled requests and arrivals"
CHECK_RULE = "measured: mean of the runs; predicted / measured; inside: the measured mean lies within the interval"


def estimate_text(found: Estimate | None) -> str:
    """2.97 [2.73, 3.12]."""
    if found is None:
        return DASH
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def prediction_table(predictions: Sequence[Prediction], best: Prediction | None) -> Table:
    """The short answer: one row per split and alternative."""
    shown = ("requests_per_s", "ttft_ms", "ttft_p90_ms", "tpot_ms")
    rows = tuple(
        (
            f"{one.name} (best)" if one is best else one.name,
            str(one.gpus),
            *(estimate_text(one.figures.get(name)) for name in shown),
            one.why_not or _bound(one),
        )
        for one in predictions
    )
    header = ("", "GPUs", *(NAMES[name] for name in shown), "bound by")
    return Table("Predicted, split by split", header, rows, RULE, texts=(len(header) - 1,))


def _bound(one: Prediction) -> str:
    if one.prefill_per_s is None or one.decode_per_s is None or one.prefill_busy is None:
        return ""
    if one.prefill_busy > 0.9:
        return "prefill"
    return "decode" if one.decode_per_s < one.prefill_per_s else "neither: more load would be served"


def stage_table(predictions: Sequence[Prediction]) -> Table:
    """What each stage could give alone, and how busy it is."""
    rows = tuple(
        (one.name, number(one.prefill_per_s), number(one.decode_per_s), percent(one.prefill_busy), number(one.batch_mean),
         estimate_text(one.figures.get("e2e_ms")))
        for one in predictions if one.split
    )  # fmt: skip
    header = ("", "prefill stage alone, requests/s", "decode stage alone, requests/s", "prefillers busy", "requests in a decoder",
              NAMES["e2e_ms"])  # fmt: skip
    return Table(
        "What each stage gives alone",
        header,
        rows,
        "a stage alone: prefillers / S, and decoders x max over measured batches k of k / (tokens x T(k))",
    )


def point_table(points: Sequence[tuple[str, Point]]) -> Table:
    """(what for, point)."""
    rows = tuple(
        (point.name, use, number(point.in_flight), whole(point.prompt_tokens), whole(point.computed_tokens), whole(point.output_tokens),
         number(point.requests_per_s), number(1000 * float(point.ttft_s.mean())), number(1000 * float(point.prefill_share_s.mean())),
         number(float(point.decoding.mean())) if len(point.decoding) else DASH,
         number(1000 * float(point.tpot_s.mean())) if len(point.tpot_s) else DASH)
        for use, point in points
    )  # fmt: skip
    header = ("", "used for", "requests at once", "prompt tokens", "computed tokens", "output tokens", "requests/s", "TTFT, ms",
              "prefill busy, ms a request", "decoding at once", "TPOT, ms")  # fmt: skip
    return Table("By run and round", header, rows, "means over the successful requests of a round", texts=(1,))


def check_table(found: Sequence[Check]) -> Table:
    rows = tuple(
        (f"{one.name}: {NAMES[one.figure]}", estimate_text(one.predicted), _runs_text(one), percent(one.off, signed=True),
         {True: "yes", False: "no", None: DASH}[one.inside])
        for one in found
    )  # fmt: skip
    return Table(
        "Predicted against measured",
        ("", "predicted [interval]", "measured (runs)", "off by", "in the interval"),
        rows,
        CHECK_RULE,
    )


def _runs_text(one: Check) -> str:
    if len(one.measured) == 1:
        return number(one.measured[0])
    return f"{number(one.mean)} ({number(min(one.measured))} to {number(max(one.measured))}, {len(one.measured)} runs)"
