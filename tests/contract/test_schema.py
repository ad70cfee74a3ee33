"""Files of settings as people have them: other encodings, keys twice, aliases without end, no text at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from locust_kvcache.contract.deployment import load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section, load_yaml
from tests.samples import examples

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("kind: a\nname: M\xfcller\n".encode("latin-1"), "is not UTF-8 text"),
        ("kind: other\n".encode("utf-16"), "is not UTF-8 text"),
        (bytes(range(256)), "is not UTF-8 text"),
        (b"kind: other\nkind: pd_disagg\n", "key 'kind' stands twice, the second time in line 2"),
        (b"targets: {a: 1, a: 2}\n", "key 'a' stands twice"),
        (BOMB.encode(), "more than 100 aliases"),
        (b"[" * 5000, "is not valid YAML"),
        (b"a: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
        (b"- 1\n", "expected a mapping"),
        (b"a: " + b"x" * 1_100_000, "has 1,100,003 bytes"),
        (b"when: 2001-99-99\n", "is not valid YAML"),
    ],
)
def test_what_cannot_be_settings_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(data)
    with pytest.raises(BadInput, match=said) as raised:
        load_yaml(file)
    assert str(raised.value).startswith(str(file))
    assert len(str(raised.value).splitlines()) == 1


def test_a_byte_order_mark_and_a_merge_key_are_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(b"\xef\xbb\xbfbase: &b {x: 1}\nmine: {<<: *b, x: 2}\n")
    assert load_yaml(file)["mine"] == {"x": 2}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_is_finite(value: float) -> None:
    with pytest.raises(BadInput, match="expected a finite number"):
        Section({"rate": value}, "file").take("rate", float, low=0.0)


@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_a_deployment_or_bad_input(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_bytes(b"kind: other\nendpoint: http://127.0.0.1:9\n" + data)
    with contextlib.suppress(BadInput):
        load_deployment(file)
