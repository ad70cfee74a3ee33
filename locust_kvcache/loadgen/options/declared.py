"""Declares every option of a load test, once. docs/options.md is made from this (`make options`)."""

from __future__ import annotations

from locust_kvcache.contract.language import BY_LOCALE, LANGUAGES
from locust_kvcache.contract.language import HELP as LANGUAGE_HELP
from locust_kvcache.contract.record_files import FORMATS, JSONL
from locust_kvcache.contract.slo import OBJECTIVES_HELP
from locust_kvcache.contract.targets import TARGETS_HELP
from locust_kvcache.loadgen.options.option import DRY_RUN, LOAD, OUTPUT, ROUNDS, SENT, SERVERS, STUDIES, TRACE, Option
from locust_kvcache.workload.apis import APIS

ARRIVALS = ("closed", "constant", "poisson", "gamma")
LEVELS = ("rate", "users")
CONTROLS = ("auto", "on", "off")

WHAT_IS_SENT = (
    Option("scenarios", SENT, "Scenarios to run, one after another: names (./scenarios/NAME.yaml, or an installed "
           "scenario), or YAML files", shown_default="those of the loaded locustfiles", metavar="NAME", many=True, in_form=True),
    Option("api", SENT, "API to send to: chat (/v1/chat/completions), completions (/v1/completions), responses (/v1/responses), messages "
           "(Anthropic's /v1/messages), generate (vLLM's /inference/v1/generate, for --trace and --gaps). "
           "docs/servers.md#apis", shown_default="the scenario's `api`", choices=APIS),
    Option("requests", SENT, "Planned requests per round", None, "the scenario's", "N", int, 1, aliases=("num-prompts",), in_form=True),
    Option("prompt-tokens", SENT, "Tokens of a session's first prompt, for a quick run. Prefix and messages of each scenario "
           "are scaled to it; shared parts stay shared. Not for traces, your own files, length "
           "distributions and dose_response", None, "the scenario's", "N", int, 1, in_form=True),
    Option("output-tokens", SENT, "Tokens of each answer, for a quick run. Not for traces and dose_response",
           None, "the scenario's", "N", int, 1, in_form=True),
    Option("cache-salt", SENT, "The vLLM field cache_salt of every request, made from a template: '{session}', '{user}' and '{tenant}' "
           "are replaced for each request. Prefixes with different salts share nothing; the planned hits take that into account",
           shown_default="the scenario's `identity`", metavar="TEXT"),
    Option("echo-header", SENT, "Response header that later requests of the session send back, such as x-session-token for "
           "llm-d's session affinity; repeat the option for more", None, shown_default="the scenario's `identity`",
           metavar="NAME", repeats=True),
    Option("gap-scale", SENT, "Factor for the waits between the turns of a session (think times, tool times): 0.1 makes them a "
           "tenth, 0 removes them", 1.0, "1", "X", float, 0),
    Option("max-gap", SENT, "Longest wait between the turns of a session, in seconds; longer waits are shortened to it, also in recorded "
           "sessions", None, "no limit", "S", float, 0),
    Option("seed", SENT, "Seed of texts, lengths and arrivals", 1, metavar="N", kind=int, in_form=True),
    Option("nonce", SENT, "Text at the start of every prefix. Set it only to repeat the prompts of an earlier run",
           shown_default="new for each run, so that no cache has the prompts", metavar="HEX", in_form=True),
)  # fmt: skip
HOW_IT_IS_SENT = (
    Option("concurrency", LOAD, "Users: one run with each number (1 5 10), compared at the end. Each run has its own nonce "
           "and its own cold round. Used instead of -u",
           shown_default="one run, Locust's -u", metavar="N", many=True, in_form=True),
    Option("max-concurrency", LOAD, "Open requests at a time; the same as --concurrency with one number",
           shown_default="Locust's -u", metavar="N", same_as="concurrency"),
    Option("arrival", LOAD, "closed: each user sends its next request when the last one has ended. constant, poisson, gamma: "
           "an open loop at --request-rate", "closed", choices=ARRIVALS, in_form=True),
    Option("request-rate", LOAD, "Session starts per second over all workers together, in an open loop",
           None, metavar="R", kind=float, low=1e-6, in_form=True),
    Option("burstiness", LOAD, "Shape of gamma arrivals: 1 is Poisson, below 1 is burstier, above 1 is more even",
           1.0, "1", "B", float, 1e-6, in_form=True),
    Option("request-timeout", LOAD, "Seconds after which an incomplete request fails",
           600.0, "600", "S", float, 0.001, in_form=True),
    Option("outage-limit", LOAD, "Seconds that a round waits for a server that refuses connections. After that the run ends "
           "as incomplete, and can be resumed with --resume. 0: requests fail at once", 60.0, "60", "S", float, 0),
    Option("idle-timeout", LOAD, "Seconds without any received byte after which a request fails; must be longer than the longest TTFT",
           None, metavar="S", kind=float, low=0.001),
)  # fmt: skip
ROUNDS_AND_CACHES = (
    Option("rounds", ROUNDS, "Rounds per scenario: round 1 is cold, later rounds repeat it",
           None, "the scenario's (2)", "N", int, 1, in_form=True),
    Option("arms", ROUNDS, "Rounds by the cache tier that should answer: cold, gpu_hit, cpu_hit, disk_hit, store_hit. "
           "Before the last three, the tiers above are emptied by the deployment's `caches`. after_restart: hits after "
           "the deployment's `restart` command. Used instead of "
           "--rounds", metavar="ARM", many=True, in_form=True),
    Option("control", ROUNDS, "Repeat the cold round with fresh prompts of the same lengths, to measure what changes without a "
           "cache (docs/warm-up-and-control.md). --control alone means on; auto means on with --arms",
           "auto", choices=CONTROLS, alone="on", in_form=True),
    Option("warm-up", ROUNDS, "Requests before each scenario's first round that are not measured: auto (until the TTFT is "
           "steady), a number, or off (docs/warm-up-and-control.md)", "auto", metavar="auto|N|off", in_form=True),
    Option("repeat", ROUNDS, "Number of complete runs of this load, one after another, with a summary at the end. Each has "
           "its own nonce and folder (NAME-1 ...)", 1, metavar="N", kind=int, low=1),
    Option("settle-timeout", ROUNDS, "Longest time in seconds that a round of --arms waits for a store to finish its puts; "
           "after that the round begins with a warning", 60.0, "60", "S", float, 3),
    Option("empty-caches", ROUNDS, "Empty every tier in the deployment's `caches` before each scenario's first round, and "
           "check it with a canary", False, flag=True, in_form=True),
    Option("round-pause", ROUNDS, "Seconds without load between rounds", 0.0, "0", "S", float, 0, in_form=True),
    Option("round-time", ROUNDS, "Length of each round, such as 300, 90s, 5m or 1h: requests are started for that time, and open "
           "requests are completed. The plan is repeated with fresh prompts; --requests is the length of one pass (docs/timed-rounds.md). "
           "Locust's -t without --requests is the time of all rounds together",
           shown_default="rounds end with their last planned request", metavar="TIME", in_form=True),
    Option("round-warm-up", ROUNDS, "Share at the beginning of each timed round that is recorded but left out of the statistics",
           0.1, "0.1", "SHARE", float, 0),
    Option("round-timeout", ROUNDS, "Seconds after which an unfinished round ends the run; the message names the workers that "
           "still have requests", None, metavar="S", kind=float, low=0.001, in_form=True),
    Option("abort-if", ROUNDS, "Rule that ends the run with exit code 8 when it is true, such as error_rate>5%/60s, "
           "ttft_p90_ms>8000/60s or hit_rate<20%/2m; repeat the option for more (docs/monitoring.md#end-a-run-by-an-alert)",
           None, shown_default="none", metavar="RULE", repeats=True),
    Option("resume", ROUNDS, "Resume an interrupted run, after its last complete round. Give its folder, and the same other "
           "options", metavar="RUN"),
    Option("allow-loss", ROUNDS, "Exit with 0 even if a worker was lost and some requests are marked lost", False, flag=True),
)  # fmt: skip
SERVERS_UNDER_TEST = (
    Option("deployment", SERVERS, "YAML file of the deployment under test, or the name of an installed one (pd_disagg, "
           "non_disagg, ...). Without it, Locust's --host is enough", metavar="FILE", in_form=True),
    Option("header", SERVERS, "Header of every request, 'Name: value'; repeat the option for more. ${NAME} is read from the "
           "environment of each worker, {session} is replaced by the session's name (for routers with session "
           "affinity), {user} and {tenant} by those of the scenario's `identity`",
           None, shown_default="the deployment's `headers`", metavar="HEADER", repeats=True),
    Option("extra-body", SERVERS, "Fields to add to every request's body, as JSON: '{\"priority\": 1, \"cache_salt\": \"a\"}'",
           shown_default="the deployment's `extra_body`", metavar="JSON"),
    Option("fold-system", SERVERS, "Send no system message; put its text in front of the first user message. For models "
           "without a system role", False, "the deployment's `fold_system`", flag=True),
    Option("model", SERVERS, "Model name to request", shown_default="the deployment's, else the only one that the server lists",
           metavar="NAME", in_form=True),
    Option("preflight-only", SERVERS, "Check the deployment, say what is missing and what to do about it, and exit. The check "
           "empties the caches listed in the deployment's `caches`", False, flag=True, in_form=True),
    Option("no-events", SERVERS, "Leave out the deployment's `events`: the same load without the fault, to compare with "
           "(docs/recovery.md)", False, flag=True),
    Option("nvml", SERVERS, "Read power and energy of this host's GPUs from NVML; the master must run on the GPU host "
           "(pip install 'locust-kvcache[nvml]'; docs/cost.md)", False, flag=True),
    Option("metrics-interval", SERVERS, "Seconds between samples of the servers' metrics pages during a round; 0: only before "
           "and after the round", 2.0, "2", "S", float, 0, in_form=True),
)  # fmt: skip
WHAT_IS_WRITTEN = (
    Option("output-dir", OUTPUT, "Folder in which each run gets its own folder", "results", metavar="DIR"),
    Option("run-name", OUTPUT, "Name of the run's folder", shown_default="<deployment>_<model>_<time>", metavar="NAME", in_form=True),
    Option("slo", OUTPUT, OBJECTIVES_HELP, shown_default="the deployment's `slo`", metavar="NAME=MS", many=True, aliases=("goodput",)),
    Option("targets", OUTPUT, TARGETS_HELP, shown_default="the deployment's and the model's; targets given here override single ones",
           metavar="NAME=NUMBER", many=True),
    Option("max-failures", OUTPUT, "Requests that may fail in a run that still counts as complete: a number, or a share such "
           "as 1%", "0", metavar="N|SHARE%"),
    Option("gate", OUTPUT, "Exit with a code other than 0 if a target is missed (1) or the run is incomplete (2); see "
           "docs/exit-codes.md", False, flag=True),
    Option("no-report", OUTPUT, "Write stats.json, but no report/", False, flag=True),
    Option("png", OUTPUT, "Write the report's charts as PNG files too", False, flag=True),
    Option("records-format", OUTPUT, "jsonl: one file, records.jsonl. parquet, for long runs: parts of 100,000 records or 10 minutes as "
           "Parquet files in records.d, a tenth of the size (docs/files.md#records-as-parquet-files)", JSONL, choices=FORMATS),
    Option("upload", OUTPUT, "Copy the folder of each run to this address when its report is written, e.g. s3://bucket/prefix; the "
           "local folder is kept (docs/files.md#in-a-bucket)", metavar="URL"),
    Option("lang", OUTPUT, LANGUAGE_HELP, shown_default=BY_LOCALE, choices=LANGUAGES),
    Option("locust-tables", OUTPUT, "Print Locust's own statistics tables too, every 2 seconds and at the end", False, flag=True),
    Option("metrics-port", OUTPUT, "Serve the client's metrics for Prometheus at http://HOST:PORT/metrics (on the master, "
           "headless too); HOST is 127.0.0.1 by default",
           shown_default="only as /metrics of Locust's page", metavar="[HOST:]PORT"),
)  # fmt: skip
REPLAYED_TRACE = (
    Option("trace", TRACE, "Replay a trace at its own times (open loop). JSON lines or an array with timestamp, input_length, "
           "output_length and hash_ids (Mooncake, Bailian, LiteLLM, AIPerf), "
           "recorded sessions (Weka, OpenTelemetry, OpenAI logs), or the CSV of "
           "BurstGPT or Azure; "
           ".gz too (docs/workloads.md#trace-formats). The file must be at the same path on every host. -u "
           "must be at least the peak number of open requests", metavar="FILE"),
    Option("trace-speed", TRACE, "Speed of the replay: 2 is twice as fast as recorded", 1.0, "1", "X", float, 1e-6),
    Option("trace-window", TRACE, "Part of the trace to replay, in seconds of its own clock: 600:1200 is ten minutes",
           shown_default="all", metavar="START:STOP"),
    Option("trace-sample", TRACE, "Share of the prompt families (same first two blocks) to keep. Families are kept whole, so "
           "the shared prefixes do not change", 1.0, "1", "SHARE", float, 1e-6),
    Option("trace-bursts", TRACE, "Send all requests of one time stamp at once. By default they are spread, because published "
           "traces have steps of 3 s", False, flag=True),
    Option("trace-time-unit", TRACE, "Unit of the time stamps: ms, s, us, ns, or auto. auto follows the format; a Mooncake trace is "
           "in ms, or in s if its times have fractions and the trace would otherwise be over in a "
           "moment", "auto", "auto", "auto|ms|s|us|ns"),
    Option("trace-block-size", TRACE, "Tokens per hash_id of the file", None, "512; 16 for Bailian's traces", "N", int, 1),
    Option("trace-block-tokens", TRACE, "Tokens to send per block. Fewer than in the file shortens all prompts, for a server "
           "with a shorter context", None, "as in the file", "N", int, 1),
)  # fmt: skip
SEARCHES = (
    Option("capacity", STUDIES, "Search the highest rate that meets the objectives: cold, hit, or both (docs/capacity.md). "
           "Open loop, Poisson unless --arrival is given. --requests per step (default: at least 400). "
           "-u must be at least the peak number of open requests", metavar="SIDE", many=True),
    Option("capacity-of", STUDIES, "Quantity that --capacity searches: the rate of an open loop, or the users of a closed loop, "
           "starting at -u", "rate", choices=LEVELS),
    Option("capacity-share", STUDIES, "Share of the requests that must be within each objective", 0.9, metavar="Q", kind=float, low=0.01),
    Option("capacity-tolerance", STUDIES, "Relative width at which the search stops: 0.05 is 5 %",
           0.05, metavar="X", kind=float, low=0.001),
    Option("capacity-repeats", STUDIES, "Measurements that must agree at both ends of the interval", 3, metavar="N", kind=int, low=1),
    Option("capacity-steps", STUDIES, "Largest number of steps of a search", 24, metavar="N", kind=int, low=2),
    Option("working-set", STUDIES, "Sizes of the working set in tokens; one run of two rounds for each. auto: sizes around "
           "the cache sizes that the servers report", metavar="TOKENS", many=True),
    Option("gaps", STUDIES, "Measure how long the caches keep a prompt: gaps in seconds after which prompts return, one run for each. "
                            "--background "
           "fills the caches meanwhile (docs/retention.md). auto: 1 s to 1 h", metavar="SECONDS", many=True),
    Option("background", STUDIES, "With --gaps: new prompt tokens per second; several values distinguish a limit in tokens from a "
                                  "limit in time",
           metavar="TOKENS/S", many=True),
    Option("returns", STUDIES, "With --gaps: number of returning prompts for each gap", 20, metavar="N", kind=int, low=4),
    Option("lease", STUDIES, "With --gaps: a TTL or lease to mark in the chart, such as "
                             "default_kv_lease_ttl=5", metavar="NAME=S", many=True,
           shown_default="the deployment's `leases_s`"),
    Option("noisy-neighbour", STUDIES, "Tenant of the scenario to measure alone and together with the others, in --repeat pairs of runs "
           "(default: 4) with the same requests at the same times (docs/tenants.md). Open loop, Poisson unless --arrival is given",
           metavar="TENANT"),
)  # fmt: skip
BUDGET = (
    Option("dry-run", DRY_RUN, "Send nothing: print requests, tokens, duration, cache footprint and cost (docs/budget.md), "
           "and exit", False, flag=True),
    Option("gpu-hour-price", DRY_RUN, "Price of one GPU for one hour, in any currency: shows the cost of a dry run, and of each "
           "round in the report (docs/cost.md)", None, "the deployment's `price_per_gpu_hour`", "X", float, 0),
    Option("gb-month-price", DRY_RUN, "Price of a GB (10^9 bytes) of the KV store for one month: shows how often a stored prompt must "
                                      "be reused "
           "to pay (docs/cost.md)", None, "the deployment's `price_per_gb_month`", "X", float, 0),
    Option("expect", DRY_RUN, "Expected times for --dry-run: cold_ttft_ms=1200 hit_ttft_ms=300 tpot_ms=20",
           metavar="NAME=MS", many=True),
    Option("expect-from", DRY_RUN, "Earlier run (folder or stats.json) to take the expected times from", metavar="RUN"),
)  # fmt: skip
OPTIONS = (
    *WHAT_IS_SENT, *HOW_IT_IS_SENT, *ROUNDS_AND_CACHES, *SERVERS_UNDER_TEST, *WHAT_IS_WRITTEN, *REPLAYED_TRACE, *SEARCHES, *BUDGET,
)  # fmt: skip
BY_NAME = {option.name: option for option in OPTIONS}
