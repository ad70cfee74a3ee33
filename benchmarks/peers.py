"""How late do AIPerf, GuideLLM and vLLM's serving benchmark report the first token, beside this client?

Each against the same server of known truth. Error = reported TTFT - the server's 200 ms, so it holds the way of the request to the
server too; measured alike for every tool. Each tool has one core, the server another. Starts: together (so many streams at once, as the
tools start them by themselves; this client in a whole run of Locust), or spread (a constant request rate that keeps as many streams
open). A tool that is not installed is left out and named.

    python -m benchmarks.peers --aiperf VENV/bin/aiperf --guidellm VENV/bin/guidellm --vllm VENV/bin/vllm [--streams 100 300 600]
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.certificate.command import (
    READERS,
    SPREAD,
    TOGETHER,
    TOKENS,
    TOKENS_PER_S,
    TTFT_MS,
    cores,
    level,
    medians,
    server_late_ms,
    truth_server,
)
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.quantile import quantile

PROMPT_TOKENS, REQUESTS_EACH = 20, 2
TIMEOUT_S = 240.0
COLUMNS = {
    "ttft_error_p50_ms": "{:+.3f}",
    "ttft_error_p99_ms": "{:+.3f}",
    "chunks_per_s": "{:,.0f}",
    "requests": "{:,.0f}",
    "server_late_p99_ms": "{:.3f}",
}


@dataclass(frozen=True)
class Reported:
    """What a tool says of its requests: TTFT in ms, and the seconds from its first request's start to its last one's end."""

    ttft_ms: list[float]
    wall_s: float


def rate_of(streams: int) -> float:
    """Requests/s that keep so many streams of the truth server open."""
    return streams / (TTFT_MS / 1000 + TOKENS / TOKENS_PER_S)


def aiperf(program: str, url: str, streams: int, starts: str, folder: Path) -> list[str]:
    spread = ["--request-rate", f"{rate_of(streams):.2f}", "--request-rate-mode", "constant"]
    return [
        program, "profile", "-m", "truth", "--url", url, "--endpoint-type", "chat", "--streaming",
        *(spread if starts == SPREAD else ["--concurrency", str(streams)]),
        "--request-count", str(REQUESTS_EACH * streams), "--tokenizer", str(_tokenizer(folder)),
        "--synthetic-input-tokens-mean", str(PROMPT_TOKENS), "--output-tokens-mean", str(TOKENS),
        "--artifact-dir", str(folder), "--ui", "none",
    ]  # fmt: skip


def read_aiperf(folder: Path) -> Reported:
    """profile_export.jsonl: one record per request; times in ns."""
    lines = [json.loads(line) for line in next(folder.rglob("profile_export.jsonl")).read_text(encoding="utf-8").splitlines()]
    good = [line for line in lines if not line.get("error")]
    starts = [line["metadata"]["request_start_ns"] for line in good]
    ends = [line["metadata"]["request_end_ns"] for line in good]
    return Reported([line["metrics"]["time_to_first_token"]["value"] for line in good], (max(ends) - min(starts)) / 1e9)


def guidellm(program: str, url: str, streams: int, starts: str, folder: Path) -> list[str]:
    profile = f"kind=constant,rate={rate_of(streams):.2f}" if starts == SPREAD else f"kind=concurrent,streams={streams}"
    return [
        program, "run", "--backend", f"kind=openai_http,target={url},model=truth", "--profile", profile,
        "--constraint", f"kind=max_requests,count={REQUESTS_EACH * streams}", "--tokenizer", f"kind=hf_auto,model={_tokenizer(folder)}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={TOKENS}",
        "--output", f"kind=json,path={folder / 'out.json'}", "--disable-progress",
    ]  # fmt: skip


def _tokenizer(folder: Path) -> Path:
    """They want one to make their prompts and count tokens: words of a made-up vocabulary, no download."""
    made = folder.parent / "tokenizer"
    made.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *(f"w{n}" for n in range(2000))])}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    absent = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        **absent,
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": model,
    }
    (made / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "model_max_length": 100_000}
    (made / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return made


def read_guidellm(folder: Path) -> Reported:
    """benchmarks[0].requests.successful: times in ms and in seconds of the wall clock."""
    report = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    good = report["benchmarks"][0]["requests"]["successful"]
    starts, ends = ([one[key] for one in good] for key in ("request_start_time", "request_end_time"))
    return Reported([one["time_to_first_token_ms"] for one in good], max(ends) - min(starts))


def vllm(program: str, url: str, streams: int, starts: str, folder: Path) -> list[str]:
    """Its client only: no engine is started."""
    spread = ["--request-rate", f"{rate_of(streams):.2f}", "--burstiness", "1000000"]
    return [
        program, "bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", url, "--model", "truth",
        "--tokenizer", str(_tokenizer(folder)), "--dataset-name", "random", "--random-input-len", str(PROMPT_TOKENS),
        "--random-output-len", str(TOKENS), "--num-prompts", str(REQUESTS_EACH * streams), "--ignore-eos", "--disable-tqdm",
        *(spread if starts == SPREAD else ["--max-concurrency", str(streams)]),
        "--save-result", "--save-detailed", "--result-dir", str(folder), "--result-filename", "out.json",
    ]  # fmt: skip


def read_vllm(folder: Path) -> Reported:
    """One JSON object: ttfts in seconds in the order of the requests, errors beside them, the duration in seconds."""
    report = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    good = [ttft for ttft, error in zip(report["ttfts"], report["errors"], strict=True) if not error]
    return Reported([ttft * 1000 for ttft in good], report["duration"])


TOOLS: dict[str, tuple[Callable[[str, str, int, str, Path], list[str]], Callable[[Path], Reported]]] = {
    "AIPerf": (aiperf, read_aiperf),
    "GuideLLM": (guidellm, read_guidellm),
    "vLLM bench serve": (vllm, read_vllm),
}


OPTIONS = {"AIPerf": "aiperf", "GuideLLM": "guidellm", "vLLM bench serve": "vllm"}


def measure_tool(name: str, program: str, url: str, streams: int, core: int, starts: str = TOGETHER) -> dict[str, float]:
    """One run of another tool, on one core; BadInput with its last words if it fails."""
    make, read = TOOLS[name]
    pin = functools.partial(os.sched_setaffinity, 0, {core}) if core >= 0 else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "out"
        folder.mkdir()
        command = make(program, url, streams, starts, folder)
        server_late_ms(url)
        done = subprocess.run(
            command, cwd=scratch, preexec_fn=pin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        late_ms = server_late_ms(url)
        try:
            reported = read(folder)
        except (OSError, StopIteration, KeyError, ValueError, IndexError, TypeError) as error:
            words = (done.stdout + done.stderr).strip()[-800:]
            raise BadInput(
                f"{name} ({program}) gave no figures that can be read ({error!r}), exit code {done.returncode}: {words}"
            ) from error
    return figures(reported, late_ms)


def figures(reported: Reported, server_late_p99_ms: float) -> dict[str, float]:
    errors = [ttft - TTFT_MS for ttft in reported.ttft_ms]
    return {
        "ttft_error_p50_ms": quantile(errors, 0.5),
        "ttft_error_p99_ms": quantile(errors, 0.99),
        "chunks_per_s": len(errors) * TOKENS / reported.wall_s,
        "requests": len(errors),
        "server_late_p99_ms": server_late_p99_ms,
    }


def measure_reader(name: str, url: str, streams: int, core: int, starts: str) -> dict[str, float]:
    """This client and FastHttpUser by the same definition: their reported TTFT, request sent to first chunk."""
    found = level(name, url, streams, core, starts)
    return {
        "ttft_error_p50_ms": found["reported_ttft_p50_ms"] - TTFT_MS,
        "ttft_error_p99_ms": found["reported_ttft_p99_ms"] - TTFT_MS,
        "chunks_per_s": found["chunks_per_s"],
        "requests": found["streams_read"],
        "server_late_p99_ms": found["server_late_p99_ms"],
    }


def show(rows: list[tuple[int, str, str, dict[str, float]]]) -> str:
    """A Markdown table, so that it can be published as it is."""
    lines = [
        "| streams | starts | tool | TTFT error P50, ms | P99, ms | chunks/s | requests | server late P99, ms |",
        "|---" * 8 + "|",
    ]
    for streams, starts, name, found in rows:
        cells = [pattern.format(found[key]) for key, pattern in COLUMNS.items()]
        lines.append(f"| {streams:,} | {starts} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    for name, option in OPTIONS.items():
        parser.add_argument(
            f"--{option}", metavar="PROGRAM", default="", help=f"the program of {name}, in an environment of its own"
        )
    parser.add_argument("--streams", type=int, nargs="+", default=[100, 300, 600], help="levels (default: 100 300 600)")
    parser.add_argument("--starts", nargs="+", choices=(SPREAD, TOGETHER), default=[SPREAD, TOGETHER], help="(default: both)")
    parser.add_argument("--repeats", type=int, default=3, help="times each level is measured; medians are shown (default: 3)")
    return parser.parse_args()


def main() -> int:
    options = _options()
    programs = {name: getattr(options, option) for name, option in OPTIONS.items()}
    client_core, server_core = cores()
    rows: list[tuple[int, str, str, dict[str, float]]] = []
    with truth_server(server_core) as url:
        for streams, starts in itertools.product(options.streams, options.starts):
            ways: dict[str, Callable[[], dict[str, float]]] = {
                name: functools.partial(measure_reader, name, url, streams, client_core, starts) for name in READERS
            }
            ways |= {
                name: functools.partial(measure_tool, name, program, url, streams, client_core, starts)
                for name, program in programs.items()
                if program
            }
            for name, way in ways.items():
                try:
                    rows.append((streams, starts, name, medians([way() for _ in range(options.repeats)])))
                except (BadInput, OSError, subprocess.TimeoutExpired) as error:
                    print(f"error: {error}", file=sys.stderr)
                    continue
                error_ms = rows[-1][3]["ttft_error_p99_ms"]
                print(
                    f"{streams} streams, starts {starts}, {name}: TTFT error P99 {error_ms:+.3f} ms", file=sys.stderr, flush=True
                )
    print(show(rows))
    for name, program in programs.items():
        if not program:
            print(f"\n{name} was not measured: name its program with --{OPTIONS[name]}")
    return 0 if len({name for _, _, name, _ in rows}) == len(READERS) + sum(map(bool, programs.values())) else 1


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    sys.exit(main())
