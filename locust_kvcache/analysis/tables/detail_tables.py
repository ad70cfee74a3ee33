"""Makes the tables about the cache, the TTFT model, the servers and steadiness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from locust_kvcache.analysis.basics.metrics import metric_name, statistic_name
from locust_kvcache.analysis.basics.number_text import DASH, change, number, percent, signed_percent, whole
from locust_kvcache.analysis.cache.lost_tokens import CAUSES, MEANING
from locust_kvcache.analysis.stats.other_tools import TOOLS
from locust_kvcache.analysis.tables.run_tables import comparison_names, split_rule
from locust_kvcache.analysis.tables.table import Stats, Table, find, no_intervals
from locust_kvcache.contract.failure_words import SAID_BY_SERVERS
from locust_kvcache.contract.language import told

CACHE_RULE = "by round; tokens of successful requests that have both figures"
PARAMETERS = {
    "fixed_ms": "fixed cost",
    "prefill_tokens_per_s": "prefill rate at the reference length",
    "load_tokens_per_s": "KV load rate",
    "load_gb_per_s": "KV load rate, by the model's KV bytes per token",
    "break_even_gb_per_s": "load rate below which computing is faster",
    "break_even_prefix_tokens": "cached prefix beyond which loading beats computing",
    "attention_ms_per_million_token2": "attention, per million token pairs",
    "full_hit_reduction": "TTFT reduction if all of the prompt but one token is cached",
    "ceiling_reduction": "the same if loading took no time: the ceiling",
}


def cache_table(stats: Stats, scenario: str) -> Table:
    """Where the tokens that could have been cached went: served, or lost to a cause."""
    rounds = find(stats["cache"], scenario=scenario)
    lines: list[tuple[str, list[str]]] = [
        ("prompt tokens", [whole(row["prompt_tokens"]) for row in rounds]),
        ("an ideal cache would serve", [_share(row["planned"], row["prompt_tokens"]) for row in rounds]),
        ("served from the cache", [_share(row["reported"], row["prompt_tokens"]) for row in rounds]),
        (
            "cache efficiency (served / ideal)",
            [percent(row["reported"] / row["planned"] if row["planned"] else None) for row in rounds],
        ),
    ]
    for cause in CAUSES:
        cells = [_share(row.get(f"lost_{cause}"), row["planned"]) for row in rounds]
        lines.append((f"lost: {cause.replace('_', ' ')}", cells))
    if any(row["beyond_plan"] for row in rounds):
        lines.append(("served beyond the plan", [whole(row["beyond_plan"]) for row in rounds]))
    header = ("", *(f"round {row['round']}" for row in rounds))
    rows = tuple((name, *cells) for name, cells in lines) if rounds else ()
    lost = [cause for cause in CAUSES if any(row.get(f"lost_{cause}") for row in rounds)]
    notes = tuple(f"{cause.replace('_', ' ')}: {MEANING[cause]}." for cause in lost)
    if lost and _engines_unnamed(stats, scenario):
        notes = (
            *notes,
            "Several engines share the requests, and no answer names its engine: "
            "tokens that another engine had cached count under these causes.",
        )
    return Table(f"{scenario}: where the cached tokens went", header, rows, CACHE_RULE, notes)


def _engines_unnamed(stats: Stats, scenario: str) -> bool:
    """Whether several engines, or a balancer's unknown number, answered, and nothing tells which one answered what."""
    if find(stats.get("waterfall", ()), scenario=scenario):
        return False
    balanced = {problem["code"] for problem in stats.get("problems", ())} & {"several_servers", "seen_in_part"}
    return bool(balanced or any(row["engines"] > 1 for row in find(stats.get("balance", ()), scenario=scenario)))


def _share(tokens: float | None, of: float) -> str:
    """1,234 (56.7 %)."""
    return f"{whole(tokens)} ({percent(tokens / of)})" if of and tokens else whole(tokens)


def no_model(stats: Stats) -> str | None:
    """Why no model of the TTFT is shown; None where one is."""
    why = stats["ttft_model"]["why_not"]
    return f"No model was fitted: {why}." if why else None


def model_table(stats: Stats) -> Table:
    """The fitted rates with their intervals."""
    model = stats["ttft_model"]
    rows = []
    for row in model["parameters"]:
        if row["name"] == "break_even_prefix_tokens" and row["value"] == 0 and row["high"] == 0:
            rows.append((PARAMETERS[row["name"]], "0 tokens: loading is faster at every length", DASH))
            continue
        share = row["unit"] == "share"
        show = percent if share else number
        value = show(row["value"]) if row["value"] is not None else "never: computing is faster at every length"
        unit = "" if share or row["value"] is None else row["unit"]
        rows.append((PARAMETERS.get(row["name"], row["name"]), f"{value} {unit}".strip(), interval_text(row, show)))
    notes = [_fit_note(model), *model.get("notes", [])] if rows else []
    header = ("", "value", "95 % interval")
    return Table("TTFT model", header, tuple(rows), "by evidence: racing, failed and unknown requests left out", tuple(notes))


def interval_text(row: dict[str, Any], show: Any = number) -> str:
    """1,710 to 33,400; `no limit` where it is open."""
    if row["low"] is None and row["high"] is None:
        return DASH
    return f"{show(row['low'])} to {'no limit' if row['high'] is None else show(row['high'])}"


def _fit_note(model: dict[str, Any]) -> str:
    terms = ["fixed", "uncached / prefill rate"]
    terms += ["cached / load rate"] if model["terms"]["load"] else []
    terms += ["attention of the new tokens to all before them"] if model["terms"]["attention"] else []
    step = model["terms"]["step_ms"]
    floor = f"; prefill at least one decode step, {number(step)} ms" if step else ""
    return (f"TTFT = {' + '.join(terms)}{floor}. Fitted to {model['requests']} requests in {model['sessions']} sessions; half of them are "
            f"predicted within {percent(model['median_error'])}, nine of ten within {percent(model['p90_error'])}. Reference length: "
            f"{whole(model['reference_prompt_tokens'])} prompt tokens (the median).")  # fmt: skip


def expected_table(stats: Stats) -> Table:
    model = stats["ttft_model"]
    rows = tuple((percent(row["hit_rate"]), number(row["ttft_ms"]), interval_text(row, number)) for row in model["expected"])
    prompt = whole(model.get("reference_prompt_tokens"))
    return Table(f"TTFT to expect at {prompt} prompt tokens, by the model", ("share cached", "TTFT, ms", "95 % interval"), rows)


def tier_table(stats: Stats, scenario: str) -> Table:
    """Prompt tokens by tier, from the servers' own counters."""
    rows = []
    for row in find(stats["tiers"], scenario=scenario):
        prompt = row["gpu"] + row["external"] + row["computed"]
        cells = [_share(row[tier], prompt) for tier in ("gpu", "external", "computed")]
        rows.append((f"round {row['round']}, {row['role']}", whole(prompt), *cells))
    header = ("", "prompt tokens", "GPU", "below GPU (LMCache, Mooncake)", "computed")
    return Table(
        f"{scenario}: tiers, by the servers' counters", header, tuple(rows), "by round; change of the counters during the round"
    )


def server_count_table(stats: Stats, scenario: str) -> Table:
    rows = [
        (f"round {row['round']}", row["role"], whole(row["server_cached_tokens"]), whole(row["client_cached_tokens"]),
         percent(row["server_hit_rate"]))
        for row in find(stats["server_counts"], scenario=scenario)
    ]  # fmt: skip
    header = ("", "counted by", "cached tokens by the server", "as reported to the client", "hit rate by the server")
    return Table(f"{scenario}: cached tokens, by the server and as reported", header, tuple(rows), "by round", texts=(1,))


def goodput_table(stats: Stats) -> Table:
    """Requests that met every objective, by round."""
    rows = tuple(
        (f"{row['scenario']}, round {row['round']}", whole(row["requests"]), whole(row["met"]), percent(row["met_share"]),
         number(row["goodput_per_s"]))
        for row in stats["goodput"]
    )  # fmt: skip
    limits = ", ".join(f"{name.removesuffix('_ms').upper()} at most {value:g} ms" for name, value in stats["slo"].items())
    header = ("", "requests", "within all objectives", "share", "goodput, requests/s")
    return Table("Goodput: requests within every objective", header, rows, "by round", (limits,))


def steady_table(stats: Stats) -> Table:
    rows = []
    for row in stats["steady_state"]:
        name = f"{row['scenario']}, round {row['round']}, {row['window']}"
        cells = (
            whole(row["requests"]),
            signed_percent(row["drift"]),
            _p(row["drift_p"]),
            number(row["warmup_ratio"]),
            _p(row["warmup_p"]),
        )
        rows.append((name, *cells, "yes" if row["steady"] else "no"))
    header = ("", "requests", "TTFT drift, first to last", "p", "first tenth / rest", "p", "steady")
    return Table("Steady state", header, tuple(rows), "by evidence, within each round")


def _p(value: float | None) -> str:
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def outlier_table(stats: Stats) -> Table:
    rows = tuple(
        (f"{row['scenario']}, round {row['round']}, request {row['request_index']}", row["window"], str(row["session_id"]),
         str(row["worker"] or DASH), number(row["ttft_ms"]), number(row["times_the_median"]))
        for row in stats["outliers"]
    )  # fmt: skip
    count = stats["outliers"][0]["of"] if stats["outliers"] else 0
    note = f"{count} in all; they stay in every figure." if count > len(rows) else "They stay in every figure."
    header = ("request", "window", "session", "worker", "TTFT, ms", "times the window's median")
    return Table("Outliers", header, rows, "by evidence", (note,), texts=(1, 3), sortable=True)


def effects_table(stats: Stats, scenario: str, split: str) -> Table:
    """Every metric by mean and percentile, with the minimum detectable effect of this sample."""
    rows = []
    for row in find(stats["effects"], scenario=scenario, split=split):
        statistic = statistic_name(row["statistic"])
        name = f"{metric_name(row['metric'])}: {statistic}"
        pairs = f"{row['pairs']:.0f} in {row['clusters']:.0f}" if row["pairs"] else DASH
        rows.append(
            (name, number(row["baseline"]), number(row["contender"]), change(row), pairs, percent(row["smallest_effect"]))
        )
    names = comparison_names(stats, scenario, split)
    header = ("metric", *names, "change [interval]", "pairs in clusters", "minimum detectable effect")
    return Table(
        f"{scenario}: {names[0]} against {names[1]} in full, by {split}",
        header,
        tuple(rows),
        split_rule(stats, split),
        tuple(no_intervals(find(stats["effects"], scenario=scenario, split=split))),
        sortable=True,
    )


def failures_table(stats: Stats) -> Table | None:
    """Failures by class and message, the most frequent first."""
    rows = [
        (
            row["status"],
            row["scenario"],
            str(row["round"]),
            whole(row["http_status"]),
            whole(row["requests"]),
            _said(row)[:300],
        )
        for row in stats["failures"]
    ]
    header = ("class", "scenario", "round", "HTTP status", "requests", "message (as received)")
    return Table("Failed requests", header, tuple(rows), texts=(1, 5), sortable=True, verbatim=(5,)) if rows else None


def _said(row: Mapping[str, Any]) -> str:
    """A server's own words as they are, ours in the reader's language."""
    error = row["error"] or DASH
    return str(error) if row["status"] in SAID_BY_SERVERS else told(error)


def tools_table(stats: Stats) -> Table:
    """The same requests as other tools count."""
    rows = []
    for row in stats["other_tools"]:
        tool, name = TOOLS[row["column"]]
        rows.append(
            (f"{tool}: {name}", row["scenario"], str(row["round"]), whole(row["n"]), number(row["mean"]), number(row["median"]))
        )
    header = ("definition of", "scenario", "round", "n", "mean", "median")
    return Table(
        "The same requests by the definitions of other tools", header, tuple(rows), "by round", texts=(1,), sortable=True
    )
