"""Every message survives the way over the wire: msgpack, as Locust packs it."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

from array import array
from typing import Any

import msgpack
import pytest

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.loadgen.protocol import messages
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import (
    FROM_WORKERS,
    BeginRun,
    Deal,
    Done,
    Go,
    Message,
    Records,
    Release,
    ServerGone,
    TimeUp,
    WarmedUp,
)
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.workload.plan import Calibration
from locust_kvcache.workload.scenario_file import load_scenario

CONFIG = RunConfig(
    run_id="r", deployment="d", endpoint="http://h", api_key_env="K", model="m", nonce="n", seed=1, block_size_tokens=16,
    zero_cached_if_missing=False, request_timeout_s=1.0, idle_timeout_s=None, outage_limit_s=60.0,
    transport=Transport(), fold_system=True, parameters={"stream": True},
    arrival=Arrival("closed", None, 1.0), calibration=Calibration({}, {}, 0.0, 20.0, 8.0, "assumed"),
    scenarios=(load_scenario("cold_start"),),
)  # fmt: skip


def over_the_wire(message: Message) -> Any:
    return type(message).from_wire(msgpack.unpackb(msgpack.packb(message.to_wire()), strict_map_key=False))


@pytest.mark.parametrize(
    "message",
    [
        BeginRun(CONFIG, 0.25),
        Deal("r", "cold_start", 1, array("i", [3, 4]), 2, Arrival("poisson", 2.0, 1.0, draw=3), "control", "5eed"),
        Deal("r", "cold_start", 1, array("i"), 1, None, "cold", None),
        Deal("r", "cold_start", 1, array("i", [1]), 1, None, "hit", None, TimedRound(60.0, 6.0, 3, 0, fresh=False)),
        TimeUp("r", "cold_start", 1, 7, [(4, []), (6, [1, 3])]),
        WarmedUp("r", "cold_start", -2, [[3, 12.5], [4, None]]),
        Go("r", "cold_start", 1, 0, [0], 5),
        Done("r", "cold_start", 2, 1.5, 100.0, 20.0, None, 0.0, {"Browser": 3}),
        ServerGone("r", "cold_start", 1, 5.5, True, "refused"),
        Records("r", ["{}"], [["cold_start", 1, 0, "ok"]]),
    ],
)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert over_the_wire(message) == message


def test_no_two_messages_share_a_name() -> None:
    def kinds(of: type[Message]) -> list[str]:
        return [*([of.kind] if "kind" in vars(of) else []), *(kind for sub in of.__subclasses__() for kind in kinds(sub))]

    found = kinds(messages.Message)
    assert len(found) == len(set(found)) == 21
    assert Release.kind != Go.kind
    assert all(of.kind in found for of in FROM_WORKERS)
