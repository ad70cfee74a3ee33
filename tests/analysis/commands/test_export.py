"""Exports, CI files, and the code of docs/analysis.md, which must run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pyarrow.parquet as pq
import pytest

from locust_kvcache.analysis.exports import table_files
from locust_kvcache.analysis.exports.table_files import write_table
from tests.analysis.synthetic import Truth, synthetic_run

TRUTH = Truth(sessions=6, turns=5, noise=0.05, spread_tokens=300)
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_tables_as_csv_and_parquet(command, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", TRUTH)
    scrape = {"at_s": 1.0, "role": "server", "url": "u", "scenario": "s", "round": 1, "when": "before", "ok": True, "error": None}
    rows = [{**scrape, "at_s": at, "samples": {'vllm:kv_cache_usage_perc{engine="0"}': at / 10}} for at in (1.0, 2.0)]
    (folder / "server_metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command("analysis.export", folder, "--output-dir", tmp_path / "out", "--format", "both", "--charts")
    assert done.returncode == 0, done.stderr
    csv, parquet = pd.read_csv(tmp_path / "out" / "records.csv"), pd.read_parquet(tmp_path / "out" / "records.parquet")
    assert len(csv) == len(parquet) == 60
    assert csv["ttft_ms"].to_numpy() == pytest.approx(parquet["ttft_ms"].to_numpy())
    assert {"window", "round_window", "prefill_estimate_ms"} <= set(csv)
    metrics = pd.read_csv(tmp_path / "out" / "server_metrics.csv")
    assert metrics[["metric", "labels", "value"]].to_numpy().tolist()[1] == ["vllm:kv_cache_usage_perc", 'engine="0"', 0.2]
    assert (tmp_path / "out" / "charts" / "gauge-vllm-kv-cache-usage-perc.svg").is_file()
    for name in ("rounds", "windows", "distributions", "effects", "targets", "cache"):
        assert len(pd.read_parquet(tmp_path / "out" / f"{name}.parquet")) > 0


def test_texts_that_a_spreadsheet_would_compute_are_texts(tmp_path: Path) -> None:
    table = pd.DataFrame({"error": ["=cmd()", "+1", "-2", "@x", "plain", None], "delta": [-1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})
    (path,) = write_table("records", table.assign(status=table["error"].astype("category")), tmp_path, ("csv",))
    read = pd.read_csv(path)
    assert read["error"].tolist()[:5] == read["status"].tolist()[:5] == ["'=cmd()", "'+1", "'-2", "'@x", "plain"]
    assert read["delta"].tolist()[0] == -1.0
    assert read["error"].isna().tolist()[5]


def test_a_table_in_parts_is_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows, two at a time; `told` is missing in the first part, and `count` in the last."""
    table = pd.DataFrame({
        "told": pd.Categorical([None, None, "a", "=b", "a", None, "a"]), "text": [None, None, "x", "y", "z", None, "=1"],
        "count": [1.0, 2.0, 0.1, 4.0, 5.0, 6.0, None], "ok": [True, False, True, True, True, True, True], "round": range(7),
    })  # fmt: skip
    (tmp_path / "parts").mkdir()
    whole = write_table("records", table, tmp_path, ("csv", "parquet"))
    monkeypatch.setattr(table_files, "ROWS_AT_A_TIME", 2)
    parts = write_table("records", table, tmp_path / "parts", ("csv", "parquet"))
    assert parts[0].read_bytes() == whole[0].read_bytes()
    assert pq.ParquetFile(parts[1]).num_row_groups == 4
    assert pq.read_schema(parts[1]).equals(pq.read_schema(whole[1]), check_metadata=True)
    pd.testing.assert_frame_equal(pd.read_parquet(parts[1]), table)


@pytest.mark.slow
def test_files_for_ci(command, tmp_path: Path) -> None:
    targets = {"hit_ttft_reduction_min": 0.5, "hit_throughput_gain_min": 9.0, "pd_tpot_increase_max": 0.2}
    folder = synthetic_run(tmp_path / "run", TRUTH, targets=targets)
    files = [tmp_path / "ci" / name for name in ("junit.xml", "gate.json", "summary.md")]
    done = command("analysis", folder, "--no-report", "--gate", "--junit", files[0], "--json", files[1], "--summary", files[2])
    assert done.returncode == 1
    suite = ElementTree.fromstring(files[0].read_text())
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "0", "skipped": "1"}  # fmt: skip
    outcome = json.loads(files[1].read_text())
    assert (outcome["exit_code"], outcome["cause"]) == (1, "target missed")
    assert {row["verdict"] for row in outcome["targets"]} == {"pass", "fail", "not judged"}
    assert files[2].read_text().startswith("### KV cache: synthetic: target missed")
    compared = command(
        "analysis.compare_results", folder / "stats.json", synthetic_run(tmp_path / "other", TRUTH, users=3), "--junit", files[0]
    )
    assert compared.returncode == 0
    assert 'errors="1"' in files[0].read_text()
    assert command("analysis", folder, folder, "--no-report", "--json", files[1]).returncode == 3


@pytest.mark.slow
def test_the_code_in_the_documentation_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "analysis.md").read_text(), flags=re.S)
    assert len(blocks) == 2
    names: dict = {"RUN": synthetic_run(tmp_path, TRUTH)}
    for block in blocks:
        exec(block, names)
    assert names["by_round"].index.tolist() == [1, 2]
    assert len(names["ttft"]) == 1
    assert names["fit"] is not None
