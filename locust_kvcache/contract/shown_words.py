"""Lists short texts of the report and the console for the catalogue of translations: words of tables, counts, composed words.

tests/texts.py takes texts of two words or more from the sources themselves; single words there may be columns or codes. Those that a
reader sees stand here.
"""

HEADINGS = (
    "round", "arm", "scenario", "metric", "value", "warning", "error", "note", "verdict", "mean", "median", "rate", "change",
    "requests", "records", "sessions", "users", "workers", "turns", "failed", "succeeded", "prompt", "output", "window", "role",
    "engine", "tier", "share", "lost", "reason", "target", "kind", "deployment", "endpoint", "model", "seed", "nonce", "started",
    "ended", "arrival", "calibration", "versions", "found", "threshold", "evidence", "seconds", "drift", "limit", "goodput",
    "status", "count", "tokens", "level", "step", "rung", "day", "host", "run", "runs", "name", "pairs", "clusters", "ratio",
    "difference", "baseline", "contender", "cause", "message", "tool", "cached", "computed", "expected", "observed", "planned",
    "API", "throughput", "exceptions", "gap", "returns",
)  # fmt: skip
WORDS = (
    "wanted", "interval", "where", "steady", "condition", "state", "differs", "same", "rounds", "folder",
    "cold", "hit", "partial", "racing", "unknown", "control", "contaminated", "repeated", "later", "better", "worse",
    "undecided", "yes", "no", "none", "never", "PASS", "FAIL", "not judged", "complete", "INCOMPLETE", "incomplete", "cuts",
    "raises", "closed", "poisson", "gamma", "constant", "other", "nothing", "measured", "predicted", "reported", "sustained",
    "client-limited", "prefiller", "decoder", "server", "between", "proxy", "gateway", "store", "external", "cache", "queue",
    "prefill", "decode", "scheduled", "slower", "faster", "higher", "lower", "racing, failed and unknown", "warm-up", "single",
    "all", "capacity", "ramp", "memory", "best", "evicted", "granularity", "not stored", "overtaken", "unexplained", "fixed",
    "achieved", "hand-off", "lookup", "load", "save", "front end", "outside the server", "network",
)  # fmt: skip
COMPOSED = (
    "{n} s left", "{n} min left", "{n} h left",
    "At {rate} new tokens/s hits end after {seconds}, {tokens}", "{value} tokens [{low}, {high}]",
    "1 of {n} of this kind", "{run} is {ratio} slower than {names} when cold",
    "{run} is {ratio} slower than {names} on a hit", "{run} is {ratio} slower than {names} in later rounds",
    "{run} is {ratio} faster than {names} when cold", "{run} is {ratio} faster than {names} on a hit",
    "{run} is {ratio} faster than {names} in later rounds", "{run} is as fast as {names} when cold",
    "{run} is as fast as {names} on a hit", "{run} is as fast as {names} in later rounds", "{run} cold", "{run} hit",
    "{run} change", "{name} against {other}", "Means over pairs of the same planned request in the same round",
    "{n} runs of {n2} deployments", "{n} runs of {name}", "{n} run of {name}", "{n} conditions", "{n} condition",
    "{n} deployments", "at {n} user", "at {n} users", "no requests failed", "both rounds", "both cold rounds", "the only round",
    "the only cold round", "requests/s", "tokens/s", "by arm", "{scenario}, round {n} of {n2}",
    "{cache_efficiency} of what could be cached was served from the cache", "all {n} rounds", "all {n} cold rounds",
    "{records} of {planned} planned requests were measured; {failed} failed", "{ratio} slower", "{ratio} faster",
    "{ratio} higher", "{ratio} lower", "cold: {value}", "hit: {value}", "no: {why}", "{arm} (round {round})", "round {n} of {n2}",
    "rounds {numbers}", "{part}, round {round}", "{scenario}, means", "{name}, mean", "{name}, median", "{name}, rate",
    "{share} of {whole}", "{found} (by {known} of {all} requests)", "{values} and {value}", "another cause", "{count} x {cause}",
    "not valid", "analysing", "drawing the report", "calibrating", "warming up", "repeat {n} of {n2}", "{n} cold", "{n} hit",
    "{n} partial", "{n} racing", "{n} unknown", "{n} user on {workers}", "{n} users on {workers}", "wanted at least {threshold}",
    "wanted at most {threshold}", "{records} of {planned} records", "{n} more line in the report", "{n} more lines in the report",
    "{n} more caveat in the report", "{n} more caveats in the report", "round {round} (cold)", "round {round} (hit)",
    "round {round} (control)", "Round {round} (repeated)", "the only {noun}", "both {noun}s",
    "{n} later round", "{n} later rounds", "all {n} later rounds", "both later rounds", "the only later round",
    "overlap (roles at work at the same time) {value}",
    "A GPU hit", "A CPU hit", "A disk hit", "A store hit", "A hit below the GPU", "A hit from several tiers", "A hit, tier unknown",
    "A partial {hit}",
    "{n} hit less than planned", "{n} hit nothing", "{n} not known",
    "{scenario}, warm-up",
    "not comparable", "{value} kind {kind}",
    "{n} exclude no change", "{n} include it (undecided)", "{n} have no interval (too few requests)",
    "{n} independent groups of requests (those that share a prefix, or overlap in time) in {some} of {all} comparisons; the others have "
    "too few requests",
)  # fmt: skip
COUNTED = (
    "{n} search", "{n} searches", "{n} measured figure", "{n} measured figures",
    "{n} return", "{n} returns", "{n} pressure", "{n} pressures",
    "{n} request", "{n} requests", "{n} round", "{n} rounds", "{n} cold round", "{n} cold rounds", "{n} scenario",
    "{n} scenarios", "{n} user", "{n} users", "{n} worker", "{n} workers", "{n} record", "{n} records", "{n} target",
    "{n} targets", "{n} pair", "{n} pairs", "{n} independent cluster", "{n} independent clusters", "{n} cluster", "{n} clusters",
    "{n} caveat", "{n} caveats", "{n} comparison", "{n} comparisons", "{n} more caveat", "{n} more caveats", "{n} more warning",
    "{n} more warnings", "{n} more line", "{n} more lines", "{n} note", "{n} notes", "{n} other scenario", "{n} other scenarios",
    "{n} window", "{n} windows",
    "{n} run", "{n} runs", "{n} step", "{n} steps", "{n} point", "{n} points", "{n} session", "{n} sessions", "{n} token",
    "{n} tokens", "{n} independent groups of requests", "{n} GPU", "{n} GPUs", "{n} engine", "{n} engines", "{n} hypotheses",
    "{n} hit", "{n} hits", "{n} warning", "{n} warnings", "{n} row", "{n} rows", "{n} value", "{n} values", "{n} answer",
    "{n} answers", "{n} failed request", "{n} failed requests", "{n} repeat", "{n} repeats", "{n} chunk", "{n} chunks",
    "{n} block", "{n} blocks", "{n} prompt", "{n} prompts", "{n} prompt token", "{n} prompt tokens", "{n} cached token",
    "{n} cached tokens", "{n} error", "{n} errors", "{n} level", "{n} levels", "{n} cold request", "{n} cold requests",
)  # fmt: skip
