"""NVML of the master's host: rows as a dcgm-exporter's page would give, and what is missing is said before any load."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import sys
from types import ModuleType

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.server.nvml import Nvml


class NVMLError(Exception):
    pass


def library(found: bool = True) -> ModuleType:
    """Two GPUs; the second tells no energy, as those before Volta."""

    def init() -> None:
        if not found:
            raise NVMLError("Driver Not Loaded")

    def energy(device: int) -> int:
        if device:
            raise NVMLError("Not Supported")
        return 123_456

    made = ModuleType("pynvml")
    given = {
        "NVMLError": NVMLError, "nvmlInit": init, "nvmlDeviceGetCount": lambda: 2, "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetUUID": lambda device: f"GPU-{device}".encode(), "nvmlDeviceGetTotalEnergyConsumption": energy,
        "nvmlDeviceGetPowerUsage": lambda device: 250_500,
    }  # fmt: skip
    for name, value in given.items():
        setattr(made, name, value)
    return made


def test_a_row_has_dcgms_names_and_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())
    row = Nvml().row()
    assert (row["role"], row["url"], row["ok"]) == ("gpu", "nvml", True)
    assert row["samples"] == {
        'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="GPU-0",gpu="0"}': 123_456.0,
        'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-0",gpu="0"}': 250.5,
        'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1",gpu="1"}': 250.5,
    }


def test_what_is_missing_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(BadInput, match="needs the package nvidia-ml-py"):
        Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", library(found=False))
    with pytest.raises(BadInput, match="Driver Not Loaded"):
        Nvml()
