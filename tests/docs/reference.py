"""Makes docs/reference.md: statuses and fields of a record, keys of a deployment file, environment variables.

Names, types and order come from the code. The meanings stand below, and a test asks for one of each name.
After a change: python -m tests.docs.reference
"""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path

from locust_kvcache.contract.cache_tiers import KINDS
from locust_kvcache.contract.record import STATUSES, Record
from locust_kvcache.loadgen.options.declared import OPTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"

FIELDS = {
    "run_id": "name of the run's folder",
    "deployment": "`name` of the deployment file, or the host and port of `--host`",
    "model": "model name in the request",
    "scenario": "name of the scenario",
    "round": "number of the round, from 1",
    "request_index": "position in the plan, from 0; the same request has the same number in every round",
    "session_id": "session (conversation) that the request belongs to",
    "turn": "position in the session, from 1",
    "worker": "Locust worker that sent the request",
    "started_at_s": "wall clock of the send, in the master's time; use it to order requests, not to measure durations",
    "scheduled_at_s": "open loop: wall clock of the intended send",
    "schedule_lag_ms": "open loop: actual minus intended send, for the first turn of a session",
    "status": "one of the statuses above",
    "error": "what went wrong, in one line",
    "http_status": "HTTP status of the response",
    "finish_reason": "the last `finish_reason` of the stream",
    "planned_prompt_tokens": "prompt tokens by the plan",
    "prompt_tokens": "prompt tokens by the server's `usage`",
    "planned_output_tokens": "output tokens that the request asks for",
    "output_tokens": "output tokens by the server's `usage`",
    "planned_cached_tokens": "prompt tokens that an unlimited prefix cache would hold, in whole blocks",
    "reported_cached_tokens": "prompt tokens that the server reports as cached",
    "usage_rejected": "reported counts that were rejected, with the reason; they are null in this record",
    "shares_prefix_with": "`request_index` of the first request that sends the same prefix",
    "connect_ms": "time to connect; null where a kept connection was used",
    "reconnected": "the kept connection was closed by the server, and the request was sent again on a new one",
    "end_missing": "the stream ended with `[DONE]`, but without a `finish_reason` or without the end of its body",
    "ttfb_ms": "time to the first byte of the response",
    "first_choice_ms": "time to the first chunk with a non-empty `choices`",
    "ttft_ms": "time to the first generated output",
    "ttfvt_ms": "time to the first visible token (non-empty `content`)",
    "tpot_ms": "time per output token after the first chunk",
    "e2e_ms": "time to the last chunk with output",
    "itl_p50_ms": "median inter-token latency of this request",
    "itl_p99_ms": "P99 inter-token latency of this request",
    "icl_p50_ms": "median gap between output chunks",
    "icl_p99_ms": "P99 gap between output chunks",
    "chunks": "number of chunks with output",
    "response_bytes": "bytes of the response body",
    "clock": "source of the time stamps: `kernel` or `process`",
    "loop_lag_ms": "longest delay of the worker's event loop while the request was open",
    "client_limited": "that delay may have changed the times of this record",
    "ttft_uncertain_ms": "the true TTFT may be shorter by this much",
    "round_kind": "`cold`, `control` or `hit`; null in older runs",
    "engine": "engine that answered, by a header of the response (`router.engine_header`); null where the router names none",
    "buffered": "a proxy or the server held chunks back",
    "tenant": "tenant that the request belongs to, by the scenario's `tenants` or `identity`",
    "cache_salt": "`cache_salt` of the request, as sent",
    "priority": "`priority` of the request, as sent",
    "sent_headers": "headers made for this session, as `name: value; ...`; of an echoed header the first 12 digits of its sha256",
    "planned_wait_ms": "planned wait before it, after the end of the requests that it waits for; null for the first of its session",
    "phase": "of a timed round: `warm_up`, `open_at_end`, or null ([more](timed-rounds.md#what-counts))",
    "format": "version of the format, 1",
}

DEPLOYMENT = {
    "name": ("text", "the file's name", "name of the deployment in folders, tables and reports"),
    "kind": ("`pd_disagg` \\| `non_disagg` \\| `other`", "required", "PD disaggregated, a single server, or anything else"),
    "endpoint": ("URL", "required", "address that receives the requests, without `/v1`"),
    "model": ("text", "the only served model", "entry of `configs/models.yaml`"),
    "gpus": ("number", "unknown", "GPUs of the whole deployment, for throughput per GPU and for the cost"),
    "price_per_gpu_hour": (
        "number",
        "none",
        "price of one GPU for one hour, in any currency ([cost](cost.md)); `--gpu-hour-price` takes its place",
    ),
    "price_per_gb_month": (
        "number",
        "none",
        "price of a GB (10^9 bytes) of the KV store for one month; `--gb-month-price` takes its place",
    ),
    "api_key_env": ("text", "`OPENAI_API_KEY`", "environment variable that holds the API key"),
    "dialect": (
        "text",
        "none",
        "dialect of the server that an installed package adds ([extending.md](extending.md#a-dialect-of-a-server))",
    ),
    "tls.ca_file": ("file", "the system's certificates", "certificate authority to trust"),
    "tls.client_cert": ("file", "none", "client certificate"),
    "tls.client_key": ("file", "in `client_cert`", "key of the client certificate"),
    "tls.verify": ("true \\| false", "true", "verify the server's certificate"),
    "proxy": ("URL", "none", "HTTP proxy for the requests; those of the environment (`http_proxy`) are not used"),
    "headers": (
        "mapping",
        "none",
        "headers of every request; `${NAME}` is read from the environment, `{session}` is the session",
    ),
    "extra_body": ("mapping", "none", "fields to add to every request's body"),
    "fold_system": ("true \\| false", "false", "put the system message in front of the first user message"),
    "api_path": ("text", "`/v1`", 'path in front of `/chat/completions`; `""` for none'),
    "query": ("text", "none", "query string to add to every API path"),
    "engines": (
        "list of `{name, metrics, role, gpus}`",
        "none",
        "engines, each with its own metrics page; `role`: `server` (default), `prefiller`, `decoder`; `gpus` is optional",
    ),
    "router.discover": (
        "true \\| address",
        "false",
        "ask the router for its workers (`/workers`, `/list_workers` of vllm-router and sglang-router): they are the engines where "
        "`engines` is not given, else a warning says where the two differ. `true`: at the endpoint",
    ),
    "router.engine_header": (
        "text",
        "`x-engine`",
        "header of a response that names the engine that answered",
    ),
    "router.metrics": ("address", "none", "metrics page of the router in front of the engines"),
    "metrics": (
        "list of `{role, url}`",
        "none",
        "metrics pages of the servers; roles `server`, `prefiller`, `decoder`, `mooncake_master` and others",
    ),
    "restart.command": ("text", "none", "shell command on the master that starts the engine again, for the arm `after_restart`"),
    "restart.wait_for": ("address", "ENDPOINT/health", "page that answers 2xx when the engine is back"),
    "restart.timeout_s": ("s", "600", "time for the command and for the engine to come back"),
    "caches": ("list", "none", "how each cache tier is emptied, see below"),
    "events": (
        "list",
        "none",
        "commands that the master runs while a round is under way, see [recovery.md](recovery.md#let-the-master-play-it)",
    ),
    "link_gb_per_s": ("number", "unknown", "slowest link between the GPU and the store, in 10^9 bytes/s"),
    "targets.hit_rate_min": (
        "share",
        "not judged",
        "cached / prompt tokens of the hit rounds, at least this much: 0.6 is 60 % ([evidence](metrics.md#targets))",
    ),
    "targets.hit_ttft_reduction_min": ("share", "not judged", "TTFT on a hit: reduction against cold, at least this much"),
    "targets.hit_throughput_gain_min": ("share", "not judged", "requests/s on a hit: gain against cold, at least this much"),
    "targets.hit_busy_throughput_gain_min": ("share", "not judged", "the same, only while all users are busy"),
    "targets.pd_tpot_increase_max": ("share", "not judged", "PD's TPOT: increase over the single server, at most this much"),
    "targets.pd_hit_ttft_ratio_max": ("ratio", "not judged", "PD's TTFT on a hit over the single server's cold TTFT, at most"),
    "slo.ttft_ms": ("ms", "none", "limit of TTFT for goodput and `--capacity`"),
    "slo.tpot_ms": ("ms", "none", "limit of TPOT"),
    "slo.e2e_ms": ("ms", "none", "limit of the end-to-end latency"),
    "capacity.gpu_tokens": ("tokens", "asked from the server", "size of the GPU's prefix cache"),
    "capacity.cpu_gb": ("GB", "unknown", "size of the host memory tier, in 10^9 bytes"),
    "capacity.store_gb": ("GB", "asked from Mooncake's master", "size of the store, in 10^9 bytes"),
    "leases_s": (
        "mapping of names to seconds",
        "none",
        "TTLs and leases of the tiers, marked in the chart of `locust-kvcache retention`",
    ),
}

CACHE_KEYS = {
    "tier": "`gpu`, `cpu`, `disk` or `store`",
    "kind": "how the tier is emptied, see the next table",
    "target": "URL of the server, `host:port` of a Mooncake master, or the command",
    "metrics": "`mooncake_remove_all`: the master's metrics page, to check that no key is left",
    "python": "`mooncake_remove_all`: Python interpreter with the `mooncake` package",
    "timeout_s": "seconds to wait, 30 by default",
}

VARIABLES = {
    "OPENAI_API_KEY": ("master and every worker", "API key of the server, unless the deployment file names another variable"),
    "KV_WEB_USER": ("master", "user name for `--web-login`, `locust` by default"),
    "KV_WEB_PASSWORD": ("master", "password for `--web-login`"),
    "KV_SPOOL_DIR": ("every worker", "folder of the spool files, `kvcache-spool` in the temporary folder by default"),
    "XDG_STATE_HOME": ("every load host", "folder of the client certificate of this machine, `~/.local/state` by default"),
    "KV_TRACEBACK": ("analysis", "set it to show the traceback of a file that cannot be analysed, for a bug report"),
    "KV_FRESH_PROCESSES": ("test suite", "set it to start each Locust process of the tests from scratch"),
    "KV_ROUTERS": (
        "test suite",
        "environment with vllm-router and sglang-router; without it their tests are skipped ([routers.md](routers.md))",
    ),
}

INTRODUCTION = """# Reference: files, keys and variables

This page is generated from the code by `python -m tests.docs.reference`; do not edit it. A test keeps it up to date.

| you look for | page |
|---|---|
| statuses and fields of a record (`records.jsonl`) | [below](#statuses-of-a-record) |
| keys of a deployment file | [below](#keys-of-a-deployment-file) |
| environment variables | [below](#environment-variables) |
| keys of `run.json`, and the other files of a run | [files.md](files.md#runjson-format-1) |
| keys of a scenario file | [workloads.md](workloads.md#keys) |
| options of the load test | [options.md](options.md) |
| exit codes | [exit-codes.md](exit-codes.md) |
| definition of every metric | [metrics.md](metrics.md) |
"""


def _table(head: str, rows: list[str]) -> list[str]:
    return [head, "|---" * (head.count("|") - 1) + "|", *rows, ""]


def _type(annotation: str) -> str:
    return annotation.replace(" | None", " or null").replace("str", "text")


def _record() -> list[str]:
    fields = dataclasses.fields(Record)
    return [
        "## Statuses of a record",
        "`status` of a record, in `records.jsonl` and in the tables of failures.",
        "",
        *_table("| status | meaning |", [f"| `{name}` | {text} |" for name, text in STATUSES.items()]),
        "## Fields of a record",
        "One line of `records.jsonl` has all of them. An unknown value is null, never 0. Times count from the send",
        "of the request. [metrics.md](metrics.md#one-request) has the definitions.",
        "",
        *_table(
            "| field | type | meaning |",
            [f"| `{each.name}` | {_type(str(each.type))} | {FIELDS[each.name]} |" for each in fields],
        ),
    ]


def _deployment() -> list[str]:
    return [
        "## Keys of a deployment file",
        "`--deployment FILE`. `configs/pd_disagg.yaml` is a complete example; copy it. An unknown key is an error.",
        "",
        *_table(
            "| key | value | default | meaning |",
            [f"| `{key}` | {value} | {default} | {text} |" for key, (value, default, text) in DEPLOYMENT.items()],
        ),
        "Each entry of `caches` empties one tier of one server:",
        "",
        *_table("| key | meaning |", [f"| `{key}` | {text} |" for key, text in CACHE_KEYS.items()]),
        *_table("| kind | what is done |", [f"| `{kind}` | {text} |" for kind, text in KINDS.items()]),
    ]


def _variables() -> list[str]:
    of_options = textwrap.fill(", ".join(f"`{option.variable}`" for option in OPTIONS if option.variable) + ".", 120)
    return [
        "## Environment variables",
        *_table("| variable | read by | meaning |", [f"| `{name}` | {by} | {text} |" for name, (by, text) in VARIABLES.items()]),
        "Options of the load test can be set by a variable too ([options.md](options.md)):",
        of_options,
        "",
        "Locust reads `LOCUST_*` variables for its own options. The compose file has variables of its own:",
        "[deploy.md](deploy.md#on-gpus).",
    ]


def page() -> str:
    return "\n".join([INTRODUCTION, *_record(), *_deployment(), *_variables()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
