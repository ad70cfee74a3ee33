"""Says what to do about a server that refuses the first requests."""

from __future__ import annotations

from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.server.identity_check import way_out
from locust_kvcache.loadgen.server.model_list import ModelList
from locust_kvcache.workload.apis import CHAT, COMPLETIONS


def key_refused(deployment: Deployment, api_key: str | None, said: str | None) -> BadInput:
    """For HTTP 401 and 403. `said`: the status and the server's first words."""
    endpoint, name = deployment.endpoint, deployment.api_key_env
    if not name:
        return BadInput(
            f"{endpoint} wants an API key ({said}), and none is sent to an address from the start form: "
            "start Locust with --host or --deployment for it"
        )
    if api_key:
        said = (said or "").replace(api_key, "***")
    state = "is refused" if api_key else "is not set"
    return BadInput(
        f"{endpoint} wants an API key ({said}), and {name} {state}: export {name}=... on every worker; where the server wants "
        "another header, give it with --header 'api-key: ${NAME}' or --header 'Authorization: Basic ${NAME}'"
    )


def switched_off(outcome: StreamOutcome) -> bool:
    """vLLM's /inference/v1/generate, which names the flag that it needs."""
    return "--enable-scale-out" in (outcome.error or "")


def advice(outcome: StreamOutcome, models: ModelList, api: str) -> str:
    """A way out of a first request that failed, or nothing."""
    status, words = outcome.response.http_status, (outcome.error or "").lower()
    if ("system" in words and ("role" in words or "message" in words)) or "roles must alternate" in words:
        return (
            " The model takes no system message: fold_system: true in the deployment file, or --fold-system, puts its text in front of "
            "the first user message; scenarios with `api: completions` send none."
        )
    if outcome.too_long:
        return " That is as short as small requests get: raise the server's limit (vLLM: --max-model-len)."
    if found := way_out(words):
        return f" {found}."
    if status in (404, 405) and api not in (CHAT, COMPLETIONS) and "model" not in words:
        return f" The server does not seem to have the {api} API; --api chat is one that most have."
    if status == 404 or "model" in words:
        return f" /v1/models answered {models.said}. Use --model; for another path api_path in the deployment file."
    return ""
