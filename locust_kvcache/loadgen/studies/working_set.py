"""Measures for --working-set a run of two rounds for each size, by default around what the servers say their caches hold.

Round 2 repeats round 1 in its order, so a tier that evicts the least recently used loses everything as soon as it is too small.
"""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.contract.language import told
from locust_kvcache.contract.tier_capacity import tier_capacities
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.studies.study import CLOSED, Master, Study
from locust_kvcache.workload.working_set import filling, sweep_sizes


def sweep_working_set(master: Master) -> list[Path]:
    """From the smallest size up; what a smaller size left behind is the least recently used."""
    look, job = master.look, master.job
    deployment = job.deployment
    capacities = tier_capacities(scrape(deployment.metrics, deployment.access), look.kv_bytes_per_token, deployment.capacity)
    sizes = job.options.study.working_set or sweep_sizes(capacities)
    held = ", ".join(f"{tier} {tokens:,}" for tier, tokens in capacities.items()) or "unknown"
    listed = ", ".join(f"{size:,}" for size in sizes)
    console().say(told(f"working sets of {listed} tokens; tier sizes in tokens: {held}"))
    folders: list[Path] = []
    for scenario in job.scenarios:
        for number, size in enumerate(sizes, 1):
            sized, tokens = filling(scenario, size, job.options.seed)
            opened = master.open_run([sized], f"_{scenario.name}_ws{number:02d}", f"{len(folders) + 1:04x}")
            opened.run.note_study({"working_set_tokens": tokens, "capacities_tokens": capacities})
            for round_number in (1, 2):
                opened.run.plan_rounds(sized.name, 2)
                opened.play_round(sized, round_number, CLOSED, {})
            folders.append(opened.close(analysed=False))
    return folders


WORKING_SET = Study(sweep_working_set, "locust_kvcache.analysis.commands.working_set")
