"""Computes the hit rate that a prefix cache can reach on a trace, without a limit and for LRU caches of given sizes.

    locust-kvcache oracle TRACE [--capacity 1000 10000 30000 50000] [--kv-bytes-per-token 327680] [--output oracle.png]

Token-weighted: tokens found in the cache / prompt tokens. A row finds the longest run of its first blocks that is cached; then all its
blocks become the most recent ones, and the least recent are dropped down to the capacity.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from locust_kvcache.analysis.basics.number_text import DASH, percent
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.analysis.tables.text_tables import console
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.traces.formats import MOONCAKE_BLOCK
from locust_kvcache.workload.traces.loading import NO_PREFIXES, NONE, load_rows
from locust_kvcache.workload.traces.rows import Row
from locust_kvcache.workload.traces.sharing import chained
from locust_kvcache.workload.traces.source import TraceSource

CAPACITIES = (1_000, 3_000, 10_000, 20_000, 30_000, 50_000)


def cached_tokens(rows: Iterable[Row], capacity_blocks: int | None = None, block_tokens: int = MOONCAKE_BLOCK) -> list[int]:
    """Per row, the tokens that the cache holds when the row is sent; None: a cache without limit."""
    cache: OrderedDict[int, int] = OrderedDict()  # block with all before it: tokens of it that were sent, fewer where it was cut
    found = []
    for row in sorted(rows, key=lambda row: row.due_s):  # recorded sessions stand one after another
        path, blocks = tuple(chained(row.blocks)), 0
        while blocks < len(path) and path[blocks] in cache:
            blocks += 1
        held = (blocks - 1) * block_tokens + cache[path[blocks - 1]] if blocks else 0
        found.append(min(held, row.input_tokens))
        for number, block in enumerate(path):
            sent = min(block_tokens, row.input_tokens - number * block_tokens)
            cache[block] = max(cache.get(block, 0), sent)
            cache.move_to_end(block)
        while capacity_blocks is not None and len(cache) > capacity_blocks:
            cache.popitem(last=False)
    return found


def hit_rate(rows: Sequence[Row], capacity_blocks: int | None = None, block_tokens: int = MOONCAKE_BLOCK) -> float:
    """Token-weighted, over all rows; 0 for none."""
    total = sum(row.input_tokens for row in rows)
    return sum(cached_tokens(rows, capacity_blocks, block_tokens)) / total if total else 0.0


def curve(rows: Sequence[Row], capacities: Iterable[int], block_tokens: int = MOONCAKE_BLOCK) -> pd.DataFrame:
    """Columns capacity_blocks (missing: no limit), capacity_tokens, hit_rate."""
    sizes = [*sorted(capacities), None]
    rates = [hit_rate(rows, size, block_tokens) for size in sizes]
    table = pd.DataFrame({"capacity_blocks": pd.array(sizes, dtype="Int64"), "hit_rate": rates})
    return table.assign(capacity_tokens=table["capacity_blocks"] * block_tokens)


def oracle_table(table: pd.DataFrame, kv_bytes_per_token: float | None) -> Table:
    rows = []
    for row in table.to_dict("records"):
        limited = not pd.isna(row["capacity_blocks"])
        size = f"{row['capacity_blocks']:,} blocks" if limited else "no limit"
        held = f"{row['capacity_tokens'] * kv_bytes_per_token / 1e9:,.0f} GB" if limited and kv_bytes_per_token else DASH
        rows.append((size, f"{row['capacity_tokens']:,}" if limited else DASH, held, percent(row["hit_rate"])))
    return Table("Hit rate that a prefix cache can reach, by tokens", ("LRU of", "tokens", "KV", "hit rate"), tuple(rows))


def curve_chart(table: pd.DataFrame, name: str, block_tokens: int = MOONCAKE_BLOCK) -> Chart:
    """Hit rate against the size of the cache; the row without a capacity is the ceiling."""
    limited = table[table["capacity_blocks"].notna()].astype({"capacity_blocks": "float64"})
    ceiling = float(table.loc[table["capacity_blocks"].isna(), "hit_rate"].iloc[0])
    points = pd.DataFrame({"label": "LRU of this size", "x": limited["capacity_blocks"], "y": 100 * limited["hit_rate"]})
    title = f"A prefix cache without limit would hit {percent(ceiling)} of {name}"
    said = "; ".join(f"{size:,.0f} blocks: {rate:.1f} %" for size, rate in zip(points["x"], points["y"], strict=True))
    return draw("oracle", title, said, lambda axes: study_drawing.draw_oracle(axes, points, 100 * ceiling, block_tokens))


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "oracle",
        "Computes the hit rate that a prefix cache can reach on a trace: without limit, and for LRU caches of given sizes.",
        [
            "conversation_trace.jsonl",
            "conversation_trace.jsonl --capacity 1000 10000 50000 --kv-bytes-per-token 327680 --output oracle.png",
        ],
    )
    add = parser.add_argument
    add("trace", metavar="TRACE", help="trace file, in any format of `run --trace` (docs/workloads.md#trace-formats)")
    add("--capacity", type=int, nargs="+", default=list(CAPACITIES), metavar="BLOCKS",
        help=f"cache sizes, in blocks of the trace (default: {' '.join(map(str, CAPACITIES))})")  # fmt: skip
    add("--trace-block-size", type=int, default=None, metavar="N",
        help="tokens per hash_id of the trace (default: 512; 16 for Bailian's traces)")  # fmt: skip
    add(
        "--kv-bytes-per-token",
        type=float,
        default=None,
        metavar="BYTES",
        help="KV bytes per token of the model, to show the sizes in GB too: 327680 for Qwen2.5-72B in bf16",
    )
    add("--output", type=Path, default=None, metavar="FILE.png", help="draw hit rate over cache size into this file")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    if any(size < 1 for size in args.capacity):
        raise BadInput(f"--capacity is {min(args.capacity)}; expected at least 1 block")
    if args.trace_block_size is not None and args.trace_block_size < 1:
        raise BadInput(f"--trace-block-size is {args.trace_block_size}; expected at least 1 token")
    rows = load_rows(TraceSource(args.trace, keep_bursts=True, block_size=args.trace_block_size))
    if rows.prefixes == NONE:
        raise BadInput(f"{args.trace}: {NO_PREFIXES}; expected a trace with hash_ids")
    table = curve(rows, args.capacity, rows.block_tokens)
    print(f"{args.trace}: {len(rows):,} requests, {sum(row.input_tokens for row in rows):,} prompt tokens, "
          f"{len({block for row in rows for block in row.blocks}):,} different blocks of {rows.block_tokens} tokens\n")  # fmt: skip
    print(console(oracle_table(table, args.kv_bytes_per_token)))
    if args.output:
        args.output.write_bytes(curve_chart(table, Path(args.trace).stem, rows.block_tokens).png)
        print(f"\n{args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
