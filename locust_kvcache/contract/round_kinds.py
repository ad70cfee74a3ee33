"""Defines the kinds of rounds: cold, control (fresh prompts of the same lengths), and hit (a repeat of the cold round).

A round's number says when it was played; its kind says what it is. Rounds are numbered in the order in which they are played.
"""

from __future__ import annotations

COLD = "cold"
CONTROL = "control"
HIT = "hit"
WARM_UP = "warm_up"  # no round of a run: its requests have no record
KINDS = (COLD, CONTROL, HIT)


def sends_new_prompts(kind: str) -> bool:
    """Whether the prompts of such a round were not sent by an earlier one: what it may find cached, it has sent itself."""
    return kind != HIT


def kinds_of_rounds(repeats: int, control: bool, control_last: bool = False) -> tuple[str, ...]:
    """The kind of each round, in order: cold, the control if there is one, then the rounds that repeat the cold one.

    `control_last`: after the repeats, where a cache cannot hold the control's prompts beside those that are to be hit.
    """
    hits = (HIT,) * repeats
    if not control:
        return (COLD, *hits)
    return (COLD, *hits, CONTROL) if control_last else (COLD, CONTROL, *hits)


def kinds_of_arms(arms: tuple[str, ...]) -> tuple[str, ...]:
    """The kind of each arm: cold and control are what they are called, every other arm repeats the cold one's requests."""
    return tuple(arm if arm in (COLD, CONTROL) else HIT for arm in arms)


def planned_kinds(rounds: int, arms: tuple[str, ...], control: bool, control_last: bool = False) -> tuple[str, ...]:
    """The kinds of a scenario's rounds: of its `arms` where there are any, else of `rounds` rounds, and a control beside them."""
    if not arms:
        return kinds_of_rounds(rounds - 1, control, control_last)
    return kinds_of_arms(with_control(arms, control_last) if control else arms)


def with_control(arms: tuple[str, ...], control_last: bool = False) -> tuple[str, ...]:
    """The arms with a control after the cold one (or last); unchanged where they name one."""
    if CONTROL in arms:
        return arms
    return (*arms, CONTROL) if control_last else (*arms[:1], CONTROL, *arms[1:])
