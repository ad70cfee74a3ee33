"""Every option of a load test, declared once; nothing here is computed. docs/options.md is made from this (`make options`)."""

from __future__ import annotations

from locust_kvcache.contract.slo import OBJECTIVES_HELP
from locust_kvcache.loadgen.options.option import DRY_RUN, LOAD, OUTPUT, ROUNDS, SENT, SERVERS, STUDIES, TRACE, Option

ARRIVALS = ("closed", "constant", "poisson", "gamma")
LEVELS = ("rate", "users")
CONTROLS = ("auto", "on", "off")

WHAT_IS_SENT = (
    Option("scenarios", SENT, "Scenarios to run one after another: names (./scenarios/NAME.yaml, else those that come with the "
           "product), or YAML files", shown_default="those of the loaded locustfiles", metavar="NAME", many=True, in_form=True),
    Option("requests", SENT, "Planned requests per round", None, "the scenario's", "N", int, 1, aliases=("num-prompts",), in_form=True),
    Option("prompt-tokens", SENT, "Tokens of a session's first prompt, for a quick run: the prefix and the messages of each scenario "
           "are scaled to it, who shares what stays. Not for traces, files of your own, length distributions and dose_response",
           None, "the scenario's", "N", int, 1, in_form=True),
    Option("output-tokens", SENT, "Tokens of each answer, for a quick run. Not for traces and dose_response",
           None, "the scenario's", "N", int, 1, in_form=True),
    Option("seed", SENT, "Seed of texts, sizes and arrivals", 1, metavar="N", kind=int, in_form=True),
    Option("nonce", SENT, "Stands at the start of every prefix; set it only to repeat a run's prompts on purpose",
           shown_default="fresh for each run, so that no cache knows the prompts", metavar="HEX", in_form=True),
)  # fmt: skip
HOW_IT_IS_SENT = (
    Option("concurrency", LOAD, "Users, one run after another with each number (1 5 10), each with a nonce of its own and so its own "
           "cold round; instead of -u. The runs are compared at the end", shown_default="one run, Locust's -u", metavar="N", many=True,
           in_form=True),
    Option("max-concurrency", LOAD, "One level of --concurrency: so many requests at a time", shown_default="Locust's -u", metavar="N",
           same_as="concurrency"),
    Option("arrival", LOAD, "closed: each user sends its next request when the last one has ended. Others: an open loop at "
           "--request-rate", "closed", choices=ARRIVALS, in_form=True),
    Option("request-rate", LOAD, "Session starts per second over all workers together, for an open loop", None, metavar="R", kind=float,
           low=1e-6, in_form=True),
    Option("burstiness", LOAD, "Shape of gamma arrivals: 1 is Poisson, below 1 burstier, above 1 more even", 1.0, "1", "B", float, 1e-6,
           in_form=True),
    Option("request-timeout", LOAD, "Seconds until a request that is not complete fails", 600.0, "600", "S", float, 0.001, in_form=True),
    Option("outage-limit", LOAD, "Seconds for which a round waits for a server that cannot be reached any more (connections are refused or "
           "cannot be made); then the run ends as incomplete, and --resume can go on. 0: requests fail at once", 60.0, "60", "S", float, 0),
    Option("idle-timeout", LOAD, "Seconds without a single byte until a request fails; must exceed the worst TTFT", None, metavar="S",
           kind=float, low=0.001),
)  # fmt: skip
ROUNDS_AND_CACHES = (
    Option("rounds", ROUNDS, "Rounds per scenario: round 1 is cold, later ones repeat it", None, "the scenario's (2)", "N", int, 1,
           in_form=True),
    Option("arms", ROUNDS, "Rounds by the tier that is to answer: cold, gpu_hit, cpu_hit, store_hit. Before a cpu_hit or store_hit arm "
           "the tiers above it are emptied as the deployment's `caches` say. Instead of --rounds", metavar="ARM", many=True, in_form=True),
    Option("control", ROUNDS, "The cold round once more with fresh prompts of the same lengths: what order, warming up and the day do "
           "without a cache (docs/warm-up-and-control.md). --control alone is on; auto is on with --arms", "auto", choices=CONTROLS,
           alone="on", in_form=True),
    Option("warm-up", ROUNDS, "Requests before each scenario's first round that are not measured: auto (until their TTFT is steady), a "
           "number, or off (docs/warm-up-and-control.md)", "auto", metavar="auto|N|off", in_form=True),
    Option("repeat", ROUNDS, "Complete runs of this load, one after another, each with a nonce and a folder of its own (NAME-1 ...), "
           "summarised together at the end", 1, metavar="N", kind=int, low=1),
    Option("empty-caches", ROUNDS, "Before each scenario's first round empty every tier in the deployment's `caches`, and prove it with "
           "a canary", False, flag=True, in_form=True),
    Option("round-pause", ROUNDS, "Seconds without load between rounds", 0.0, "0", "S", float, 0, in_form=True),
    Option("round-timeout", ROUNDS, "Seconds until a round that is not done ends the run, naming who still has what", None, metavar="S",
           kind=float, low=0.001, in_form=True),
    Option("resume", ROUNDS, "Folder of a cut run to go on with, after its last complete round; the other options as they were",
           metavar="RUN"),
    Option("allow-loss", ROUNDS, "Exit 0 although a worker was lost and requests that it may have sent are marked lost", False, flag=True),
)  # fmt: skip
SERVERS_UNDER_TEST = (
    Option("deployment", SERVERS, "YAML of the deployment under test: a file, or the name of one that comes with the product "
           "(pd_disagg, non_disagg, ...). Without it, Locust's --host is enough", metavar="FILE", in_form=True),
    Option("header", SERVERS, "A header of every request, 'Name: value', once for each header. ${NAME} in the value is read from the "
           "environment of each worker, {session} becomes the session's name (for routers with session affinity)", None,
           shown_default="the deployment's `headers`", metavar="HEADER", repeats=True),
    Option("extra-body", SERVERS, "Fields to add to every request's body: '{\"priority\": 1, \"cache_salt\": \"a\"}'",
           shown_default="the deployment's `extra_body`", metavar="JSON"),
    Option("fold-system", SERVERS, "Send no system message: its text goes in front of the first user message, for models without a system "
           "role", False, "the deployment's `fold_system`", flag=True),
    Option("model", SERVERS, "Model name to request", shown_default="the deployment's, else the only one that the server lists",
           metavar="NAME", in_form=True),
    Option("preflight-only", SERVERS, "Check the deployment, say what is missing and what to do about it, and end; tries the actions of "
           "the deployment's `caches`: they empty its caches", False, flag=True, in_form=True),
    Option("metrics-interval", SERVERS, "Seconds between samples of the servers' metrics pages in a round; 0: only before and after",
           2.0, "2", "S", float, 0, in_form=True),
)  # fmt: skip
WHAT_IS_WRITTEN = (
    Option("output-dir", OUTPUT, "Folder that gets a folder per run", "results", metavar="DIR"),
    Option("run-name", OUTPUT, "Name of the run's folder", shown_default="<deployment>_<model>_<time>", metavar="NAME", in_form=True),
    Option("slo", OUTPUT, OBJECTIVES_HELP, shown_default="the deployment's `slo`", metavar="NAME=MS", many=True, aliases=("goodput",)),
    Option("max-failures", OUTPUT, "Requests that may fail in a run that is still complete: a number, or a share such as 1%", "0",
           metavar="N|SHARE%"),
    Option("gate", OUTPUT, "Exit non-zero when a target is missed (1), or the run is incomplete (2)", False, flag=True),
    Option("no-report", OUTPUT, "Write stats.json, but no report/ at the end of the run", False, flag=True),
    Option("png", OUTPUT, "Write the report's charts as PNG files too, beside the SVG files", False, flag=True),
    Option("metrics-port", OUTPUT, "Serve the client's own metrics for Prometheus at http://HOST:PORT/metrics (master, headless too); "
           "HOST is 127.0.0.1 if it is left out", shown_default="only as /metrics of Locust's page", metavar="[HOST:]PORT"),
)  # fmt: skip
REPLAYED_TRACE = (
    Option("trace", TRACE, "Replay a trace, open loop by its own times: JSON lines or an array with timestamp, input_length, "
           "output_length and hash_ids (Mooncake, Bailian, LiteLLM, AIPerf), or the CSV of BurstGPT or Azure; .gz too "
           "(docs/workloads.md#trace-formats). The file must lie at the same path on every host. -u must cover what is in flight",
           metavar="FILE"),
    Option("trace-speed", TRACE, "Times as fast as it was recorded", 1.0, "1", "X", float, 1e-6),
    Option("trace-window", TRACE, "Seconds of the trace's own clock to replay, 600:1200 for ten minutes of it", shown_default="all",
           metavar="START:STOP"),
    Option("trace-sample", TRACE, "Share of the prompt families (same first two blocks) to keep; what is kept shares as before", 1.0,
           "1", "SHARE", float, 1e-6),
    Option("trace-bursts", TRACE, "Keep bursts: the published traces count in steps of 3 s, and what falls into one is spread over it "
           "otherwise", False, flag=True),
    Option("trace-time-unit", TRACE, "Unit of the trace's timestamps: ms, s, or auto: that of its format, and for a Mooncake trace ms, or "
           "s where the times have fractions and would else be over in a moment", "auto", "auto", "auto|ms|s"),
    Option("trace-block-size", TRACE, "Tokens that one of the file's hash_ids stands for", None, "512; 16 for Bailian's traces", "N",
           int, 1),
    Option("trace-block-tokens", TRACE, "Tokens of a block as it is sent; less than in the file scales every length down, for a server "
           "with a shorter context", None, "as in the file", "N", int, 1),
)  # fmt: skip
SEARCHES = (
    Option("capacity", STUDIES, "Search the highest rate that meets the objectives: cold, hit, or both (docs/capacity.md). Open loop; "
           "poisson unless --arrival says otherwise; --requests of each step (at least 400 if not given); -u must cover what is in flight",
           metavar="SIDE", many=True),
    Option("capacity-of", STUDIES, "What --capacity searches: the rate of an open loop, or the users of a closed one, from -u on", "rate",
           choices=LEVELS),
    Option("capacity-share", STUDIES, "Share of the requests that must be within each objective", 0.9, metavar="Q", kind=float, low=0.01),
    Option("capacity-tolerance", STUDIES, "Width at which the search stops: 0.05 is 5 %", 0.05, metavar="X", kind=float, low=0.001),
    Option("capacity-repeats", STUDIES, "Measurements that must agree at both ends of the interval", 3, metavar="N", kind=int, low=1),
    Option("capacity-steps", STUDIES, "Steps after which a search ends, found or not", 24, metavar="N", kind=int, low=2),
    Option("working-set", STUDIES, "A run of two rounds for each size of the working set in tokens; auto: around what the servers say "
           "they hold", metavar="TOKENS", many=True),
)  # fmt: skip
BUDGET = (
    Option("dry-run", DRY_RUN, "Send nothing: print requests, tokens, duration, cache footprint per tier and cost (docs/budget.md), and "
           "end", False, flag=True),
    Option("gpu-hour-price", DRY_RUN, "Price of one GPU for one hour, for the cost", None, "no cost", "X", float, 0),
    Option("expect", DRY_RUN, "Times to reckon with: cold_ttft_ms=1200 hit_ttft_ms=300 tpot_ms=20", metavar="NAME=MS", many=True),
    Option("expect-from", DRY_RUN, "Folder or stats.json of a former run, whose times to reckon with", metavar="RUN"),
)  # fmt: skip
OPTIONS = (
    *WHAT_IS_SENT, *HOW_IT_IS_SENT, *ROUNDS_AND_CACHES, *SERVERS_UNDER_TEST, *WHAT_IS_WRITTEN, *REPLAYED_TRACE, *SEARCHES, *BUDGET,
)  # fmt: skip
BY_NAME = {option.name: option for option in OPTIONS}
