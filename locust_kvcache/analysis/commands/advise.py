"""Predicts hit rate, TTFT and cost for each size of each cache tier, and for replicas and pairs (`locust-kvcache advise ...`)."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from locust_kvcache.analysis.advice import asked
from locust_kvcache.analysis.advice.check import Check, checks_of, measured_round
from locust_kvcache.analysis.advice.demand import Blocks, Demand
from locust_kvcache.analysis.advice.deployments import options_of
from locust_kvcache.analysis.advice.playing import ROUTINGS, blocks_for, open_at_once
from locust_kvcache.analysis.advice.prediction import GPU, Prices, Question, predict
from locust_kvcache.analysis.advice.profiles import from_profile
from locust_kvcache.analysis.advice.sizes import marks_for, nice_sizes, nothing_tried, points_of, setting_of, tiers_of
from locust_kvcache.analysis.advice.sources import Link, Source, load_source
from locust_kvcache.analysis.model.tandem import Split
from locust_kvcache.analysis.report.advice_json import advice_json
from locust_kvcache.analysis.report.advice_page import Advice, advice_page
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.publish import publish
from locust_kvcache.contract.cache_tiers import TIERS
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, told, use_language

BLOCK_TOKENS = 16  # vLLM's default


def parser() -> argparse.ArgumentParser:
    found = command_parser(
        "advise",
        "Predicts hit rate, TTFT and cost for each size of each cache tier, from a trace or scenario and what a request costs a server.",
        (
            "--trace conversation_trace.jsonl --profile h200_qwen_72b_fp8 --gpu-hour-price 3 --gb-month-price cpu=2 store=0.5 "
            "--link-gb-per-s cpu=40 --gpus 1 --replicas 1 2 4",
            "--scenario long_context_high_reuse --users 10 --from results/one_user --link-gb-per-s cpu=40 --gb-month-price cpu=2 "
            "--gpu-hour-price 3",
        ),
    )
    asked.add_demand(found)
    _add_servers(found)
    _add_sizes(found)
    found.add_argument("--measured", type=Path, metavar="RUN", help="a measured run of this load, to compare with the prediction")
    found.add_argument(
        "--measured-size",
        nargs="+",
        default=[],
        metavar="TIER=GB",
        help="size of each tier in the --measured run: gpu=60 cpu=200 (default: the GPU cache alone)",
    )
    found.add_argument("--output-dir", type=Path, default=Path("advise"), help="folder of the page (default: advise)")
    add_png(found)
    add_language(found)
    return found


def _add_servers(found: argparse.ArgumentParser) -> None:
    group = found.add_argument_group("the server and its prices")
    group.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="RUN",
        help="take times from this run (folder or stats.json); best from a run with one user",
    )
    group.add_argument("--profile", metavar="NAME", help="take times from this profile of the emulator (name or file)")
    group.add_argument("--gpus", type=int, metavar="N", help="GPUs of one server (default: the run's)")
    group.add_argument(
        "--kv-bytes-per-token",
        type=float,
        metavar="BYTES",
        help="KV bytes per token of the model (default: from the run or the profile)",
    )
    group.add_argument(
        "--block-tokens", type=int, metavar="N", help="tokens per block of the engine (default: from the run, else 16)"
    )
    group.add_argument(
        "--max-num-batched-tokens",
        type=int,
        metavar="N",
        help="this setting of the engine (default: from the profile, else 8192)",
    )
    group.add_argument(
        "--max-num-seqs", type=int, metavar="N", help="this setting of the engine (default: from the profile, else 256)"
    )
    group.add_argument(
        "--link-gb-per-s",
        nargs="+",
        default=[],
        metavar="TIER=GB/S",
        help="load speed of each tier in GB/s: cpu=40 disk=3 store=5",
    )
    group.add_argument("--gpu-hour-price", type=float, metavar="PRICE", help="price of one GPU for one hour")
    group.add_argument(
        "--gb-month-price",
        nargs="+",
        default=[],
        metavar="TIER=PRICE",
        help="price of 1 GB for one month in each tier: cpu=2 disk=0.1 store=0.5",
    )


def _add_sizes(found: argparse.ArgumentParser) -> None:
    group = found.add_argument_group("the sizes to compare")
    group.add_argument(
        "--gpu-gb",
        type=float,
        metavar="GB",
        help="KV cache on the GPUs of one server, in GB (default: from the run or the profile)",
    )
    group.add_argument(
        "--sizes-gb",
        nargs="+",
        type=float,
        default=[],
        metavar="GB",
        help="sizes to compare for each tier, in GB (default: chosen by the working set)",
    )
    group.add_argument("--tiers", nargs="+", choices=TIERS, metavar="TIER",
        help="tiers to compare: gpu, cpu, disk, store (default: gpu, and each tier with a link or a price)")  # fmt: skip
    group.add_argument(
        "--servers",
        type=int,
        default=1,
        metavar="N",
        help="number of servers; each has its own gpu, cpu and disk tier, and all share the store (default: 1)",
    )
    group.add_argument(
        "--routing", choices=ROUTINGS, default=ROUTINGS[0], help="how requests are routed to servers (default: round_robin)"
    )
    group.add_argument(
        "--replicas", nargs="+", type=int, default=[], metavar="N", help="numbers of servers to compare, with the GPU cache alone"
    )
    group.add_argument(
        "--splits", nargs="+", default=[], metavar="xPyD", help="splits into prefillers and decoders to compare: 1P1D 2P2D"
    )
    group.add_argument(
        "--hand-off-ms",
        type=float,
        metavar="MS",
        help="time of the KV transfer from a prefiller to its decoder (default: from the profile)",
    )


def by_tier(option: str, words: Sequence[str]) -> dict[str, float]:
    """cpu=2 store=0.5."""
    found = {}
    for word in words:
        tier, _, value = word.partition("=")
        try:
            found[tier] = float(value)
        except ValueError:
            found[tier] = -1.0
        if tier not in TIERS or found[tier] < 0:
            raise BadInput(f"{option} is {word!r}; expected TIER=NUMBER with one of {', '.join(TIERS)}, such as cpu=2")
    return found


def source_of(args: argparse.Namespace) -> Source:
    if (args.source is None) == (args.profile is None):
        raise BadInput(f"--from or --profile: {'none is' if args.source is None else 'both are'} given; expected one of them")
    for name in ("gpus", "kv_bytes_per_token", "block_tokens", "max_num_batched_tokens", "max_num_seqs", "gpu_gb"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise BadInput(f"--{name.replace('_', '-')} is {value:g}; expected more than 0")
    source = load_source(args.source) if args.source is not None else from_profile(args.profile)
    costs = dataclasses.replace(
        source.costs,
        step_tokens=args.max_num_batched_tokens or source.costs.step_tokens,
        slots=args.max_num_seqs or source.costs.slots,
    )
    links = {tier: Link(speed) for tier, speed in by_tier("--link-gb-per-s", args.link_gb_per_s).items() if speed > 0}
    kv_bytes = args.kv_bytes_per_token or source.kv_bytes_per_token
    if kv_bytes is None:
        raise BadInput(f"{source.name} does not say how large the KV of a token is; add --kv-bytes-per-token, such as 327680")
    hand_off = source.hand_off if args.hand_off_ms is None else Link(float("inf"), args.hand_off_ms / 1000)
    return dataclasses.replace(
        source, costs=costs, links={**source.links, **links}, kv_bytes_per_token=kv_bytes, gpus=args.gpus or source.gpus,
        hand_off=hand_off,
    )  # fmt: skip


def prices_of(args: argparse.Namespace, source: Source) -> Prices:
    given = by_tier("--gb-month-price", args.gb_month_price)
    if source.price_per_gb_month is not None:
        given.setdefault("store", source.price_per_gb_month)
    price = source.price_per_gpu_hour if args.gpu_hour_price is None else args.gpu_hour_price
    if price is not None and price < 0:
        raise BadInput(f"--gpu-hour-price is {price:g}; expected 0 or more")
    return Prices(price, given)


def parse_split(word: str) -> Split:
    found = re.fullmatch(r"([1-9]\d*)P([1-9]\d*)D", word, re.IGNORECASE)
    if not found:
        raise BadInput(f"--splits is {word!r}; expected prefillers and decoders, such as 1P1D")
    return Split(int(found[1]), int(found[2]))


def question_of(args: argparse.Namespace, demand: Demand, source: Source, prices: Prices) -> Question:
    kv_bytes = float(source.kv_bytes_per_token or 0)
    gpu_tokens = args.gpu_gb * 1e9 / kv_bytes if args.gpu_gb is not None else source.capacities.get(GPU)
    if gpu_tokens is None and (args.replicas or args.splits):
        raise BadInput("--replicas and --splits need the size of the GPU cache, which nothing tells; add --gpu-gb")
    return Question(demand, source, prices, source.gpus, gpu_tokens, kv_bytes, args.servers, args.routing)


def advise(args: argparse.Namespace) -> Advice:
    source, demand = source_of(args), asked.demand_of(args)
    question = question_of(args, demand, source, prices_of(args, source))
    block = args.block_tokens or source.block_tokens or BLOCK_TOKENS
    blocks = blocks_for(demand, source, block, question.servers, question.routing)
    working_gb = blocks.working_set_tokens * question.kv_bytes / 1e9
    tiers, unknown = tiers_of(args.tiers or (), source, question.prices)
    if question.gpu_gb is None and tiers != [GPU]:
        unknown.append("Lower tiers are left out: the KV cache size of a server's GPUs is unknown. Add --gpu-gb.")
    if question.gpu_gb is not None and question.gpu_gb * question.servers >= working_gb:
        unknown.append("The GPU cache is large enough for all of it: no lower tier adds hits.")
    sizes = sorted(set(args.sizes_gb)) or nice_sizes(working_gb)
    points = points_of(question, blocks, tiers, sizes)
    if not points:
        raise BadInput(nothing_tried(question, tiers, sizes))
    unlimited = float(blocks.cached(float("inf"), shared=True).sum()) / demand.prompt_tokens
    marks = marks_for(points, question, unlimited)
    options = options_of(question, args.replicas, [parse_split(word) for word in args.splits], block)
    unknown += [f"{one.name} has no figures: {one.why_not}." for one in options if one.why_not]
    setting = setting_of(marks, question.gpu_gb, block)
    verify = f"{setting} {asked.verify_command(args, demand, open_at_once(demand, source, question.servers))}".strip()
    return Advice(question, unlimited, working_gb, tuple(points), tuple(marks), tuple(options), (*unknown, *demand.notes), verify,
                  args.measured, checks(args, question, blocks))  # fmt: skip


def checks(args: argparse.Namespace, question: Question, blocks: Blocks) -> tuple[Check, ...]:
    """The run of --measured beside what is predicted for the size that it had."""
    if args.measured is None:
        return ()
    given = by_tier("--measured-size", args.measured_size) or ({GPU: question.gpu_gb} if question.gpu_gb else {})
    if len(given) != 1:
        raise BadInput(
            f"--measured has {len(given)} sizes of --measured-size; expected the one that the run had, such as cpu=200"
        )
    ((tier, size_gb),) = given.items()
    return tuple(checks_of(predict(question, blocks, tier, size_gb), measured_round(args.measured, question.demand, tier)))


def main() -> int:
    args = parser().parse_args()
    use_language(args.lang)
    if any(size <= 0 for size in args.sizes_gb) or any(count < 1 for count in [*args.replicas, args.servers]):
        raise BadInput("--sizes-gb, --servers and --replicas: expected numbers above 0")
    advice = advise(args)
    publish(advice_page(advice), args.output_dir, args.png, figures=("advise.json", advice_json(advice)))
    print(f"\n{told(advice.verify)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
