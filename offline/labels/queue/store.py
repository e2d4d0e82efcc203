"""The review queue: tasks are added, reserved, answered, decided.

Guarantees: a task's state moves only along `contracts.review.step`, in one transaction with its
row locked, with the answer and the audit line that belong to it; clients that reserve at the same
time get different seats, and none waits for another (`SKIP LOCKED`); an answer counts once, also
when it is sent twice, and not after its reservation has ended; nobody who has judged a task gets
it again, in whatever round or tier. Why a task exists (gold, audit) leaves only by `purposes`.

The same clip, track and boxes shown are the same task, whoever adds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.database import among, to_time
from cloud_ingest.fleet_schema import audit_log
from cloud_ingest.label_schema import review_judgements, review_purposes, review_tasks
from contracts.clock import NS_PER_S, Clock
from contracts.errors import ConflictError, InputError
from contracts.review import (
    Accept,
    Event,
    Expire,
    Fuse,
    Judgement,
    Reject,
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
    step,
)
from offline.labels.queue.records import (
    Added,
    Count,
    HeldTask,
    NewTask,
    TaskRow,
    check_judgement,
)
from offline.labels.queue.rows import (
    Row,
    answer_like,
    content,
    held_task,
    judges,
    known_id,
    locked,
    new_row,
    review_in,
    told,
)

HOLD_NS = 3600 * NS_PER_S
"""How long an annotator may keep a task."""

Decision = Fuse | Accept | Reject | Return | Requeue
_BATCH = 500


class ReviewQueue:
    """The queue in a migrated database.

    Args:
        hold_ns: how long a reservation holds.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, hold_ns: int = HOLD_NS) -> None:
        self._engine = engine
        self._clock = clock
        self._hold_ns = hold_ns

    async def add(self, tasks: Iterable[NewTask], actor: str) -> Added:
        """Queue tasks; those that are known already are left as they are.

        Raises `ConflictError` when an id belongs to another task; nothing is added then.
        """
        every, ids, new = list(tasks), dict[int, str](), 0
        # All clients insert in one order, so that none waits for another in a circle.
        order = sorted(range(len(every)), key=lambda place: content(every[place].task))
        async with self._engine.begin() as connection:
            for first in range(0, len(order), _BATCH):
                places = order[first : first + _BATCH]
                added = await self._insert(connection, [every[place] for place in places], actor)
                new += len(added)
                for place in places:
                    task = every[place].task
                    is_new = task.task_id in added
                    ids[place] = task.task_id if is_new else await known_id(connection, task)
        return Added(tuple(ids[place] for place in range(len(every))), new)

    async def _insert(
        self, connection: AsyncConnection, batch: Sequence[NewTask], actor: str
    ) -> set[str]:
        now = to_time(self._clock.utc_ns())
        rows = {each.task.task_id: new_row(each) for each in batch}
        statement = (
            insert(review_tasks)
            .values([row | {"added_utc": now, "changed_utc": now} for row in rows.values()])
            .on_conflict_do_nothing()
            .returning(review_tasks.c.task_id)
        )
        added = set((await connection.execute(statement)).scalars())
        sealed = {each.task.task_id: each.sealed for each in batch if each.task.task_id in added}
        if sealed:
            await connection.execute(
                sa.insert(review_purposes),
                [
                    one.model_dump(mode="json", exclude={"schema_version"})
                    for one in sealed.values()
                ],
            )
            await connection.execute(
                sa.insert(audit_log),
                [{"at_utc": now, "actor": actor, "action": "review.add", "subject": task_id,
                  "reason": ""} for task_id in sealed],
            )  # fmt: skip
        return added

    async def reserve(
        self, annotator: str, tiers: Sequence[Tier] | None = None
    ) -> HeldTask | None:  # fmt: skip
        """A seat at the most urgent task that the annotator may have; None when there is none."""
        now = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            await self._free_expired(connection, now)
            query = (
                sa.select(review_tasks)
                .where(review_tasks.c.state == ReviewState.QUEUED.value)
                .where(sa.literal(annotator) != sa.all_(review_tasks.c.excluded))
                .order_by(review_tasks.c.priority.desc(), review_tasks.c.number)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if tiers is not None:
                query = query.where(review_tasks.c.tier.in_([tier.value for tier in tiers]))
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else await self._seat(connection, row, annotator, now)

    async def take(self, task_id: str, annotator: str) -> HeldTask:
        """A seat at a task by its id; the one that is held already is told again.

        Raises `ConflictError` when there is no seat, or the annotator may not have it,
        `InputError` when there is no such task.
        """
        now = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            row = await locked(connection, task_id)
            review = step(review_in(row), Expire(now_utc_ns=now))
            for seat in review.seats:
                if seat.annotator == annotator and not seat.answered:
                    return held_task(row, review, annotator, seat.until_utc_ns)
            if annotator in await judges(connection, task_id):
                raise ConflictError(f"{annotator} has judged this task", f"task {task_id[:12]}")
            return await self._seat(connection, row, annotator, now)

    async def _seat(
        self, connection: AsyncConnection, row: Row, annotator: str, now: int
    ) -> HeldTask:
        until = now + self._hold_ns
        review = step(review_in(row), Expire(now_utc_ns=now))
        review = step(review, Reserve(annotator=annotator, until_utc_ns=until))
        await self._save(connection, review, now, annotator, "review.reserve")
        return held_task(row, review, annotator, until)

    async def release(self, task_id: str, annotator: str) -> None:
        """Give a seat back. Raises `ConflictError` when it is not held."""
        await self._step(task_id, Release(annotator=annotator), annotator)

    async def submit(self, judgement: Judgement) -> ReviewState:
        """Take an answer; the task's state after it. The same answer again changes nothing.

        Raises `ConflictError` when the reservation has ended, was never made, or the task was
        answered otherwise; `InputError` when the answer does not fit the question.
        """
        now, annotator = self._clock.utc_ns(), judgement.annotator
        async with self._engine.begin() as connection:
            row = await locked(connection, judgement.task_id)
            review, place = review_in(row), f"task {judgement.task_id[:12]}"
            check_judgement(judgement, ReviewTask.model_validate(row.task))
            known = await answer_like(connection, judgement)
            if known is not None:
                if known != judgement:
                    raise ConflictError(f"{annotator} has answered otherwise already", place)
                return review.state
            if judgement.round != review.round:
                raise ConflictError(
                    f"round {judgement.round} is over: it is in round {review.round}", place
                )
            for seat in review.seats:
                if seat.annotator == annotator and seat.until_utc_ns <= now:
                    raise ConflictError("the reservation has ended: reserve it again", place)
            review = step(review, Submit(annotator=annotator))
            await connection.execute(
                sa.insert(review_judgements).values(
                    task_id=judgement.task_id, round=judgement.round, annotator=annotator,
                    verdict=judgement.verdict.value, seconds=judgement.seconds,
                    received_utc=to_time(now), judgement=judgement.model_dump(mode="json"),
                )
            )  # fmt: skip
            await self._save(
                connection, review, now, annotator, "review.submit", judgement.verdict.value
            )
            return review.state

    async def decide(self, task_id: str, decision: Decision, actor: str) -> Review:
        """Fuse, accept, reject, return or requeue. Raises `ConflictError` where it does not fit."""
        return await self._step(task_id, decision, actor)

    async def free_expired(self) -> int:
        """End reservations whose time is over; how many tasks had some."""
        async with self._engine.begin() as connection:
            return await self._free_expired(connection, self._clock.utc_ns())

    async def _free_expired(self, connection: AsyncConnection, now: int) -> int:
        query = (
            sa.select(review_tasks.c.task_id, review_tasks.c.review)
            .where(review_tasks.c.expires_utc_ns <= now)
            .order_by(review_tasks.c.expires_utc_ns)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )
        rows = (await connection.execute(query)).all()
        for row in rows:
            before = Review.model_validate(row.review)
            after = step(before, Expire(now_utc_ns=now))
            kept = {seat.annotator for seat in after.seats}
            gone = ", ".join(s.annotator for s in before.seats if s.annotator not in kept)
            await self._save(connection, after, now, "queue", "review.expire", gone)
        return len(rows)

    async def _step(self, task_id: str, event: Event, actor: str) -> Review:
        now = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            row = await locked(connection, task_id)
            try:
                review = step(review_in(row), event)
            except ConflictError as error:
                raise ConflictError(error.message, f"task {task_id[:12]}") from None
            reason = getattr(event, "reason", None) or getattr(event, "tier", "")
            action = f"review.{type(event).__name__.lower()}"
            await self._save(connection, review, now, actor, action, str(reason))
            return review

    async def _save(
        self, connection: AsyncConnection, review: Review, now: int, actor: str, action: str,
        reason: str = "",
    ) -> None:  # fmt: skip
        held = [seat.until_utc_ns for seat in review.seats if not seat.answered]
        excluded = {*review.barred, *(seat.annotator for seat in review.seats)}
        excluded |= await judges(connection, review.task_id)
        is_open = review.state in {ReviewState.QUEUED, ReviewState.RESERVED}
        await connection.execute(
            sa.update(review_tasks)
            .where(review_tasks.c.task_id == review.task_id)
            .values(
                state=review.state.value, tier=review.tier.value, round=review.round,
                excluded=sorted(excluded),
                expires_utc_ns=min(held) if held and is_open else None,
                review=review.model_dump(mode="json"), changed_utc=to_time(now),
            )
        )  # fmt: skip
        await audit.record(connection, now, actor, action, review.task_id, reason)

    async def row(self, task_id: str) -> TaskRow:
        """A task in full, by its id or an id's beginning of 4 digits or more.

        Raises `InputError` when none or several match.
        """
        if len(task_id) < 4 or set(task_id) - set("0123456789abcdef"):
            raise InputError("give a task's id, or at least its first 4 hex digits", task_id)
        query = sa.select(review_tasks).where(review_tasks.c.task_id.startswith(task_id)).limit(2)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            if len(rows) != 1:
                raise InputError("no such task" if not rows else "several tasks match", task_id)
            return (await told(connection, rows))[0]

    async def rows(
        self, state: ReviewState | None = None, tier: Tier | None = None, limit: int = 100
    ) -> list[TaskRow]:
        """Tasks from the most urgent on."""
        query = (
            sa.select(review_tasks)
            .order_by(review_tasks.c.priority.desc(), review_tasks.c.number)
            .limit(limit)
        )
        if state is not None:
            query = query.where(review_tasks.c.state == state.value)
        if tier is not None:
            query = query.where(review_tasks.c.tier == tier.value)
        async with self._engine.connect() as connection:
            return await told(connection, (await connection.execute(query)).all())

    async def counts(self) -> list[Count]:
        """How many tasks stand where."""
        columns = (review_tasks.c.tier, review_tasks.c.state)
        query = sa.select(*columns, sa.func.count()).group_by(*columns).order_by(*columns)
        async with self._engine.connect() as connection:
            return [Count(*row) for row in (await connection.execute(query)).all()]

    async def purposes(self, task_ids: Sequence[str]) -> dict[str, SealedPurpose]:
        """Why tasks exist. For those who decide about labels, never for annotators."""
        query = sa.select(review_purposes).where(among(review_purposes.c.task_id, task_ids))
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return {row["task_id"]: SealedPurpose.model_validate(dict(row)) for row in rows}
