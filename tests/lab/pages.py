"""Converts metrics pages that `record` of tests/lab/h200/run.sh saved to OpenMetrics with times, for promtool.

So the dashboard's queries can be asked of servers that no Prometheus could scrape (docs/lab.md):

    python -m tests.lab.pages results/pages --role 8100=prefiller --role 8200=decoder > pages.txt
    promtool tsdb create-blocks-from openmetrics pages.txt tsdb && prometheus --storage.tsdb.path=tsdb --config.file=/dev/null &
    python -m benchmarks.panels --minutes 6 --end 1795480360 --out panels.png
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

PAGE = re.compile(r"(?P<port>\d+)-(?P<at_s>\d+)\.gz")


def samples(folder: Path, roles: dict[str, str]) -> Iterator[tuple[str, str, float, int]]:
    """(name, labels as text, value, time in s) of every page of a port that has a role, as Prometheus would label them."""
    for path in sorted(folder.iterdir()):
        match = PAGE.fullmatch(path.name)
        if match and match["port"] in roles:
            mine = {"job": "vllm", "role": roles[match["port"]], "instance": f"127.0.0.1:{match['port']}"}
            for family in text_string_to_metric_families(gzip.decompress(path.read_bytes()).decode()):
                for sample in family.samples:
                    labels = ",".join(f'{key}="{value}"' for key, value in sorted({**sample.labels, **mine}.items()))
                    yield sample.name, labels, sample.value, int(match["at_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Recorded metrics pages as OpenMetrics with times.")
    parser.add_argument("folder", type=Path, help="pages as PORT-UNIXTIME.gz")
    parser.add_argument("--role", action="append", required=True, metavar="PORT=ROLE", help="e.g. 8100=prefiller")
    given = parser.parse_args()
    by_name: dict[str, list[str]] = defaultdict(list)  # a name's samples must stand together
    for name, labels, value, at_s in samples(given.folder, dict(text.split("=", 1) for text in given.role)):
        by_name[name].append(f"{name}{{{labels}}} {value} {at_s}")
    for lines in by_name.values():
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.write("# EOF\n")


if __name__ == "__main__":
    main()
