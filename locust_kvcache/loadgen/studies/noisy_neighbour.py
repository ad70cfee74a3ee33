"""Measures for --noisy-neighbour one tenant alone and beside the others, in pairs of runs.

Both runs of a pair send the same requests of the tenant at the same times, each with a nonce of its own; which one comes first changes
from pair to pair.
"""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.studies.study import Master, Study
from locust_kvcache.workload.tenants import alone

DEFAULT_PAIRS = 4
SIDES = ("alone", "beside")


def compare_tenant(master: Master) -> list[Path]:
    options, folders = master.job.options, list[Path]()
    tenant, pairs = options.study.noisy_neighbour, options.repeat if options.repeat > 1 else DEFAULT_PAIRS
    kind = "poisson" if options.arrival == "closed" else options.arrival
    for scenario in master.job.scenarios:
        for pair in range(1, pairs + 1):
            arrival = Arrival(kind, options.request_rate_per_s, options.burstiness, draw=pair)
            for side in SIDES if pair % 2 else SIDES[::-1]:
                console().phase(f"pair {pair} of {pairs}: {tenant} {side}")
                sent = alone(scenario, tenant) if side == "alone" else scenario
                opened = master.open_run([sent], f"_{scenario.name}_{side}{pair}", f"{len(folders) + 1:04x}")
                opened.run.note_study({"tenant": tenant, "side": side, "pair": pair})
                rounds = options.rounds or scenario.rounds
                opened.run.plan_rounds(sent.name, rounds)
                for number in range(1, rounds + 1):
                    opened.play_round(sent, number, arrival, {})
                folders.append(opened.close(analysed=False))
    return folders


NOISY_NEIGHBOUR = Study(compare_tenant, "locust_kvcache.analysis.commands.noisy_neighbour")
