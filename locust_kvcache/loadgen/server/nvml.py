"""Reads energy and power of this host's GPUs from NVML, as rows like those of a metrics page, under DCGM's names.

For a master that runs on the GPU host (`--nvml`). nvidia-ml-py is an extra: pip install 'locust-kvcache[nvml]'.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from typing import Any

from locust_kvcache.contract.errors import BadInput

ROLE, URL = "gpu", "nvml"
ENERGY, POWER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE"  # mJ, W


class Nvml:
    """Opened once for a run. BadInput says what is missing on this host."""

    def __init__(self) -> None:
        try:
            self._library: Any = importlib.import_module("pynvml")
        except ImportError as error:
            raise BadInput("--nvml needs the package nvidia-ml-py on the master: pip install 'locust-kvcache[nvml]'") from error
        try:
            self._library.nvmlInit()
            count = self._library.nvmlDeviceGetCount()
        except self._library.NVMLError as error:
            raise BadInput(f"--nvml: this host's NVML cannot be used ({error}). It is for a master on the GPU host; elsewhere add the page "
                           "of a dcgm-exporter to `metrics` in the deployment file") from error  # fmt: skip
        self._devices = [self._library.nvmlDeviceGetHandleByIndex(number) for number in range(count)]

    def row(self) -> dict[str, Any]:
        """A row of server_metrics.jsonl; what a GPU does not tell is left out."""
        samples: dict[str, float] = {}
        for number, device in enumerate(self._devices):
            labels = f'{{UUID="{self._uuid(device)}",gpu="{number}"}}'
            for name, ask, factor in (
                (ENERGY, "nvmlDeviceGetTotalEnergyConsumption", 1.0),
                (POWER, "nvmlDeviceGetPowerUsage", 1e-3),
            ):
                with contextlib.suppress(self._library.NVMLError):
                    samples[name + labels] = getattr(self._library, ask)(device) * factor
        return {"at_s": time.time(), "role": ROLE, "url": URL, "ok": True, "error": None, "samples": samples}

    def _uuid(self, device: Any) -> str:
        found = self._library.nvmlDeviceGetUUID(device)
        return found.decode() if isinstance(found, bytes) else str(found)
