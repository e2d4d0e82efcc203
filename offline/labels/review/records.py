"""What was decided about a task, with all that it rests on: one line of the journal."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from contracts.geometry import Finite, Frozen
from contracts.ids import Name, Sha256Hex
from contracts.review import (
    FrameBox,
    Judgement,
    Purpose,
    RejectionReason,
    Tier,
)


class Outcome(StrEnum):
    """The label as judged stands; there is no object; it cannot be used and stays ignored; an
    expert is asked; the same tier is asked again.
    """

    ACCEPTED = "accepted"
    NO_OBJECT = "no_object"
    UNUSABLE = "unusable"
    ESCALATED = "escalated"
    AGAIN = "again"


FINAL = frozenset({Outcome.ACCEPTED, Outcome.NO_OBJECT, Outcome.UNUSABLE})


class Object(Frozen):
    """What stands of one object: its box in each judged frame where it is, how sure it is that the
    boxes are right (0..1), and who says so.
    """

    boxes: tuple[FrameBox, ...]
    confidence: Finite = Field(ge=0, le=1)
    made_by: str


class Auto(Frozen):
    """What the auto-labels said of the judged boxes: `confidence` of each box shown, and the
    strictest level of audits that still accepts all of the track's accepted boxes, None where no
    level does.
    """

    confidence: tuple[Finite, ...]
    level: int | None = None


class Settled(Frozen):
    """A round of a task, decided. `objects` are what stands: one for a track, any number for a
    search; `shown` is the proposal, `truth` of gold only; `rule_digest` names the thresholds by
    which the track was routed.
    """

    schema_version: Literal[1] = 1
    task_id: Sha256Hex
    round: int = Field(ge=1)
    clip_id: Name
    track: int | None
    proposal_digest: Sha256Hex
    frames: tuple[int, ...]
    tier: Tier
    purpose: Purpose
    outcome: Outcome
    reason: RejectionReason | None = None
    objects: tuple[Object, ...] = ()
    judgements: tuple[Judgement, ...]
    shown: tuple[FrameBox, ...]
    auto: Auto | None = None
    truth: tuple[FrameBox, ...] | None = None
    rule_digest: Sha256Hex
    taxonomy_version: int = Field(ge=1)

    @property
    def key(self) -> tuple[str, int]:
        """No round of a task is decided twice."""
        return self.task_id, self.round
