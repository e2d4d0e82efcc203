"""What people are asked about labels, what they answer, and how such a task goes on.

A `ReviewTask` is all that an annotator, or a tool that tasks are exported to, ever sees. Whether
it is a gold task or an audit stands in a `SealedPurpose` under the same id, kept apart: no field
of a task, its id included, tells one from the other, and a task refuses fields that it does not
know, so that nothing slips in.

The life of a task is `step`, values in, values out: queued → reserved → submitted → in consensus
→ accepted | rejected | returned; a returned one is queued again by `Requeue`, perhaps a tier
higher. A task of n judgements has n seats: it is queued while one is free, reserved while all are
held, submitted when all have answered. One that wants a single judgement is decided without
consensus. An event that does not fit the state changes nothing: it raises `ConflictError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from contracts.canonical import canonical_digest, canonical_json
from contracts.errors import ConflictError
from contracts.geometry import Box3D, Finite, Frozen
from contracts.ids import Name, Sha256Hex

MOST_JUDGEMENTS = 9


class Tier(StrEnum):
    """Who decides about a track: nobody any more (its label stands, or it is no object), several
    annotators independently, or one expert.
    """

    REJECT = "reject"
    AUTO_ACCEPT = "auto_accept"
    CONSENSUS = "consensus"
    EXPERT = "expert"


PEOPLES_TIERS = (Tier.CONSENSUS, Tier.EXPERT)
"""The tiers that make tasks, from the lower to the higher."""


class ReviewState(StrEnum):
    """Where a task stands. `ACCEPTED` and `REJECTED` are final."""

    QUEUED = "queued"
    RESERVED = "reserved"
    SUBMITTED = "submitted"
    IN_CONSENSUS = "in_consensus"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETURNED = "returned"


class RejectionReason(StrEnum):
    """Why a label was rejected, or the work on it returned."""

    NOT_AN_OBJECT = "not_an_object"
    WRONG_CLASS = "wrong_class"
    POOR_GEOMETRY = "poor_geometry"
    WRONG_TRACK = "wrong_track"
    MISSED_OBJECTS = "missed_objects"
    NO_AGREEMENT = "no_agreement"
    GUIDELINE_UNCLEAR = "guideline_unclear"
    UNUSABLE_RECORDING = "unusable_recording"
    ANNOTATOR_FAILED_GOLD = "annotator_failed_gold"
    WITHDRAWN = "withdrawn"


class Verdict(StrEnum):
    """What an annotator says of the proposal: right as it is, right after moving it, drawn by
    hand (there was none, or it was of no use), no object at all, or nobody can tell.
    """

    VERIFIED = "verified"
    ADJUSTED = "adjusted"
    DRAWN = "drawn"
    NO_OBJECT = "no_object"
    CANNOT_TELL = "cannot_tell"


class Purpose(StrEnum):
    """Why a task exists: the router sent its track to people; its answer is known (gold); or it
    is a random draw from what was accepted without people.
    """

    ROUTED = "routed"
    GOLD = "gold"
    AUDIT = "audit"


class FrameBox(Frozen):
    """A box in one frame of the clip, frames counted from 0."""

    frame: int = Field(ge=0)
    box: Box3D


class ReviewTask(Frozen):
    """One track of one clip, or (`track` None) the clip's frames to be searched for what the
    proposal misses.

    `frames` rise and are those to be judged; `proposal_digest` is `proposal_digest` of the boxes
    shown; a higher `priority` comes first; `cost_s` is the expected work of one judgement.
    """

    schema_version: Literal[1] = 1
    taxonomy_version: int = Field(1, ge=1)
    task_id: Sha256Hex
    clip_id: Name
    track: int | None = Field(None, ge=0)
    class_name: str = Field(max_length=100)
    """What the proposal takes it for; empty where `track` is None."""
    tier: Tier
    judgements_wanted: int = Field(ge=1, le=MOST_JUDGEMENTS)
    frames: tuple[int, ...] = Field(min_length=1, max_length=100_000)
    proposal_digest: Sha256Hex
    priority: Finite = 0.0
    cost_s: Finite = Field(ge=0)

    @model_validator(mode="after")
    def _is_for_people(self) -> ReviewTask:
        if self.tier not in PEOPLES_TIERS:
            raise ValueError(f"tier: nobody is asked about {self.tier.value}")
        if self.frames[0] < 0 or any(b <= a for a, b in pairwise(self.frames)):
            raise ValueError("frames: must rise from 0 on")
        if (self.track is None) == bool(self.class_name):
            raise ValueError("class_name: belongs to a track, and to nothing else")
        return self


class SealedPurpose(Frozen):
    """What no annotator sees of a task. `truth_digest` is of the gold boxes, for gold only."""

    schema_version: Literal[1] = 1
    task_id: Sha256Hex
    purpose: Purpose
    truth_digest: Sha256Hex | None = None

    @model_validator(mode="after")
    def _only_gold_has_truth(self) -> SealedPurpose:
        if (self.purpose is Purpose.GOLD) != (self.truth_digest is not None):
            raise ValueError("truth_digest: belongs to gold tasks, and to nothing else")
        return self


class Judgement(Frozen):
    """One annotator's answer: the boxes as they shall be (none where there is no object, or
    nobody can tell), the work's duration, when it was submitted.
    """

    schema_version: Literal[1] = 1
    task_id: Sha256Hex
    round: int = Field(ge=1)
    annotator: Name
    verdict: Verdict
    boxes: tuple[FrameBox, ...] = ()
    seconds: Finite = Field(ge=0)
    submitted_utc_ns: int = Field(ge=0)
    comment: str = Field("", max_length=1000)

    @model_validator(mode="after")
    def _boxes_fit_the_verdict(self) -> Judgement:
        empty = self.verdict in {Verdict.NO_OBJECT, Verdict.CANNOT_TELL}
        if empty and self.boxes:
            raise ValueError(f"boxes: {self.verdict.value} has none")
        return self


def proposal_digest(boxes: Iterable[FrameBox]) -> str:
    """Content address of boxes, in any order."""
    lines = sorted(canonical_json(each).decode() for each in boxes)
    return canonical_digest(list[JsonValue](lines))


def task_id_of(salt: str, clip_id: str, track: int | None, frames: Iterable[int]) -> str:
    """A task's id: a function of what is judged and of the `salt` of the run that asks, so that
    ids are unique, repeatable, and tell nothing of the purpose.
    """
    return canonical_digest([salt, clip_id, track, list[JsonValue](frames)])


class Seat(Frozen):
    """One annotator's place at a task: held until a time, or (`answered`) for good."""

    annotator: Name
    until_utc_ns: int = Field(ge=0)
    answered: bool = False


class Review(Frozen):
    """A task's progress. `round` counts from 1 and rises with every `Requeue`; `barred` may not
    take a seat, having judged the task at a lower tier; `reason` says why it was rejected or
    returned.
    """

    schema_version: Literal[1] = 1
    task_id: Sha256Hex
    tier: Tier
    judgements_wanted: int = Field(ge=1, le=MOST_JUDGEMENTS)
    state: ReviewState = ReviewState.QUEUED
    round: int = Field(1, ge=1)
    seats: tuple[Seat, ...] = ()
    barred: tuple[Name, ...] = ()
    reason: RejectionReason | None = None


class Reserve(Frozen):
    """An annotator takes a free seat until a time."""

    annotator: Name
    until_utc_ns: int = Field(ge=0)


class Release(Frozen):
    """An annotator gives the seat back."""

    annotator: Name


class Expire(Frozen):
    """Seats that were held for too long become free. Fits any state."""

    now_utc_ns: int = Field(ge=0)


class Submit(Frozen):
    """An annotator who holds a seat answers."""

    annotator: Name


class Fuse(Frozen):
    """All judgements of a consensus task are at hand and are being fused."""


class Accept(Frozen):
    """The label, as judged, stands."""


class Reject(Frozen):
    """The label shall not be used. Only with the reason `WITHDRAWN` it fits any state but a final
    one: nobody needs the answer any more.
    """

    reason: RejectionReason


class Return(Frozen):
    """The work shall be done again."""

    reason: RejectionReason


class Requeue(Frozen):
    """A returned task goes back into the queue, at its tier or a higher one."""

    tier: Tier
    judgements_wanted: int = Field(ge=1, le=MOST_JUDGEMENTS)


Event = Reserve | Release | Expire | Submit | Fuse | Accept | Reject | Return | Requeue

FINAL = frozenset({ReviewState.ACCEPTED, ReviewState.REJECTED})
_OPEN = frozenset({ReviewState.QUEUED, ReviewState.RESERVED})


def review_of(task: ReviewTask) -> Review:
    """A new task's review: queued, round 1."""
    return Review(task_id=task.task_id, tier=task.tier, judgements_wanted=task.judgements_wanted)


def step(review: Review, event: Event) -> Review:
    """The review after the event. Raises `ConflictError` for one that does not fit."""
    match event:
        case Reserve():
            return _reserved(review, event)
        case Release(annotator=annotator):
            _require(review, event, _OPEN)
            _held(review, annotator)
            return _seated(review, tuple(s for s in review.seats if s.annotator != annotator))
        case Expire(now_utc_ns=now):
            kept = tuple(s for s in review.seats if s.answered or s.until_utc_ns > now)
            return _seated(review, kept) if review.state in _OPEN else review
        case Submit(annotator=annotator):
            _require(review, event, _OPEN)
            answered = _held(review, annotator).model_copy(update={"answered": True})
            return _seated(
                review, tuple(answered if s.annotator == annotator else s for s in review.seats)
            )
        case Fuse():
            _require(review, event, {ReviewState.SUBMITTED})
            if review.judgements_wanted == 1:
                raise ConflictError("a single judgement is decided without consensus")
            return review.model_copy(update={"state": ReviewState.IN_CONSENSUS})
        case Accept():
            return _decided(review, event, ReviewState.ACCEPTED, None)
        case Reject(reason=reason):
            return _decided(review, event, ReviewState.REJECTED, reason)
        case Return(reason=reason):
            return _decided(review, event, ReviewState.RETURNED, reason)
        case Requeue():
            return _requeued(review, event)


def _reserved(review: Review, event: Reserve) -> Review:
    _require(review, event, {ReviewState.QUEUED})
    if event.annotator in review.barred or any(
        seat.annotator == event.annotator for seat in review.seats
    ):
        raise ConflictError(f"{event.annotator} has judged this task, or holds a seat at it")
    seat = Seat(annotator=event.annotator, until_utc_ns=event.until_utc_ns)
    return _seated(review, (*review.seats, seat))


def _seated(review: Review, seats: tuple[Seat, ...]) -> Review:
    """The open state that the seats make."""
    state = ReviewState.QUEUED
    if len(seats) == review.judgements_wanted:
        done = all(seat.answered for seat in seats)
        state = ReviewState.SUBMITTED if done else ReviewState.RESERVED
    return review.model_copy(update={"state": state, "seats": seats})


def _held(review: Review, annotator: str) -> Seat:
    for seat in review.seats:
        if seat.annotator == annotator and not seat.answered:
            return seat
    raise ConflictError(f"{annotator} holds no seat at this task")


def _decided(
    review: Review, event: Event, state: ReviewState, reason: RejectionReason | None
) -> Review:
    ready = {ReviewState.SUBMITTED if review.judgements_wanted == 1 else ReviewState.IN_CONSENSUS}
    if reason is RejectionReason.WITHDRAWN and state is ReviewState.REJECTED:
        ready = set(ReviewState) - FINAL
    _require(review, event, ready)
    return review.model_copy(update={"state": state, "reason": reason})


def _requeued(review: Review, event: Requeue) -> Review:
    _require(review, event, {ReviewState.RETURNED})
    if event.tier not in PEOPLES_TIERS or _height(event.tier) < _height(review.tier):
        raise ConflictError(f"a task of tier {review.tier} cannot go back as {event.tier}")
    raised = event.tier is not review.tier
    judged = tuple(seat.annotator for seat in review.seats) if raised else ()
    return Review(
        task_id=review.task_id, tier=event.tier, judgements_wanted=event.judgements_wanted,
        round=review.round + 1, barred=tuple(dict.fromkeys((*review.barred, *judged))),
    )  # fmt: skip


def _height(tier: Tier) -> int:
    return PEOPLES_TIERS.index(tier)


def _require(review: Review, event: Event, states: Iterable[ReviewState]) -> None:
    if review.state not in states:
        raise ConflictError(
            f"{type(event).__name__.lower()} does not fit a task that is {review.state.value}"
        )
