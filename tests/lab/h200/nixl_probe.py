"""Can NIXL move memory between two processes here, a GPU each, and how fast?

`python nixl_probe.py [cuda|cpu]` prints a line of JSON and exits with 0 if it can. To be asked before two engines are started (90 s):
a UCX whose CUDA module does not load registers no GPU memory, and vLLM finds out only at its first hand-off.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

PART, PARTS, TIMES, GIVE_UP_S = 16 << 20, 32, 3, 40.0


def _agent(name: str, gpu: int, device: str, value: int) -> tuple[Any, Any]:
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    import torch
    from nixl._api import nixl_agent, nixl_agent_config

    memory = torch.full((PART * PARTS,), value, dtype=torch.uint8, device=device)
    if device == "cuda":
        torch.cuda.synchronize()
    agent = nixl_agent(name, nixl_agent_config(backends=["UCX"]))
    agent.register_memory([memory])
    return agent, memory


def _parts(memory: Any) -> list[Any]:
    return list(memory.view(PARTS, PART))


def give(pipe: Connection, device: str) -> None:
    agent, memory = _agent("giver", 0, device, 7)
    pipe.send((agent.get_agent_metadata(), agent.get_serialized_descs(agent.get_xfer_descs(_parts(memory)))))
    pipe.recv()


def take(pipe: Connection, device: str, gpu: int) -> None:
    agent, memory = _agent("taker", gpu, device, 0)
    metadata, described = pipe.recv()
    giver, theirs, ours = (
        agent.add_remote_agent(metadata),
        agent.deserialize_descs(described),
        agent.get_xfer_descs(_parts(memory)),
    )
    seconds = []
    for _ in range(1 + TIMES):  # the first one also connects
        started_s = time.monotonic()
        handle = agent.initialize_xfer("READ", ours, theirs, giver)
        state = agent.transfer(handle)
        while state == "PROC":
            state = agent.check_xfer_state(handle)
        seconds.append(time.monotonic() - started_s)
        if state != "DONE":
            raise RuntimeError(f"NIXL's transfer ended as {state}")
    pipe.send({"ok": bool((memory == 7).all()), "gb_per_s": round(PART * PARTS / sorted(seconds[1:])[TIMES // 2] / 1e9, 2)})


def main() -> int:
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    spawn = multiprocessing.get_context("spawn")
    (left, left_end), (right, right_end) = spawn.Pipe(), spawn.Pipe()
    taker_gpu = int(os.environ.get("D_GPU", "1"))
    processes = [
        spawn.Process(target=give, args=(left_end, device), daemon=True),
        spawn.Process(target=take, args=(right_end, device, taker_gpu), daemon=True),
    ]
    for process in processes:
        process.start()
    left_end.close()  # so that a process that dies is seen as the end of its pipe
    right_end.close()
    found: dict[str, Any] = {"ok": False, "error": f"nothing within {GIVE_UP_S:.0f} s"}
    try:
        if left.poll(GIVE_UP_S):
            right.send(left.recv())
            if right.poll(GIVE_UP_S):
                found = right.recv()
    except EOFError:
        found = {"ok": False, "error": "a process stopped; its error stands above"}
    print(json.dumps({"device": device, "ucx_tls": os.environ.get("UCX_TLS", "all"), **found}), flush=True)
    for process in processes:
        process.kill()
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
