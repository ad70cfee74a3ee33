"""One analysed run with known truth for all exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from tests.analysis.synthetic import Truth, synthetic_run


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of 6 sessions of 5 turns, with answers of 40 tokens; and a report to hand on."""
    folder = synthetic_run(tmp_path_factory.mktemp("exported") / "run", Truth(noise=0.05, spread_tokens=300))
    (folder / "report").mkdir()
    (folder / "report" / "report.html").write_text("<p>a report</p>")
    return folder


@pytest.fixture(scope="session")
def analysis(exported_run: Path) -> Analysis:
    return analyse_folder(exported_run)
