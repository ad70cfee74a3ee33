"""Makes the headers of each request from its session: names for routers, and what an earlier response told to send again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from locust_kvcache.contract.gateway import Headers, filled, is_secret, is_template
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.workload.plan import Plan, Session, Turn


@dataclass
class SessionHeaders:
    """Of one worker and round; a session lives in one process."""

    plan: Plan
    target: Target
    _echoed: dict[int, dict[str, str]] = field(default_factory=dict)  # by session: headers of its last response
    _sent: dict[int, dict[str, str]] = field(default_factory=dict)  # by request: the echoed ones that it carried

    def __post_init__(self) -> None:
        self._told = tuple((n, v) for n, v in self.target.headers if is_template(v) and not is_secret(n))  # for records

    def _own(self, session_id: int) -> Headers:
        """Those of the scenario."""
        headers = self.plan.scenario_of(session_id).identity.headers
        names = self.plan.names(session_id) if headers else {}
        return tuple((name, filled(text, names)) for name, text in headers)

    def of(self, turn: Turn) -> Headers:
        """All headers of a request that is sent now, but those that every request has."""
        echoed = self._echoed.get(turn.session_id)
        if echoed:
            self._sent[turn.request_index] = dict(echoed)
        own = (*self._own(turn.session_id), *(echoed or {}).items())
        return self.target.own_headers(self.plan.names(turn.session_id), own)

    def remember(self, session: Session, turn: Turn, response: Mapping[str, str]) -> None:
        """Keep what the scenario wants sent again; a session that is over is forgotten."""
        wanted = self.plan.scenario_of(session.session_id).identity.echo_headers
        if not wanted:
            return
        if turn is session.turns[-1]:
            self._echoed.pop(session.session_id, None)
            return
        kept = self._echoed.setdefault(session.session_id, {})
        kept.update({name: response[name] for name in wanted if response.get(name)})

    def sent(self, turn: Turn) -> str | None:
        """For the record: the headers that were made for this request. An echoed value may be a secret: its hash tells whether two are
        the same."""
        names = self.plan.names(turn.session_id)
        found = {name.lower(): filled(text, names) for name, text in self._told}
        found |= {name.lower(): value for name, value in self._own(turn.session_id)}
        for name, value in self._sent.pop(turn.request_index, {}).items():
            found[name] = f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:12]}"
        return "; ".join(f"{name}: {value}" for name, value in found.items()) or None
