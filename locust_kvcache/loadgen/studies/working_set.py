"""--working-set: sizes in tokens come in, or what the servers say their caches hold; a run of two rounds for each size goes out.

Round 2 repeats round 1 in its order, so a tier that evicts the least recently used loses everything as soon as it is too small.
"""

from __future__ import annotations

import logging
from pathlib import Path

from locust_kvcache.contract.tier_capacity import tier_capacities
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.server.metrics_pages import scrape
from locust_kvcache.loadgen.studies.study import CLOSED, Stage
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.working_set import filling, sweep_sizes

log = logging.getLogger("kvcache")


def sweep_working_set(stage: Stage, options: Options, scenarios: list[Scenario]) -> list[Path]:
    """From the smallest size up; what a smaller size left behind is the least recently used."""
    deployment, info, _ = stage.look(options, scenarios)
    capacities = tier_capacities(scrape(deployment.metrics), info.kv_bytes_per_token if info else None, deployment.capacity)
    sizes = options.study.working_set or sweep_sizes(capacities)
    log.info(
        "working sets of %s tokens; tiers hold %s",
        ", ".join(f"{size:,}" for size in sizes),
        capacities or "nothing that is known",
    )
    folders = []
    for scenario in scenarios:
        for number, size in enumerate(sizes, 1):
            sized, tokens = filling(scenario, size, options.seed)
            run = stage.open_run(options, [sized], f"_{scenario.name}_ws{number:02d}")
            run.note_study({"working_set_tokens": tokens, "capacities_tokens": capacities})
            for round_number in (1, 2):
                run.plan_rounds(sized.name, 2)
                stage.study_round(sized, round_number, CLOSED, {})
            folders.append(stage.close_run())
    return folders
