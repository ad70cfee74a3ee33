"""--processes: which port its workers and their master meet at."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.processes import LOCUSTS_PORT, Unset, choose_ports

UNSET = Unset(LOCUSTS_PORT)


def ports(bind: int = UNSET, connect: int = UNSET, **options: Any) -> tuple[int, int]:
    parsed = argparse.Namespace(
        **{"processes": 2, "worker": False, "master": False} | options, master_bind_port=bind, master_port=connect
    )
    choose_ports(parsed)
    assert {type(parsed.master_bind_port), type(parsed.master_port)} == {int}  # they travel in messages
    return parsed.master_bind_port, parsed.master_port


def test_one_port_implies_the_other() -> None:
    assert ports(bind=6001) == ports(connect=6001) == ports(bind=6001, connect=6001) == (6001, 6001)
    assert ports(bind=LOCUSTS_PORT) == (LOCUSTS_PORT, LOCUSTS_PORT)  # given, though it is the default


def test_two_ports_are_refused() -> None:
    with pytest.raises(BadInput, match=r"--master-bind-port is 6001 and --master-port is 6002.*Give one of them"):
        ports(bind=6001, connect=6002)


def test_without_a_port_a_free_one_is_taken() -> None:
    first, second = ports(), ports()
    assert first[0] == first[1] != LOCUSTS_PORT
    assert first != second


@pytest.mark.parametrize("options", [{"processes": None}, {"worker": True}, {"processes": None, "master": True}])
def test_elsewhere_locusts_ports_stay(options: dict[str, Any]) -> None:
    assert ports(**options) == (LOCUSTS_PORT, LOCUSTS_PORT)
    assert ports(bind=6001, connect=6002, **options) == (6001, 6002)
