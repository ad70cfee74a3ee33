"""Serves dcgm-exporter's page for emulated GPUs, one a server, that draw a constant power: the energy of any time is known."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge, generate_latest

LABELS = ("gpu", "UUID", "device", "modelName", "Hostname")


def page(gpus: int, watts: float) -> bytes:
    """Energy in mJ since the clock began, power in W."""
    registry = CollectorRegistry()
    energy = Gauge(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "Total energy consumption since boot (in mJ).", LABELS, registry=registry
    )
    power = Gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", LABELS, registry=registry)
    now_s = time.monotonic()
    for number in range(gpus):
        labels = (str(number), f"GPU-emulated-{number}", f"nvidia{number}", "emulated", "emulator")
        energy.labels(*labels).set(watts * now_s * 1000)
        power.labels(*labels).set(watts)
    return generate_latest(registry)
