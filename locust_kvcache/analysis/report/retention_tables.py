"""Makes the sentences and tables of a retention study: hits after each gap, and the limit where hits end."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.analysis.across_runs.retention import BOTH, HIT_SHARE, LRU, NEITHER, ONE, TTL, GapRun, Limit
from locust_kvcache.analysis.basics.number_text import DASH, number, percent, whole
from locust_kvcache.analysis.stats.intervals import share_interval
from locust_kvcache.analysis.tables.table import Table

GAP_RULE = (
    "hit: at least half of the prompt's tokens came from a cache, as the server reported, with Clopper and Pearson's 95 % interval, "
    "which assumes independent returns; tiers: shares of the returning tokens, by the servers' counters; "
    "tokens since: distinct tokens sent since the middle of the prompt, median"
)
LIMIT_RULE = (
    "the limit separates returns that were hit from those that were not with the fewest exceptions; intervals: 95 %, over resampled "
    "returns, at least as wide as the gap between the last hit and the first loss"
)
VERDICTS = {
    LRU: "At every pressure hits end after the same number of tokens, not after the same time: as LRU eviction does",
    TTL: "At every pressure hits end after the same time, not after the same number of tokens: as a TTL or lease does, not LRU eviction",
    BOTH: "The limits in tokens agree, and so do those in time: these pressures and gaps cannot distinguish LRU eviction from a TTL",
    NEITHER: "Neither the limits in tokens nor those in time agree between the pressures: eviction is neither plain LRU nor a TTL alone",
    ONE: "One pressure cannot distinguish LRU eviction from a TTL: give --background several numbers",
}
FOREIGN = (
    "In the run with gaps of {gap} beside {rate} new tokens/s the servers counted {counted} of the returning tokens as cached, and the "
    "answers reported {reported}: other requests were on the servers, so more tokens passed through the caches than the page counts."
)
BLURRED = "{wrong} of {count} returns are on the wrong side of the limit in tokens; with plain LRU there would be none"


def limit_text(limit: Limit | None, unit: str) -> str:
    """12.3 s [11.8, 12.9]."""
    if limit is None:
        return "not known"
    if limit.value is None:
        if (limit.low is None) == (limit.high is None):
            return "no limit to be seen"
        return f"more than {number(limit.low)} {unit}" if limit.low is not None else f"less than {number(limit.high)} {unit}"
    low = "0" if limit.low is None else number(limit.low)
    high = f"{number(limit.high)}]" if limit.high is not None else "no upper end]"
    return f"{number(limit.value)} {unit} [{low}, {high}"


def gap_text(run: GapRun) -> str:
    low, high = number(run.returns.gap_low_s), number(run.returns.gap_high_s)
    return f"{low} s" if low == high else f"{low} to {high} s"


def hit_text(run: GapRun) -> str:
    shares = run.returned["share"].dropna()
    if not len(shares):
        return DASH
    hits = int((shares >= HIT_SHARE).sum())
    low, high = share_interval(hits, len(shares))
    return f"{percent(hits / len(shares))} [{percent(low)}, {percent(high)}]"


def gap_table(runs: Sequence[GapRun]) -> Table:
    header = ("new tokens/s", "gap", "returns", "tokens since", "hit", "GPU cache", "tiers below", "left out")
    rows = tuple(
        (
            whole(run.returns.tokens_per_s),
            gap_text(run),
            str(len(run.returned)),
            whole(run.returned["tokens"].median()) if len(run.returned) else DASH,
            hit_text(run),
            percent(run.gpu_share),
            DASH if run.gpu_share is None or run.all_share is None else percent(run.all_share - run.gpu_share),
            str(run.left_out),
        )
        for run in runs
    )
    return Table("What is still hit after each gap", header, rows, GAP_RULE)


def limit_table(limits: Sequence[tuple[float, Limit | None, Limit | None]], runs: Sequence[GapRun]) -> Table:
    rows = []
    for rate, tokens, seconds in limits:
        mine = [run for run in runs if run.returns.tokens_per_s == rate]
        against = f"{tokens.against} of {tokens.count}" if tokens else DASH
        rows.append((whole(rate), limit_text(seconds, "s"), limit_text(tokens, "tokens"), against, gpu_bracket(mine)))
    header = ("new tokens/s", "hits end after", "which is", "exceptions", "GPU cache alone, by counters")
    return Table("Where hits end", header, tuple(rows), LIMIT_RULE)


def gpu_bracket(runs: Sequence[GapRun]) -> str:
    """Between which two gaps the GPU cache loses half, in tokens since; `undecided` where a longer gap was hit and a shorter one lost."""
    known = sorted(
        (float(run.returned["tokens"].median()), run.gpu_share) for run in runs if run.gpu_share is not None and len(run.returned)
    )
    held = [tokens for tokens, share in known if share >= HIT_SHARE]
    lost = [tokens for tokens, share in known if share < HIT_SHARE]
    if not known:
        return DASH
    if not lost:
        return f"more than {whole(held[-1])} tokens"
    if held and held[-1] > lost[0]:
        return "undecided"
    return f"{whole(held[-1])} to {whole(lost[0])} tokens" if held else f"less than {whole(lost[0])} tokens"
