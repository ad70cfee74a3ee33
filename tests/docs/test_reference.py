"""docs/reference.md is generated, and names every field, key and variable that the code reads."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from locust_kvcache.contract.cache_tiers import CacheAction
from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.record import FIELDS
from locust_kvcache.contract.schema import Section
from locust_kvcache.loadgen.options.declared import OPTIONS
from tests.conftest import ROOT
from tests.docs import reference


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "python -m tests.docs.reference"


def test_every_field_of_a_record_has_a_meaning() -> None:
    assert tuple(reference.FIELDS) == FIELDS
    assert list(reference.CACHE_KEYS) == [each.name for each in dataclasses.fields(CacheAction)]


def test_every_key_that_a_deployment_file_may_have_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are those that reading a file asks for."""
    asked: set[str] = set()

    def noted(section: Section) -> None:
        asked.update(f"{section._prefix}{key}" for key in section._taken)

    monkeypatch.setattr(Section, "done", noted)
    load_deployment(Path("pd_disagg"))
    parents = {key.partition(".")[0] for key in reference.DEPLOYMENT if "." in key}
    assert {key for key in asked if "[" not in key} - parents == set(reference.DEPLOYMENT)


def test_every_environment_variable_that_the_code_reads_is_listed() -> None:
    sources = [*(ROOT / "locust_kvcache").rglob("*.py"), ROOT / "tests" / "conftest.py"]
    named = {name for path in sources for name in re.findall(r"\"(KV_[A-Z_]+)\"", path.read_text(encoding="utf-8"))}
    inside = {"KV_CERTIFICATE_FIGURES", "KV_CERTIFICATE_TOKENS"}  # from one process of ours to another
    assert named - inside - {option.variable for option in OPTIONS} <= set(reference.VARIABLES)
