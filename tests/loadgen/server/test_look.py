"""What the look at a server warns of beside the preflight."""

from __future__ import annotations

import dataclasses

import pytest

from locust_kvcache.contract.deployment import Transport, host_deployment
from locust_kvcache.loadgen.server.look import unchecked_certificate


@pytest.mark.parametrize(
    ("host", "verify", "warned"),
    [("https://h", False, True), ("https://h", True, False), ("http://h", False, False)],
)
def test_a_certificate_that_is_not_checked_is_said(host: str, verify: bool, warned: bool) -> None:
    deployment = dataclasses.replace(host_deployment(host), transport=Transport(verify=verify))
    assert any("tls.verify: false" in text for text in unchecked_certificate(deployment)) is warned
