"""Where does the time of a request that computes a few tokens go?

`python floor.py URL MODEL PROFILE_FOLDER` sends prompts of a few tokens and of a repeated 4,096 tokens, one after another, and prints
the time to the first token of each. Then it records one repeated prompt with vLLM's torch profiler and prints how long the GPU of rank 0
was busy with kernels. Needs a server that was started with a profiler folder; the standard library is enough.
"""

from __future__ import annotations

import glob
import gzip
import json
import statistics
import sys
import time
import urllib.request


def post(url: str, body: dict[str, object] | None) -> float:
    """Seconds from the request to the first byte of the answer that holds a token; without a body, to the end of the answer."""
    data = json.dumps(body).encode() if body else b""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
    start_s = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        if body:
            answer.readline()
            first_s = time.perf_counter() - start_s
        answer.read()
    return first_s if body else time.perf_counter() - start_s


def ask(base: str, model: str, token: int, tokens: int) -> float:
    prompt = [1000 + (token * 7919 + place * 31) % 50000 for place in range(tokens)]
    return 1e3 * post(
        base + "/v1/completions", {"model": model, "prompt": prompt, "max_tokens": 4, "ignore_eos": True, "stream": True}
    )


def busy(folder: str) -> None:
    """Prints, for the trace of one rank, the span of all kernels and the time that at least one of them ran."""
    for path in sorted(glob.glob(folder + "/**/*.json*", recursive=True))[:1]:
        with gzip.open(path) if path.endswith("gz") else open(path, "rb") as file:
            events = json.load(file)["traceEvents"]
        kernels = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") == "kernel")
        if not kernels:
            print("no kernel in", path)
            continue
        end, total = kernels[0][0], 0.0
        for begin, stop in kernels:
            total += max(0.0, stop - max(begin, end))
            end = max(end, stop)
        steps = sorted((e["dur"] / 1e3, e["name"]) for e in events if e.get("cat") == "user_annotation" and "dur" in e)[-6:]
        print(f"{path}: {len(kernels)} kernels in {(end - kernels[0][0]) / 1e3:.1f} ms, GPU busy {total / 1e3:.1f} ms")
        print("longest steps, ms:", steps)


def main() -> None:
    base, model, folder = sys.argv[1:4]
    for tokens in (8, 32, 64, 256, 1024, 4096):
        ask(base, model, 1, tokens)
        new = [ask(base, model, 100 + tokens + k, tokens) for k in range(5)]
        again = [ask(base, model, 100 + tokens, tokens) for _ in range(5)]
        print(f"{tokens} tokens: new {statistics.median(new):.1f} ms, repeated {statistics.median(again):.1f} ms", flush=True)
    post(base + "/start_profile", None)
    for _ in range(3):
        print(f"profiled, repeated 4096 tokens: {ask(base, model, 100 + 4096, 4096):.1f} ms", flush=True)
    post(base + "/stop_profile", None)
    time.sleep(3)
    busy(folder)


if __name__ == "__main__":
    main()
