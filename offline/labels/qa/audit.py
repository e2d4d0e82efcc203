"""Random audits of what was accepted without people, which move the threshold by themselves.

Every accepted track is drawn with the same probability, by a hash that nobody can foresee the use
of (`drawn`); people judge it like any other; `right` is the share of its accepted boxes that they
left as they were. Thresholds have levels: 0 is the calibrated one, each further one leaves
`tighter` of the room above the threshold, the last accepts nothing.

Down: evidence (`betting.py`) that precision at the present level is under the target tightens by
one level, at once. Up: only on evidence that precision at the level below is over the target,
from tracks drawn in the same way among all that the level below would accept, those that people
judge anyway among them. Each new test is given a smaller part of alpha, alpha / (i (i + 1)).

Guaranteed under continuous peeking, over all levels and for ever: a level whose precision is the
target or more is tightened with probability `alpha` at most; a level whose precision is the target
or less is loosened to with probability `restore_alpha` at most. What breaks it: people who are
wrong themselves (gold watches them), and audits that are not drawn at random. Several groups
audited side by side share alpha: give each plan its part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from offline.labels.qa.betting import Purse, bet, full_purse
from offline.labels.qa.tracks import Thresholds

Change = Literal["tightened", "loosened"]


class AuditPlan(Frozen):
    """Target precision, levels, and how often a test may be wrong."""

    precision: Finite = Field(0.98, gt=0, lt=1)
    alpha: Finite = Field(0.05, gt=0, lt=1)
    restore_alpha: Finite = Field(0.05, gt=0, lt=1)
    levels: int = Field(3, ge=1, le=16)
    tighter: Finite = Field(0.25, gt=0, lt=1)
    start_every: int = Field(10, ge=1)


@dataclass(frozen=True, slots=True)
class AuditState:
    """Level, how many tests ended in each direction, the running ones, and what was audited."""

    level: int = 0
    tightened: int = 0
    loosened: int = 0
    against: Purse = field(default_factory=full_purse)
    in_favour: Purse = field(default_factory=full_purse)
    audited: int = 0


def drawn(salt: str, clip_id: str, track: int, share: float) -> bool:
    """Whether a track is audited: the same for the same names, a fraction `share` of all."""
    if not 0 <= share <= 1:
        raise InputError(f"lies in 0..1, not {share}", "share")
    digest = hashlib.sha256(f"{len(salt)}:{salt}{len(clip_id)}:{clip_id}{track}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def thresholds_at(thresholds: Thresholds, level: int, plan: AuditPlan) -> dict[str, float | None]:
    """The thresholds that hold at a level."""
    if not 0 <= level <= plan.levels:
        raise InputError(f"lies in 0..{plan.levels}, not {level}", "level")
    if level == plan.levels:
        return dict.fromkeys(thresholds)
    room = plan.tighter**level
    return {
        key: None if least is None else 1 - (1 - least) * room for key, least in thresholds.items()
    }


def observed(
    state: AuditState, plan: AuditPlan, right: float, level: int, *, drawn_below: bool = True
) -> tuple[AuditState, Change | None]:
    """The state after one audited track.

    Args:
        state: before.
        plan: of this stream.
        right: share of its boxes that are right, in 0..1.
        level: the strictest level that accepts it; the loosest, 0, at least.
        drawn_below: whether it was drawn among all that the level below the present one accepts;
            else it says nothing in favour of that level.

    Raises:
        InputError: a track that no level accepts is no audit.
    """
    if not 0 <= level < plan.levels:
        raise InputError(f"lies in 0..{plan.levels - 1}, not {level}", "level")
    against, in_favour = state.against, state.in_favour
    if level >= state.level:
        against = bet(against, 1 - right, 1 - plan.precision, plan.start_every)
    if drawn_below and state.level and level >= state.level - 1:
        in_favour = bet(in_favour, right, plan.precision, plan.start_every)
    after = replace(state, against=against, in_favour=in_favour, audited=state.audited + 1)
    if against.evidence >= 1 / _part(plan.alpha, state.tightened):
        fresh = full_purse()
        return replace(
            after, level=state.level + 1, tightened=state.tightened + 1, against=fresh,
            in_favour=fresh,
        ), "tightened"  # fmt: skip
    if in_favour.evidence >= 1 / _part(plan.restore_alpha, state.loosened):
        fresh = full_purse()
        return replace(
            after, level=state.level - 1, loosened=state.loosened + 1, against=fresh,
            in_favour=fresh,
        ), "loosened"  # fmt: skip
    return after, None


def _part(alpha: float, ended: int) -> float:
    return alpha / ((ended + 1) * (ended + 2))
