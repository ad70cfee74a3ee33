"""Predicts which split of N GPUs into prefillers and decoders is best, and checks it by runs (`locust-kvcache ratio ...`)."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.across_runs.run_evidence import run_evidence
from locust_kvcache.analysis.commands import ratio_verify
from locust_kvcache.analysis.model import ratio, ratio_check, tandem
from locust_kvcache.analysis.model.ratio import Budget, Prediction
from locust_kvcache.analysis.model.run_points import (
    MeasuredRun,
    all_points,
    check_prefill_runs,
    late_runs,
    read_pair,
    read_points,
)
from locust_kvcache.analysis.model.stage_costs import STEP_TOKENS, Measured, Mix, limits_of
from locust_kvcache.analysis.model.stage_points import Point
from locust_kvcache.analysis.model.tandem import Load
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.ratio_page import Answer, ratio_json, ratio_page
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language
from locust_kvcache.contract.slo import parse_slo

REQUESTS = 500


def parser() -> argparse.ArgumentParser:
    found = command_parser(
        "ratio",
        "Predicts throughput, TTFT and TPOT of each split of N GPUs into prefillers and decoders, from a few measured points.",
        (
            "--prefill results/prefill_c1 results/prefill_c4 --decode results/decode_c* --hand-off-ms 15 --gpus 8 --prompt-tokens 8000 "
            "--output-tokens 200 --users 32",
            "--pd results/pair_c* --single results/single_c* --gpus 4 --prompt-tokens 4000 --output-tokens 40 --request-rate 2",
            "--pd results/pair_c* --gpus 4 --prompt-tokens 4000 --output-tokens 40 --users 12 --verify splits.yaml",
        ),
    )
    _add_points(found)
    _add_question(found)
    found.add_argument(
        "--verify",
        type=Path,
        metavar="FILE.yaml",
        help="measure the best split and its neighbours: a campaign file with one deployment per split",
    )
    found.add_argument("--output-dir", type=Path, help="folder of the page (default: ratio beside the first run)")
    add_png(found)
    add_language(found)
    return found


def _add_points(found: argparse.ArgumentParser) -> None:
    group = found.add_argument_group("measured runs (folders)")
    many: dict[str, Any] = {"nargs": "+", "type": Path, "default": [], "metavar": "RUN"}
    group.add_argument(
        "--prefill",
        **many,
        help="runs on one prefiller (or single server) with 1 to 8 output tokens: one with 1 user, one with more",
    )
    group.add_argument(
        "--decode",
        **many,
        help="runs on one decoder (or single server) at several concurrencies; the round with the highest hit rate is used",
    )
    group.add_argument(
        "--pd",
        **many,
        help="runs on one prefiller and one decoder; they give the figures of both roles, or with --prefill only the KV transfer",
    )
    group.add_argument(
        "--single",
        **many,
        help="runs on one single server at several loads, to compare the splits with replicas or tensor parallelism",
    )
    group.add_argument(
        "--hand-off-ms",
        type=float,
        metavar="MS",
        help="time of the KV transfer: from the end of the prefill to the first step of the decoder",
    )
    group.add_argument("--measured", **many, help="measured runs on splits, to compare with the prediction")


def _add_question(found: argparse.ArgumentParser) -> None:
    group = found.add_argument_group("the GPUs and the load")
    group.add_argument("--gpus", type=int, required=True, metavar="N", help="number of GPUs to split")
    group.add_argument("--prefill-gpus", type=int, default=1, metavar="N", help="GPUs per prefiller (default: 1)")
    group.add_argument("--decode-gpus", type=int, default=1, metavar="N", help="GPUs per decoder (default: 1)")
    group.add_argument("--server-gpus", type=int, metavar="N", help="GPUs per --single server, if its run does not say")
    group.add_argument("--prompt-tokens", type=int, required=True, metavar="N", help="prompt tokens per request")
    group.add_argument("--output-tokens", type=int, required=True, metavar="N", help="output tokens per request")
    group.add_argument(
        "--hit-rate",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of each prompt that the prefiller has in its cache, 0 to 1 (default: 0)",
    )
    group.add_argument(
        "--users", type=int, metavar="N", help="closed loop: number of users; each sends its next request after the answer"
    )
    group.add_argument("--request-rate", type=float, metavar="R", help="open loop: requests per second, Poisson")
    group.add_argument(
        "--requests", type=int, metavar="N", help=f"requests to simulate (default: as in --measured, else {REQUESTS})"
    )
    group.add_argument(
        "--routing", choices=tandem.ROUTINGS, default=tandem.ROUND_ROBIN, help="how requests are routed (default: round_robin)"
    )
    group.add_argument("--max-num-batched-tokens", type=int, default=STEP_TOKENS, metavar="N",
        help=f"prompt tokens per step of a prefiller (default: {STEP_TOKENS}, as vLLM on large GPUs)")  # fmt: skip
    group.add_argument(
        "--slo",
        nargs="+",
        metavar="NAME=MS",
        help="limits in ms that the means of the best split must meet: ttft_ms=2000 tpot_ms=50",
    )


def check_arguments(args: argparse.Namespace) -> None:
    if (args.users is None) == (args.request_rate is None):
        raise BadInput(
            f"--users or --request-rate: {'both are' if args.users is not None else 'none is'} given; expected one of them"
        )
    for name in ("gpus", "prefill_gpus", "decode_gpus", "prompt_tokens", "output_tokens", "users", "request_rate", "requests",
                 "max_num_batched_tokens", "server_gpus"):  # fmt: skip
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise BadInput(f"--{name.replace('_', '-')} is {value:g}; expected more than 0")
    if not 0 <= args.hit_rate <= 1:
        raise BadInput(f"--hit-rate is {args.hit_rate:g}; expected a share from 0 to 1")
    if not args.pd and not (args.prefill and args.decode):
        raise BadInput("measured points are missing; give --prefill RUN and --decode RUN, or --pd RUN")
    if args.hand_off_ms is not None and args.hand_off_ms < 0:
        raise BadInput(f"--hand-off-ms is {args.hand_off_ms:g}; expected 0 or more")


def measured_of(args: argparse.Namespace) -> tuple[Measured, list[str]]:
    """The points, and which of their runs were timed late."""
    prefill, decode = ([read_points(path) for path in paths] for paths in (args.prefill, args.decode))
    check_prefill_runs(prefill)
    pair = [read_pair(path) for path in args.pd]
    late = late_runs(list({run.folder: run for run in [*prefill, *decode, *pair]}.values()))
    return _measured(args, prefill, decode, pair), late


def _measured(
    args: argparse.Namespace, prefill: list[MeasuredRun], decode: list[MeasuredRun], pair: list[MeasuredRun]
) -> Measured:
    return Measured(
        prefill=all_points(prefill),
        decode=all_points(decode),
        pair=all_points(pair),
        hand_off_s=None if args.hand_off_ms is None else args.hand_off_ms / 1000,
        step_tokens=args.max_num_batched_tokens,
    )


def servers_of(args: argparse.Namespace) -> dict[tuple[str, int], list[Point]]:
    """Points of plain servers by deployment and its GPUs."""
    found: dict[tuple[str, int], list[Point]] = {}
    for path in args.single:
        run = read_points(path)
        if run.split is not None:
            raise BadInput(f"--single {path} ran on {run.split.name}; expected a plain server: give it with --pd or --measured")
        gpus = run.info.deployment.gpus or args.server_gpus
        if gpus is None:
            raise BadInput(f"--single {path}: its deployment does not say how many GPUs it has; add --server-gpus N")
        found.setdefault((str(run.info.deployment.name), gpus), []).extend(run.points)
    return found


def name_of(run: MeasuredRun, predictions: Sequence[Prediction]) -> str | None:
    """The prediction that a run is of: its split, or the plain servers with as many GPUs."""
    if run.split is not None:
        return next((one.name for one in predictions if one.split == run.split), None)
    gpus = run.info.deployment.gpus
    return next((one.name for one in predictions if one.split is None and one.gpus == gpus), None)


def predicted(args: argparse.Namespace, requests: int) -> Answer:
    budget, mix = (
        Budget(args.gpus, args.prefill_gpus, args.decode_gpus),
        Mix(args.prompt_tokens, args.output_tokens, args.hit_rate),
    )
    load, (measured, late) = Load(requests, args.users, args.request_rate), measured_of(args)
    if not budget.splits():
        raise BadInput(
            f"--gpus is {args.gpus}; expected at least {args.prefill_gpus + args.decode_gpus}: one prefiller and one decoder"
        )
    if not any(len(point.tpot_s) for point in measured.decode_points):
        raise BadInput("no run has answers of two or more tokens; give a --decode run with the output that you expect")
    predictions = ratio.predict_splits(budget, mix, load, measured, args.routing)
    servers = servers_of(args)
    predictions += [ratio.predict_servers(name, gpus, budget, mix, load, points) for (name, gpus), points in servers.items()]
    used = [("prefill", point) for point in measured.prefill_points] + [("decode", point) for point in measured.decode_points]
    used += [("hand-off", point) for point in measured.pair if measured.prefill] if measured.hand_off_s is None else []
    used += [(f"plain server ({name})", point) for (name, _), points in servers.items() for point in ratio.of_mix(points, mix)]
    best = ratio.best_of(predictions, parse_slo(args.slo) if args.slo else None)
    return Answer(budget, mix, load, args.routing, tuple(predictions), best, tuple(used), (*limits_of(measured, mix), *late))


def with_runs(answer: Answer, runs: Sequence[MeasuredRun]) -> Answer:
    """The answer with predicted against measured."""
    by_name: dict[str, list[MeasuredRun]] = {}
    said = late_runs(runs)
    for run in runs:
        name = name_of(run, answer.predictions)
        if name is None:
            said.append(
                f"{run.name} ran on {run.split.name if run.split else 'plain servers'}, which is not predicted: it is left out."
            )
        else:
            by_name.setdefault(name, []).append(run)
            said += ratio_check.unlike(run, answer.mix, answer.load)
    checks = tuple(ratio_check.checks(answer.predictions, by_name, answer.mix))
    return Answer(**{**vars(answer), "checks": checks, "limits": (*answer.limits, *said)})


def requests_of(args: argparse.Namespace, runs: Sequence[MeasuredRun]) -> int:
    """As given, else as many as the measured runs have, so that ramp and tail are theirs."""
    counts = [entry.records for run in runs for entry in run.info.rounds if entry.records]
    return args.requests or (counts[0] if counts else REQUESTS)


def main() -> int:
    args = parser().parse_args()
    use_language(args.lang)
    check_arguments(args)
    runs = [read_points(path) for path in args.measured]
    requests = args.requests or (ratio_verify.planned_requests(args.verify) if args.verify else None) or requests_of(args, runs)
    answer = predicted(args, requests)
    folder = args.output_dir or folder_beside([*args.prefill, *args.pd, *args.decode][0], "ratio")
    code = 0
    if args.verify:
        folders, code = ratio_verify.verify(args.verify, answer, folder)
        runs += [read_points(path) for path in folders]
    answer = with_runs(answer, runs) if runs else answer
    given = [*args.prefill, *args.decode, *args.pd, *args.single, *(run.folder for run in runs)]
    evidence = [run_evidence(load_run(path)) for path in dict.fromkeys(path.resolve() for path in given)]
    answer = dataclasses.replace(answer, runs=tuple(evidence))
    publish(ratio_page(answer), folder, args.png, figures=("ratio.json", ratio_json(answer)))
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
