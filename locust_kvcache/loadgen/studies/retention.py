"""Measures for --gaps how long the caches keep a prompt: a run for each gap, and for each pressure of --background.

In every run prompts return after about that gap while new prompts turn the caches over; nothing else is ever hit, so that a round's
counters are those of the prompts that returned.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from locust_kvcache.contract.tier_capacity import tier_capacities
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.studies.study import Master, Study
from locust_kvcache.workload.apis import with_api
from locust_kvcache.workload.retention import retention_scenario

BY_DUE_TIME = Arrival("trace", None, 1.0)


def measure_retention(master: Master) -> list[Path]:
    look, job = master.look, master.job
    deployment = job.deployment
    capacities = tier_capacities(scrape(deployment.metrics, deployment.access), look.kv_bytes_per_token, deployment.capacity)
    leases_s = {**deployment.leases_s, **job.options.study.leases_s}
    folders: list[Path] = []
    for number, returns in enumerate(job.options.study.returns, 1):
        console().phase(f"run {number} of {len(job.options.study.returns)}: {returns.note}")
        scenario = with_api(retention_scenario(returns), job.options.api)
        opened = master.open_run([scenario], f"_gap{number:02d}", f"{number:04x}")
        opened.run.note_study(
            {"returns": dataclasses.asdict(returns), "capacities_tokens": capacities, "leases_s": leases_s},
        )
        opened.run.plan_rounds(scenario.name, 1)
        opened.play_round(scenario, 1, BY_DUE_TIME, {})
        folders.append(opened.close(analysed=False))
    return folders


RETENTION = Study(measure_retention, "locust_kvcache.analysis.commands.retention")
