"""Defines the Scenario: what is sent, as typed values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from locust_kvcache.workload.chunk_sessions import Chunks
from locust_kvcache.workload.corpus import CorpusSource
from locust_kvcache.workload.dose_response import Doses
from locust_kvcache.workload.identity import NOBODY, Identity
from locust_kvcache.workload.lengths import Lengths
from locust_kvcache.workload.session_shape import Shape
from locust_kvcache.workload.tenants import scaled
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.waits import AS_PLANNED, NO_WAITS, Gaps, Waits


@dataclass(frozen=True)
class Scenario:
    """What is sent. Token counts are by the server's own tokenizer, chat template included."""

    name: str
    summary: str
    api: str
    requests: int  # planned requests per round
    rounds: int
    prefix_text: str
    prefix_tokens: int
    prefix_shared_by: int  # sessions that share one prefix; 0: all of them
    turns: int  # turns per session
    turn_text: str
    turn_tokens: tuple[int, int]  # inclusive range, drawn per turn
    reply: str
    think_time: Waits
    output_tokens: int
    ignore_eos: bool
    temperature: float
    order: str
    doses: Doses | None = None  # sizes turns instead of turn_tokens
    trace: TraceSource | None = None  # gives every request, by token ids
    turn_lengths: Lengths | None = None  # instead of an even draw from turn_tokens, which are its bounds then
    output_lengths: Lengths | None = None  # output_tokens is the longest then
    documents: int = 0  # different prefixes, one drawn per session by Zipf's law; 0: prefix_shared_by says who shares
    zipf: float = 0.0  # its exponent; 0: all are equally popular
    corpus: CorpusSource | None = None  # gives prefixes, or whole conversations, from a user's own files
    identity: Identity = NOBODY  # what its requests say of themselves
    tenants: tuple[Scenario, ...] = ()  # sent at once, mixed; what else stands here then sums them up
    only: str = ""  # the one tenant that is sent, at the times that it has in the mix; empty: all
    shape: Shape | None = None  # of sessions with tools, forks or compaction
    chunks: Chunks | None = None  # that stand before each question
    gaps: Gaps = AS_PLANNED  # what options make of the waits between turns
    file: str = dataclasses.field(default="", compare=False)  # where it was read from

    def to_dict(self) -> dict[str, Any]:
        """What it sends; the same scenario read from another file is the same."""
        found = {key: value for key, value in dataclasses.asdict(self).items() if key != "file"}
        if self.identity == NOBODY:
            del found["identity"]
        if self.tenants:
            return {**found, "tenants": [tenant.to_dict() for tenant in self.tenants]}
        return {key: value for key, value in found.items() if key not in ("tenants", "only")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scenario:
        """The inverse of to_dict, also after a trip through JSON or msgpack (tuples become lists there)."""
        low, high = values["turn_tokens"]
        return cls(
            **{
                **values,
                "turn_tokens": (low, high),
                "doses": Doses.from_dict(values.get("doses")),
                "trace": TraceSource.from_dict(values.get("trace")),
                "turn_lengths": Lengths.from_dict(values.get("turn_lengths")),
                "output_lengths": Lengths.from_dict(values.get("output_lengths")),
                "corpus": CorpusSource.from_dict(values.get("corpus")),
                "identity": Identity.from_dict(values.get("identity")),
                "think_time": Waits.from_dict(values.get("think_time")) or NO_WAITS,
                "shape": Shape.from_dict(values.get("shape")),
                "chunks": Chunks.from_dict(values.get("chunks")),
                "gaps": Gaps(**values.get("gaps") or {}),
                "tenants": tuple(map(cls.from_dict, values.get("tenants") or ())),
            }
        )

    @property
    def file_notes(self) -> tuple[str, ...]:
        """How a user's own file was read, and what it cannot tell."""
        if self.trace is not None:
            return tuple(f"{self.trace.path}: {note}" for note in self.trace.notes)
        return tuple(f"{self.corpus.files[0]}: {note}" for note in self.corpus.notes) if self.corpus is not None else ()

    @property
    def parts(self) -> tuple[Scenario, ...]:
        """The tenants' own scenarios; itself where it has none."""
        return self.tenants or (self,)

    @property
    def converses(self) -> bool:
        """Whether all turns are those of a file."""
        return self.corpus is not None and self.corpus.kind == "conversations"

    def with_requests(self, requests: int) -> Scenario:
        """A trace has only so many, and so has a file of conversations."""
        if self.tenants:
            return scaled(self, requests)
        if self.trace is not None or self.converses:
            requests = min(requests, self.requests)
        return dataclasses.replace(self, requests=requests, doses=self.doses.covering(requests) if self.doses else None)
