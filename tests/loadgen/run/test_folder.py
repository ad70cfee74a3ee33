"""A run's folder has a name that file systems take, whatever the server calls its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.loadgen.run.folder import create_run_folder


@pytest.mark.parametrize(
    ("model", "part"), [("../../etc/x", "_..-..-etc-x_"), ("m" * 5000, f"_{'m' * 80}_"), ("\x1b[1m\n", "_1m_")]
)
def test_a_models_name_is_a_short_part_of_the_folders(tmp_path: Path, model: str, part: str) -> None:
    folder = create_run_folder(tmp_path, None, "d", model, "")
    assert folder.parent == tmp_path
    assert part in folder.name
