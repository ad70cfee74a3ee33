"""Decides what the report may say about a scenario's rounds, based on the evidence. No other module decides this.

May the difference between rounds be credited to the cache, may it be compared at all, are targets judged, what does a headline say
first, how are the later rounds called, with which cause does a gate end? Tables, headline, targets and the gate ask here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from locust_kvcache.analysis.basics.number_text import percent, plural
from locust_kvcache.analysis.cache.round_evidence import ELSEWHERE, HIT, LESS, NOTHING, SERVED, UNKNOWN, RoundFacts
from locust_kvcache.analysis.stats import few_slow
from locust_kvcache.contract import exit_codes
from locust_kvcache.contract.exit_codes import Cause
from locust_kvcache.contract.failure_limit import FailureLimit
from locust_kvcache.contract.failure_words import listed
from locust_kvcache.contract.round_kinds import CONTROL
from locust_kvcache.contract.round_kinds import HIT as LATER

FEW_FAILURES = 0.1  # of a round's requests: above it those that are left are no sample of the round
UNSERVED_CAUSES = (exit_codes.NOTHING_HIT.name, exit_codes.NOTHING_JUDGED.name)
NO_FAILURE = FailureLimit()


@dataclass(frozen=True)
class Claim:
    """What may be said of one scenario.

    `lead` is what a headline says first. `verdict` takes the place of better and worse (of every verdict where `valid` is false).
    `why_not_judged` is empty where targets on hits are judged. `later` is how columns call the rounds after the first; `rounds` has
    (number, HIT ..., text) of each of them.
    """

    scenario: str
    cause: str  # name of the exit code's cause that a gate ends with; ok where nothing stands against it
    lead: str = ""
    valid: bool = True
    credited: bool = True
    verdict: str = ""
    why_not_judged: str = ""
    later: str = "hit"
    control: int | None = None  # the round of fresh prompts that the cache's effect is judged against
    rounds: tuple[tuple[int, str, str], ...] = ()
    also: tuple[str, ...] = ()  # what weakens it beside the lead

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def decide(
    scenario: str,
    rounds: Sequence[RoundFacts],
    complete: bool = True,
    limit: FailureLimit = NO_FAILURE,
    closed: bool = True,
    of_run: Sequence[RoundFacts] = (),
) -> Claim:
    """The gravest of what weakens a scenario decides; the rest is in `also`, but for rounds that nothing shows to be hits.

    `of_run`: the rounds of all scenarios, which the limit of failures holds for.
    """
    later = [facts for facts in rounds if facts.kind == LATER]
    control = next((facts.number for facts in rounds if facts.kind == CONTROL), None)
    served = tuple((facts.number, facts.served, facts.served_text()) for facts in later)
    shared: dict[str, Any] = {"scenario": scenario, "control": control, "rounds": served, "later": _later_name(later)}
    found = [claim for claim in (
        _late(rounds, shared), _incomplete(complete, shared), _failed(rounds, of_run or rounds, limit, shared),
        _unequal(rounds, closed, shared), _not_served(later, shared), _not_cold(rounds, shared), *_few_slow(rounds, shared),
        _with_others(rounds, shared), _kept_back(rounds, shared),
    ) if claim]  # fmt: skip
    if not found:
        return Claim(cause=exit_codes.OK.name, **shared)
    first, rest = found[0], found[1:]
    valid = all(claim.valid for claim in found)
    unserved = next((claim for claim in rest if valid and claim.cause in UNSERVED_CAUSES), None)
    leads = [claim.lead for claim in (first, unserved) if claim]  # that nothing hit is no remark beside a credited change
    also = tuple(claim.lead for claim in rest if claim is not unserved)
    return Claim(**{**_fields(first), "lead": "; ".join(leads), "also": also, "valid": valid,
                    "credited": all(claim.credited for claim in found),
                    "verdict": next((claim.verdict for claim in found if claim.verdict), "")})  # fmt: skip


def why_not_whole(of_run: Sequence[RoundFacts], complete: bool, limit: FailureLimit) -> str:
    """Why the counts of a run's rounds are not those of whole rounds; empty where they are, also where the times are not valid."""
    found = (_incomplete(complete, {"scenario": ""}), _failed(of_run, of_run, limit, {"scenario": ""}))
    return next((claim.why_not_judged for claim in found if claim), "")


def _fields(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in Claim.__dataclass_fields__}


def _against(cause: Cause, lead: str, why: str, shared: dict[str, Any], **more: Any) -> Claim:
    return Claim(cause=cause.name, lead=lead, why_not_judged=why, credited=False, **{**shared, **more})


def _late(rounds: Sequence[RoundFacts], shared: dict[str, Any]) -> Claim | None:
    late = [f"round {facts.number}: {facts.late}" for facts in rounds if facts.late]
    if not late:
        return None
    why = "not valid: the load generator was late"
    return _against(exit_codes.CLIENT_LATE, f"{why} ({'; '.join(late)})", why, shared, valid=False, verdict="not valid")


def _incomplete(complete: bool, shared: dict[str, Any]) -> Claim | None:
    if complete:
        return None
    return _against(exit_codes.INCOMPLETE, "the run is incomplete", "the run is incomplete", shared)


def _failed(
    rounds: Sequence[RoundFacts], of_run: Sequence[RoundFacts], limit: FailureLimit, shared: dict[str, Any]
) -> Claim | None:
    """The whole run against the limit; the round with the largest share decides whether the others may be compared with it."""
    failed, planned = sum(facts.failed for facts in of_run), sum(facts.planned or facts.recorded for facts in of_run)
    if limit.allows(failed, planned):
        return None
    worst = max(facts.failed / max(1, facts.recorded) for facts in rounds)
    why = f"{failed:,} of {plural(planned, 'planned request')} failed (--max-failures: {limit})"
    few = worst <= FEW_FAILURES
    causes = Counter[str]()
    for facts in of_run:
        causes.update(dict(facts.causes))
    lead = f"{why}: {listed(dict(causes.most_common()))}" if causes else why
    return _against(exit_codes.FAILURES, lead, why, shared, valid=few, verdict="" if few else "not valid: failures")


def _unequal(rounds: Sequence[RoundFacts], closed: bool, shared: dict[str, Any]) -> Claim | None:
    users = {facts.number: facts.users for facts in rounds if facts.users is not None}
    if not closed or len(set(users.values())) < 2:
        return None
    listed = ", ".join(f"{count} in round {number}" for number, count in users.items())
    why = "the rounds are not comparable: they had different loads"
    lead = f"{why} (users busy at once: {listed})"
    return _against(exit_codes.NOT_COMPARABLE, lead, why, shared, valid=False, verdict="not comparable")


def _not_served(later: Sequence[RoundFacts], shared: dict[str, Any]) -> Claim | None:
    """By the worst of the later rounds, as their figures are pooled."""
    if not later:
        return None
    worst = max(later, key=lambda facts: SERVED.index(facts.served))
    name = _rounds_text([facts for facts in later if facts.served == worst.served])
    text = worst.served_text()
    if worst.served == UNKNOWN:
        some = (
            f"only {worst.cached_known} of {worst.recorded - worst.failed} requests report cached tokens"
            if worst.cached_known
            else "the reported cached tokens are rejected"
            if worst.rejected
            else "the server reports no cached tokens"
        )
        lead = f"nothing shows whether the cache did it ({some}, and the servers have no counters)"
        if worst.recorded == worst.failed:
            lead = f"nothing shows whether the cache did it (no request of {name} succeeded)"
        return _against(
            exit_codes.NOTHING_JUDGED, lead, "there is no evidence that the later rounds hit", shared, verdict="no sign of a hit"
        )
    if worst.served == NOTHING:
        return _against(exit_codes.NOTHING_HIT, f"nothing hit in {name} ({text})", "nothing hit", shared, verdict="nothing hit")
    if worst.served == LESS:
        lead = f"{name} hit less than planned ({text})"
        return _against(exit_codes.NOTHING_HIT, lead, f"hit less than planned: {text}", shared, verdict="hit less than planned")
    if worst.served == ELSEWHERE:
        lead = f"{name} did not reach the servers ({text}): something in front of the servers answered, not their KV cache"
        return _against(
            exit_codes.NOTHING_HIT, lead, "nothing hit: the requests did not reach the servers", shared, verdict="nothing hit"
        )
    return None


def _not_cold(rounds: Sequence[RoundFacts], shared: dict[str, Any]) -> Claim | None:
    """The change is against a round that had hits of its own; without them it would be larger."""
    found = [facts for facts in rounds if facts.contaminated]
    if not found:
        return None
    share = max((facts.cached_tokens or 0.0) / facts.prompt_tokens if facts.prompt_tokens else 0.0 for facts in found)
    lead = f"{_rounds_text(found)} was not cold ({percent(share)} of the prompt tokens came from a cache)"
    if found[0].kind == CONTROL:
        lead = f"the control, round {found[0].number}, was not cold ({percent(share)} of the prompt tokens came from a cache)"
    if len(found) > 1:
        lead = f"{_rounds_text(found)} were not cold (up to {percent(share)} of the prompt tokens came from a cache)"
    return Claim(cause=exit_codes.OK.name, lead=lead, **shared)


def _with_others(rounds: Sequence[RoundFacts], shared: dict[str, Any]) -> Claim | None:
    """Times under a load that nobody planned: the change is this run's."""
    found = [facts for facts in rounds if facts.shared]
    if not found:
        return None
    most = percent(max(facts.seen_share or 0.0 for facts in found))
    lead = f"other requests shared the servers in {_rounds_text(found)} (they counted {most} of the prompt tokens that were sent)"
    return Claim(cause=exit_codes.OK.name, lead=lead, **shared)


def _few_slow(rounds: Sequence[RoundFacts], shared: dict[str, Any]) -> list[Claim]:
    """The mean is that of the round, and not of what a request waits."""
    texts = few_slow.leads((facts.number, facts.few_slow) for facts in rounds)
    return [Claim(cause=exit_codes.OK.name, lead=lead, **shared) for lead in texts]


def _kept_back(rounds: Sequence[RoundFacts], shared: dict[str, Any]) -> Claim | None:
    """The change stays the cache's; only, TTFT is not the time to a first token."""
    worst = max(rounds, key=lambda facts: facts.buffered, default=None)
    if worst is None or not worst.buffered:
        return None
    answers = f"{worst.buffered:,} of {worst.recorded - worst.failed:,} answers of round {worst.number}"
    lead = f"TTFT includes decode time: {answers} were buffered on their way"
    return Claim(cause=exit_codes.OK.name, lead=lead, **shared)


def _later_name(later: Sequence[RoundFacts]) -> str:
    """hit, where every later round is one by evidence; else what they are by number."""
    return "hit" if later and all(facts.served == HIT for facts in later) else _rounds_text(later)


def _rounds_text(rounds: Sequence[RoundFacts]) -> str:
    """round 2, rounds 2 to 4, rounds 2 and 4."""
    numbers = [facts.number for facts in rounds]
    if len(numbers) < 2:
        return f"round {numbers[0]}" if numbers else "later rounds"
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2:
        return f"rounds {numbers[0]} to {numbers[-1]}"
    return f"rounds {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
