"""Prometheus' configuration and every panel of the dashboard: parsed by promtool, then asked of a real Prometheus while a load runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import yaml

from benchmarks.panels import DASHBOARD, Line, _with_gaps, draw, expressions, panels
from tests.conftest import ROOT, wait_for
from tests.loadgen.master.test_coordinator import swarm
from tests.monitoring.servers import FIXTURES, emulator, prometheus, recorded, web_ui

REAL_PAGES = ("vllm_prefiller", "vllm_decoder", "lmcache_in_process", "lmcache_server", "mooncake_client", "mooncake_master")
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="no prometheus and promtool on this machine"
)
PICTURES = os.environ.get("KV_PICTURES")
REQUESTS = "60" if PICTURES else "20"  # a round: what a picture shows, or what gives each query a figure


def test_the_dashboard_is_what_its_table_gives() -> None:
    build = ROOT / "configs" / "grafana" / "build_dashboard.py"
    built = subprocess.run(["python3", str(build)], capture_output=True, text=True, check=True).stdout
    assert json.loads(built) == json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in json.loads(built)["panels"]]
    assert len(ids) == len(set(ids))


def test_grafana_finds_data_source_and_dashboards_where_compose_puts_them() -> None:
    provisioning = ROOT / "configs" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "kvcache.yml").read_text())["providers"]
    mounted = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./configs/grafana/dashboards:{provider['options']['path']}:ro" in mounted
    used = {panel["datasource"]["uid"] for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_every_target_is_a_service_of_compose_at_its_port() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for job in yaml.safe_load((ROOT / "configs" / "prometheus.yml").read_text())["scrape_configs"]:
        for target in (target for group in job["static_configs"] for target in group["targets"]):
            name, port = target.split(":")
            assert any(text.endswith(f":{port}:{port}") for text in map(str, services[name]["ports"])), target


@pytest.mark.parametrize("prefix", ["vllm:", "lmcache:", "lmcache_mp_", "mooncake_", "master_"])
def test_every_name_stands_on_a_real_page(prefix: str) -> None:
    real = "\n".join((FIXTURES / f"{name}.prom").read_text() for name in REAL_PAGES)
    exposed = set(re.findall(r"^([a-zA-Z_:][\w:]*)", real, re.MULTILINE))
    asked = {name for *_, expr in expressions() for name in re.findall(rf"(?<![\w:]){prefix}\w+", expr)}
    assert asked
    assert asked <= exposed


def test_a_line_ends_where_data_is_missing() -> None:
    times_s, values = _with_gaps(Line("x", [0.0, 5.0, 10.0, 60.0, 65.0], [1.0, 2.0, 3.0, 4.0, 5.0]), factor=10)
    assert times_s == [0.0, 5.0, 10.0, 60.0, 60.0, 65.0]
    assert [None if value != value else value for value in values] == [10.0, 20.0, 30.0, None, 40.0, 50.0]
    assert _with_gaps(Line("x", [], []), factor=10) == ([], [])


@needs_prometheus
def test_promtool_accepts_configuration_and_queries(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "config", "--syntax-only", str(ROOT / "configs" / "prometheus.yml")], check=True)
    rules = [
        {"record": f"panel:q{index}", "expr": expr.replace("$__rate_interval", "20s")}
        for index, (*_, expr) in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    said = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(rules)} rules found" in said.stdout


RULES = ROOT / "configs" / "prometheus-rules.yml"


@needs_prometheus
def test_rules_fire_where_hits_fall_and_stop_when_they_are_back(tmp_path: Path) -> None:
    """By promtool, on an hour and a half of made series."""
    for file in (RULES, ROOT / "tests" / "monitoring" / "rules_test.yml"):
        shutil.copy(file, tmp_path)
    for command in (("check", "rules", RULES.name), ("test", "rules", "rules_test.yml")):
        said = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


def test_rules_read_what_the_pages_have() -> None:
    """Names of ours are served or recorded, those of vLLM stand on a recorded page; the file stands where Prometheus looks for it."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    served = (ROOT / "locust_kvcache" / "loadgen" / "web" / "prometheus.py").read_text()
    recorded = {rule["record"] for rule in rules if "record" in rule}
    pages = "\n".join((FIXTURES / f"{name}.prom").read_text() for name in REAL_PAGES)
    for name in {name for rule in rules for name in re.findall(r"\b(?:kvcache|vllm)[\w:]+", rule["expr"])}:
        short = re.sub("^kvcache_|_total$|_seconds_bucket$", "", name)
        assert name in recorded or f'"{short}"' in served or f'"{name}"' in served or f"\n{name}{{" in pages, name
    assert yaml.safe_load((ROOT / "configs" / "prometheus.yml").read_text())["rule_files"] == [RULES.name]
    mounted = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["volumes"]
    assert f"./configs/{RULES.name}:/etc/prometheus/{RULES.name}:ro" in mounted


@needs_prometheus
def test_no_panel_is_empty_while_a_load_runs(tmp_path: Path) -> None:
    """Client, vLLM by role and Mooncake's master: a load on a PD deployment of emulators. The rest: recorded pages."""
    with ExitStack() as stack:
        enter = stack.enter_context
        scale = ("--time-scale", "0.1")
        store = enter(emulator("--role", "store", alive="metrics"))
        prefiller = enter(emulator("--role", "prefiller", "--store", store, *scale))
        decoder = enter(emulator("--role", "decoder", "--store", store, *scale))
        proxy = enter(emulator("--role", "proxy", "--prefiller", prefiller, "--decoder", decoder, alive="healthcheck"))
        page = enter(
            web_ui(tmp_path / "results", "-f", "locustfiles", "--host", proxy, "--model", "Qwen2.5-72B-Instruct", "--no-report")
        )
        targets = {
            "locust-master:8089": page.removeprefix("http://"),
            "vllm-prefiller:8100": prefiller.removeprefix("http://"),
            "vllm-decoder:8200": decoder.removeprefix("http://"),
            "vllm-server:8000": enter(recorded("vllm_prefiller", "lmcache_in_process")),
            "mooncake-master:9004": store.removeprefix("http://"),
            "dcgm-exporter:9400": enter(recorded("dcgm")),
        }
        more = {"lmcache": enter(recorded("lmcache_server")), "mooncake_client": enter(recorded("mooncake_client"))}
        url = enter(prometheus(tmp_path, targets, more))
        active = f"{url}/api/v1/targets?state=active"
        wait_for(
            lambda: {target["health"] for target in requests.get(active, timeout=5).json()["data"]["activeTargets"]} == {"up"},
            what="every target",
        )
        start_s = time.time()
        names = "multi_turn_conversation long_context_high_reuse"
        assert swarm(page.rsplit(":", 1)[1], host=proxy, scenarios=names, requests=REQUESTS, arrival="closed", deployment="")[
            "success"
        ]
        wait_for(lambda: requests.get(f"{page}/kvcache/data", timeout=5).json()["state"] == "done", 90, "the run's end")
        time.sleep(2)  # a last scrape
        found = panels(url, start_s, time.time(), rate_interval_s=5, step_s=1)
        draw(found, tmp_path / "grafana-panels.png")
        empty = {panel.title: panel.empty for panel in found if panel.empty}
        if PICTURES:
            shutil.copy(tmp_path / "grafana-panels.png", PICTURES)
    assert not empty
    gpu_off = "GPU prefix cache: hits by tokens"  # the emulated roles have none: nothing is asked of it
    emulated = {panel.title: {line.name.split()[0] for lines in panel.lines.values() for line in lines if line.values}
                for panel in found if panel.row == "vLLM by role" and panel.title != gpu_off}  # fmt: skip
    assert not [title for title, roles in emulated.items() if not roles & {"prefiller", "decoder"}]
    keys = next(panel for panel in found if panel.title == "Keys in the store")
    assert max(value for lines in keys.lines.values() for line in lines for value in line.values) > 0
    by_source = next(panel for panel in found if panel.title == "Prompt tokens not computed: all tiers")
    decoder_line = next(line for lines in by_source.lines.values() for line in lines if line.name == "decoder")
    assert min(decoder_line.values[-3:]) > 0.9  # a decoder computes almost nothing of a prompt
