"""Completes the records of a run whose master died, from the spools of its workers.

locust-kvcache merge-spool RUN SPOOL...      SPOOL: a worker's .jsonl file, or a folder of them
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.reading.record_lines import lines_of, replace_records
from locust_kvcache.analysis.reading.runs import read_run_json
from locust_kvcache.contract.command import command_parser
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import LOST
from locust_kvcache.contract.record_files import record_files

Key = tuple[Any, ...]


def spool_files(given: Iterable[str]) -> list[Path]:
    """The spool files named, folders searched; BadInput if one is not there."""
    files: list[Path] = []
    for name in given:
        path = Path(name)
        found = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise BadInput(f"{path}: holds no spool; expected a worker's .jsonl file, or a folder of them (docs/distributed.md)")
        files += found
    return files


def records_of(path: Path, run_id: str) -> Iterator[tuple[Key, str, bytes]]:
    """(identity, status, line) of each whole record of that run; a torn last line is left out."""
    for raw in lines_of(path):
        line = raw.decode("utf-8", "replace")
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("run_id") == run_id:
            key = (record.get("concurrency"), record.get("scenario"), record.get("round"), record.get("request_index"))
            yield key, str(record.get("status")), line.encode()


def merge(run: Path, spools: Iterable[Path]) -> int:
    """Add to the records what only the spools hold; a `lost` record gives way to the real one. The number of records added."""
    info = read_run_json(run)
    run_id, held = str(info["run_id"]), record_files(run)
    lines: dict[Key, tuple[str, bytes]] = {}
    for path in [*held, *spools]:
        for key, status, line in records_of(path, run_id):
            if key not in lines or lines[key][0] == LOST:
                lines[key] = (status, line)
    before = {key for path in held for key, status, _ in records_of(path, run_id) if status != LOST}
    added = sum(status != LOST for status, _ in lines.values()) - len(before)
    if not added:
        return 0
    replace_records(run, (line for _, line in lines.values()))
    info.setdefault("warnings", []).append(f"{added} records were merged from workers' spools after the run")
    if info.get("ended_at") is None:
        info["incomplete_reason"] = "the master died; records were merged from workers' spools"
    text = run / "run.partial"
    text.write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    text.replace(run / "run.json")
    return added


def main(argv: list[str] | None = None) -> int:
    parser = command_parser(
        "merge-spool",
        "Completes the records of a run whose master died with those that only its workers' spools hold.",
        ["results/NAME worker1/spool worker2/spool"],
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder, e.g. results/NAME")
    parser.add_argument("spools", metavar="SPOOL", nargs="+", help="spool files of its workers, or folders of them")
    given = parser.parse_args(argv)
    try:
        added = merge(Path(given.run), spool_files(given.spools))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    print(f"{added} records added to {given.run}. The report again: locust-kvcache report {given.run}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
