"""The review queue over real PostgreSQL: nothing doubled, nothing lost, nothing told in advance."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import fields

import pytest
import sqlalchemy as sa

from cloud_ingest.database import open_engine
from cloud_ingest.fleet_schema import audit_log
from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import ConflictError, InputError
from contracts.review import (
    Accept,
    Fuse,
    Purpose,
    Reject,
    RejectionReason,
    Requeue,
    Return,
    ReviewState,
    Tier,
    Verdict,
)
from offline.labels.queue.records import HeldTask, NewTask
from offline.labels.queue.store import HOLD_NS, ReviewQueue
from tests.offline.labels.queue.tasks import boxes_of, new_task, verified

Scene = Callable[[ReviewQueue, VirtualClock], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def play(database_url: str) -> Play:
    """Run a scene with a queue over the empty database."""

    def run(scene: Scene) -> None:
        async def inside() -> None:
            engine, clock = open_engine(database_url), VirtualClock()
            try:
                await scene(ReviewQueue(engine, clock), clock)
            finally:
                await engine.dispose()

        asyncio.run(inside())

    return run


async def seat(queue: ReviewQueue, annotator: str) -> HeldTask:
    held = await queue.reserve(annotator)
    assert held is not None
    return held


def test_the_same_content_is_the_same_task(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        tasks = [new_task(1), new_task(2), new_task(None)]
        first = await queue.add(tasks, "router")
        assert (first.new, first.task_ids) == (3, tuple(t.task.task_id for t in tasks))
        again = await queue.add(
            [*(new_task(t, salt="b") for t in (1, None)), new_task(3)], "router"
        )
        assert again.new == 1 and again.task_ids[:2] == (first.task_ids[0], first.task_ids[2])
        other = new_task(1, shown=boxes_of(1, (0,)))
        with pytest.raises(ConflictError, match="another task has this id"):
            await queue.add([new_task(9), other], "router")
        assert sum(count.tasks for count in await queue.counts()) == 4

    play(scene)


def test_the_most_urgent_first_and_each_annotator_once(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(1, wanted=2), new_task(2, priority=5.0)], "router")
        first = await seat(queue, "ann")
        assert (first.task.track, first.until_utc_ns) == (2, clock.utc_ns() + HOLD_NS)
        assert first.proposal == boxes_of(2)
        second = await seat(queue, "ann")
        assert second.task.track == 1
        assert await queue.reserve("ann") is None
        assert (await seat(queue, "bob")).task.track == 1
        assert await queue.reserve("cem") is None
        assert await queue.submit(verified(first)) is ReviewState.SUBMITTED
        assert await queue.reserve("bob", [Tier.EXPERT]) is None
        await queue.release(second.task.task_id, "ann")
        assert (await seat(queue, "cem")).task.track == 1
        with pytest.raises(ConflictError, match="holds no seat"):
            await queue.release(second.task.task_id, "ann")

    play(scene)


def test_an_answer_counts_once(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(1)], "router")
        held = await seat(queue, "ann")
        answer = verified(held)
        with pytest.raises(ConflictError, match="bob holds no seat"):
            await queue.submit(verified(held, annotator="bob"))
        with pytest.raises(ConflictError, match="round 2 is over"):
            await queue.submit(verified(held, round=2))
        assert await queue.submit(answer) is ReviewState.SUBMITTED
        assert await queue.submit(answer) is ReviewState.SUBMITTED
        with pytest.raises(ConflictError, match="otherwise already"):
            await queue.submit(verified(held, verdict=Verdict.NO_OBJECT, boxes=()))
        row = await queue.row(held.task.task_id[:8])
        assert row.judgements == (answer,)

    play(scene)


def test_what_does_not_fit_the_question_is_refused(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(1)], "router")
        held = await seat(queue, "ann")
        moved = boxes_of(1)[0].model_copy(
            update={"box": boxes_of(1)[0].box.model_copy(update={"yaw_rad": 1.0})}
        )
        strange = moved.model_copy(
            update={"box": moved.box.model_copy(update={"class_name": "tank"})}
        )
        adjusted = {"verdict": Verdict.ADJUSTED}
        for changes, why in [
            ({"boxes": (moved,)}, "these differ"),
            (adjusted | {"boxes": boxes_of(1, (5,))}, "frame 5 was not asked"),
            (adjusted | {"boxes": (moved, moved)}, "two boxes in frame 0"),
            (adjusted | {"boxes": (strange,)}, "unknown class 'tank'"),
            (adjusted | {"boxes": ()}, "adjusted needs boxes"),
            ({"comment": "a\0b"}, "zero character"),
        ]:
            with pytest.raises(InputError, match=why):
                await queue.submit(verified(held, **changes))
        for task_id, why in [("ab", "first 4"), ("abcd" * 3, "no such task"), ("x" * 64, "first")]:
            with pytest.raises(InputError, match=why):
                await queue.row(task_id)
        with pytest.raises(InputError, match="no such task"):
            await queue.submit(verified(held, task_id="0" * 64))
        assert await queue.submit(verified(held, **adjusted, boxes=(moved,))) == "submitted"

    play(scene)


def test_a_reservation_ends_by_the_clock(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(1)], "router")
        held = await seat(queue, "ann")
        await clock.advance_ns(HOLD_NS - 1)
        assert await queue.reserve("bob") is None and await queue.free_expired() == 0
        await clock.advance_ns(1)
        with pytest.raises(ConflictError, match="reservation has ended: reserve it again"):
            await queue.submit(verified(held))
        assert (await queue.row(held.task.task_id)).judgements == ()
        other = await seat(queue, "bob")
        assert other.task == held.task
        with pytest.raises(ConflictError, match="ann holds no seat"):
            await queue.submit(verified(held))
        assert await queue.submit(verified(other)) is ReviewState.SUBMITTED
        await clock.advance_ns(10 * HOLD_NS)
        assert await queue.free_expired() == 0
        assert await queue.reserve("ann") is None

    play(scene)


def test_returned_work_goes_to_others_and_up(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        task = new_task(1, wanted=2)
        task_id = task.task.task_id
        await queue.add([task], "router")
        for name in ("ann", "bob"):
            state = await queue.submit(verified(await seat(queue, name)))
        assert state is ReviewState.SUBMITTED
        with pytest.raises(ConflictError, match="accept does not fit"):
            await queue.decide(task_id, Accept(), "qa")
        await queue.decide(task_id, Fuse(), "qa")
        returned = Return(reason=RejectionReason.NO_AGREEMENT)
        await queue.decide(task_id, returned, "qa")
        await queue.decide(task_id, Requeue(tier=Tier.CONSENSUS, judgements_wanted=2), "qa")
        assert await queue.reserve("ann") is None
        with pytest.raises(ConflictError, match="ann has judged"):
            await queue.take(task_id, "ann")
        for name in ("cem", "dee"):
            held = await seat(queue, name)
            assert held.round == 2
            await queue.submit(verified(held))
        await queue.decide(task_id, Fuse(), "qa")
        await queue.decide(task_id, returned, "qa")
        await queue.decide(task_id, Requeue(tier=Tier.EXPERT, judgements_wanted=1), "qa")
        assert [await queue.reserve(name) for name in ("ann", "bob", "cem", "dee")] == [None] * 4
        held = await seat(queue, "eva")
        assert (held.task.tier, held.task.judgements_wanted, held.round) == (Tier.EXPERT, 1, 3)
        await queue.submit(verified(held))
        review = await queue.decide(task_id, Reject(reason=RejectionReason.WRONG_TRACK), "qa")
        assert (review.state, review.reason) == ("rejected", "wrong_track")
        with pytest.raises(ConflictError, match="does not fit a task that is rejected"):
            await queue.decide(task_id, Accept(), "qa")
        assert len((await queue.row(task_id)).judgements) == 5
        (count,) = await queue.counts()
        assert (count.tier, count.state, count.tasks) == ("expert", "rejected", 1)

    play(scene)


def test_gold_looks_like_any_other(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        gold, routed = new_task(1, purpose=Purpose.GOLD), new_task(2)
        await queue.add([gold, routed], "router")
        for _ in range(2):
            held = await seat(queue, "ann")
            told = " ".join(repr(getattr(held, field.name)) for field in fields(held))
            row = await queue.row(held.task.task_id)
            for text in (told, repr(row)):
                assert "gold" not in text and "truth" not in text and "routed" not in text
        sealed = await queue.purposes([gold.task.task_id, routed.task.task_id])
        assert sealed == {one.task.task_id: one.sealed for one in (gold, routed)}

    play(scene)


def test_a_proposal_must_be_what_its_digest_says() -> None:
    one = new_task(1)
    with pytest.raises(InputError, match="proposal_digest"):
        NewTask(one.task, one.sealed, boxes_of(2))
    with pytest.raises(InputError, match="another task's"):
        NewTask(one.task, new_task(2).sealed, one.proposal)


def test_taking_by_id(play: Play) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(1)], "router")
        task_id = new_task(1).task.task_id
        held = await queue.take(task_id, "ann")
        await clock.advance_ns(NS_PER_S)
        assert await queue.take(task_id, "ann") == held
        with pytest.raises(ConflictError):
            await queue.take(task_id, "bob")
        with pytest.raises(InputError, match="no such task"):
            await queue.take("0" * 64, "bob")

    play(scene)


def test_every_change_leaves_a_line(play: Play, tables: sa.Engine) -> None:
    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        await queue.add([new_task(1)], "router")
        await seat(queue, "ann")
        await clock.advance_ns(HOLD_NS)
        await queue.submit(verified(await seat(queue, "bob")))
        await queue.decide(new_task(1).task.task_id, Accept(), "qa")

    play(scene)
    with tables.connect() as connection:
        columns = (audit_log.c.actor, audit_log.c.action, audit_log.c.reason)
        rows = connection.execute(sa.select(*columns).order_by(audit_log.c.number)).all()
    assert [tuple(row) for row in rows] == [
        ("router", "review.add", ""), ("ann", "review.reserve", ""),
        ("queue", "review.expire", "ann"), ("bob", "review.reserve", ""),
        ("bob", "review.submit", "verified"), ("qa", "review.accept", ""),
    ]  # fmt: skip


def test_eight_clients_at_once(play: Play) -> None:
    """Each of 10 consensus tasks is to be answered by three of eight. Everybody works at once and
    sends each answer twice, every third reservation is left to expire in the first pass, and the
    same tasks are added again and again.
    """
    tasks = [new_task(track, wanted=3) for track in range(10)]

    async def scene(queue: ReviewQueue, clock: VirtualClock) -> None:
        submitted: Counter[str] = Counter()

        async def work(name: str, wasteful: bool) -> None:
            for turn in range(6):
                if turn == 0:
                    await queue.add(tasks if wasteful else tasks[::-1], name)
                held = await queue.reserve(name)
                if held is not None and not (wasteful and turn % 3 == 0):
                    answer = verified(held)
                    await asyncio.gather(queue.submit(answer), queue.submit(answer))
                    submitted[held.task.task_id] += 1

        for wasteful in (True, False, False):
            await asyncio.gather(*(work(f"client-{number}", wasteful) for number in range(8)))
            await clock.advance_ns(HOLD_NS)
        rows = await queue.rows(limit=1000)
        assert len(rows) == len(tasks)
        for row in rows:
            answered = [judgement.annotator for judgement in row.judgements]
            assert row.review.state is ReviewState.SUBMITTED
            assert len(answered) == len(set(answered)) == 3 == submitted[row.task.task_id]
            assert sorted(seat.annotator for seat in row.review.seats) == sorted(answered)

    play(scene)
