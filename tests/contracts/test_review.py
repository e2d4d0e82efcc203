"""Review tasks, their ids, and the state machine: what fits, and what changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.errors import ConflictError
from contracts.geometry import Box3D
from contracts.review import (
    FINAL,
    Accept,
    Event,
    Expire,
    FrameBox,
    Fuse,
    Judgement,
    Purpose,
    Reject,
    RejectionReason,
    Release,
    Requeue,
    Reserve,
    Return,
    Review,
    ReviewState,
    ReviewTask,
    SealedPurpose,
    Submit,
    Tier,
    Verdict,
    proposal_digest,
    review_of,
    step,
    task_id_of,
)

BOX = FrameBox(
    frame=3, box=Box3D(centre_m=(1, 2, 3), size_m=(4, 2, 1.5), yaw_rad=0.1, class_name="car")
)


def task(wanted: int = 3, tier: Tier = Tier.CONSENSUS) -> ReviewTask:
    return ReviewTask(
        task_id=task_id_of("run-1", "clip", 7, (3, 8)), clip_id="clip", track=7, class_name="car",
        tier=tier, judgements_wanted=wanted, frames=(3, 8), proposal_digest=proposal_digest([BOX]),
        cost_s=40,
    )  # fmt: skip


def after(review: Review, *events: Event) -> Review:
    for event in events:
        review = step(review, event)
    return review


def hold(*names: str, until: int = 100) -> list[Event]:
    return [Reserve(annotator=name, until_utc_ns=until) for name in names]


def test_a_consensus_from_queue_to_label() -> None:
    review = review_of(task())
    review = after(review, *hold("ann", "bob"))
    assert review.state is ReviewState.QUEUED
    review = after(review, Submit(annotator="ann"), *hold("cem"))
    assert review.state is ReviewState.RESERVED
    review = after(review, Submit(annotator="bob"), Submit(annotator="cem"))
    assert review.state is ReviewState.SUBMITTED
    with pytest.raises(ConflictError, match="accept does not fit"):
        step(review, Accept())
    assert after(review, Fuse(), Accept()).state is ReviewState.ACCEPTED


def test_no_agreement_goes_to_an_expert_who_has_not_judged_it() -> None:
    answers: list[Event] = [Submit(annotator=name) for name in ("ann", "bob")]
    review = after(
        review_of(task(2)), *hold("ann", "bob"), *answers, Fuse(),
        Return(reason=RejectionReason.NO_AGREEMENT),
    )  # fmt: skip
    assert review.reason is RejectionReason.NO_AGREEMENT
    with pytest.raises(ConflictError, match="cannot go back"):
        step(review, Requeue(tier=Tier.AUTO_ACCEPT, judgements_wanted=1))
    review = step(review, Requeue(tier=Tier.EXPERT, judgements_wanted=1))
    assert (review.round, review.state, review.seats) == (2, ReviewState.QUEUED, ())
    with pytest.raises(ConflictError, match="has judged"):
        after(review, *hold("ann"))
    review = after(review, *hold("eva"), Submit(annotator="eva"))
    with pytest.raises(ConflictError, match="without consensus"):
        step(review, Fuse())
    done = step(review, Reject(reason=RejectionReason.NOT_AN_OBJECT))
    assert done.state is ReviewState.REJECTED
    again = after(review, Return(reason=RejectionReason.POOR_GEOMETRY))
    with pytest.raises(ConflictError, match="cannot go back"):
        step(again, Requeue(tier=Tier.CONSENSUS, judgements_wanted=2))


def test_seats_come_free_when_given_back_or_held_for_too_long() -> None:
    review = after(review_of(task(2)), *hold("ann", until=50), *hold("bob", until=90))
    assert step(review, Expire(now_utc_ns=49)) == review
    review = step(review, Expire(now_utc_ns=50))
    assert [seat.annotator for seat in review.seats] == ["bob"]
    assert review.state is ReviewState.QUEUED
    with pytest.raises(ConflictError, match="holds no seat"):
        step(review, Submit(annotator="ann"))
    review = step(review, Submit(annotator="bob"))
    assert step(review, Expire(now_utc_ns=10**9)) == review
    with pytest.raises(ConflictError, match="holds no seat"):
        step(review, Release(annotator="bob"))
    with pytest.raises(ConflictError, match="has judged"):
        after(review, *hold("bob"))


def test_what_nobody_needs_any_more_is_withdrawn_from_anywhere() -> None:
    gone = Reject(reason=RejectionReason.WITHDRAWN)
    assert step(review_of(task()), gone).state is ReviewState.REJECTED
    with pytest.raises(ConflictError, match="rejected"):
        after(review_of(task()), gone, gone)
    with pytest.raises(ConflictError, match="queued"):
        step(review_of(task()), Reject(reason=RejectionReason.WRONG_CLASS))


NAMES = st.sampled_from(["ann", "bob", "cem", "eva"])
EVENTS = st.one_of(
    st.builds(Reserve, annotator=NAMES, until_utc_ns=st.integers(0, 20)),
    st.builds(Release, annotator=NAMES),
    st.builds(Expire, now_utc_ns=st.integers(0, 20)),
    st.builds(Submit, annotator=NAMES),
    st.just(Fuse()),
    st.just(Accept()),
    st.builds(Reject, reason=st.sampled_from(RejectionReason)),
    st.builds(Return, reason=st.sampled_from(RejectionReason)),
    st.builds(Requeue, tier=st.sampled_from(Tier), judgements_wanted=st.integers(1, 3)),
)


@settings(max_examples=200, deadline=None)
@given(wanted=st.integers(1, 3), events=st.lists(EVENTS, max_size=40))
def test_whatever_happens_a_review_stays_in_order(wanted: int, events: list[Event]) -> None:
    review = review_of(task(wanted))
    for event in events:
        before = review
        try:
            review = step(review, event)
        except ConflictError:
            continue
        assert before.state not in FINAL or review == before
        names = [seat.annotator for seat in review.seats]
        assert len(set(names)) == len(names) <= review.judgements_wanted
        assert not set(names) & set(review.barred)
        done = [seat for seat in review.seats if seat.answered]
        open_states = {ReviewState.QUEUED, ReviewState.RESERVED}
        if review.state not in open_states and review.reason is not RejectionReason.WITHDRAWN:
            assert len(done) == review.judgements_wanted
        assert (review.state is ReviewState.QUEUED) <= (len(names) < review.judgements_wanted)
        assert Review.model_validate_json(review.model_dump_json()) == review


def test_nothing_of_a_task_tells_its_purpose() -> None:
    assert not set(ReviewTask.model_fields) & {"gold", "purpose", "truth_digest"}
    with pytest.raises(ValidationError, match="Extra inputs"):
        ReviewTask(**task().model_dump(), purpose=Purpose.GOLD)
    with pytest.raises(ValidationError, match="truth_digest"):
        SealedPurpose(task_id="0" * 64, purpose=Purpose.ROUTED, truth_digest="1" * 64)
    with pytest.raises(ValidationError, match="truth_digest"):
        SealedPurpose(task_id="0" * 64, purpose=Purpose.GOLD)


def test_ids_and_digests_are_functions_of_content() -> None:
    other = BOX.model_copy(update={"frame": 4})
    assert proposal_digest([BOX, other]) == proposal_digest([other, BOX])
    assert proposal_digest([BOX]) != proposal_digest([other])
    ids = {
        task_id_of("a", "clip", 1, (1, 2)),
        task_id_of("b", "clip", 1, (1, 2)),
        task_id_of("a", "clip", None, (1, 2)),
        task_id_of("a", "clip", 1, (1,)),
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"tier": Tier.AUTO_ACCEPT}, "nobody is asked"),
        ({"frames": (3, 3)}, "must rise"),
        ({"track": None}, "class_name"),
        ({"judgements_wanted": 0}, "greater than"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        ReviewTask.model_validate({**task().model_dump(), **change})


def test_no_object_has_no_boxes() -> None:
    with pytest.raises(ValidationError, match="no_object"):
        Judgement(
            task_id="0" * 64, round=1, annotator="ann", verdict=Verdict.NO_OBJECT, boxes=(BOX,),
            seconds=3, submitted_utc_ns=1,
        )  # fmt: skip
