"""Rows of the queue's tables to and from the contracts' records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import among
from cloud_ingest.label_schema import review_judgements, review_tasks
from contracts.errors import ConflictError, InputError
from contracts.review import FrameBox, Judgement, Review, ReviewTask, review_of
from offline.labels.queue.records import HeldTask, NewTask, TaskRow

Row = sa.Row[Any]


def new_row(new: NewTask) -> dict[str, Any]:
    task, review = new.task, review_of(new.task)
    return {
        "task_id": task.task_id, "clip_id": task.clip_id, "track": task.track,
        "proposal_digest": task.proposal_digest, "class_name": task.class_name,
        "tier": review.tier.value, "state": review.state.value, "round": review.round,
        "priority": task.priority, "excluded": [], "expires_utc_ns": None,
        "task": task.model_dump(mode="json"), "review": review.model_dump(mode="json"),
        "proposal": [box.model_dump(mode="json") for box in new.proposal],
    }  # fmt: skip


def content(task: ReviewTask) -> tuple[str, int, str]:
    """What makes a task the same task, to be sorted by."""
    return task.clip_id, -1 if task.track is None else task.track, task.proposal_digest


async def known_id(connection: AsyncConnection, task: ReviewTask) -> str:
    query = sa.select(review_tasks.c.task_id).where(
        review_tasks.c.clip_id == task.clip_id,
        review_tasks.c.track.is_not_distinct_from(task.track),
        review_tasks.c.proposal_digest == task.proposal_digest,
    )
    known: str | None = (await connection.execute(query)).scalar_one_or_none()
    if known is None:
        raise ConflictError("another task has this id", f"task {task.task_id[:12]}")
    return known


async def locked(connection: AsyncConnection, task_id: str) -> Row:
    query = sa.select(review_tasks).where(review_tasks.c.task_id == task_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise InputError("no such task", f"task {task_id[:12]}")
    return row


def review_in(row: Row) -> Review:
    return Review.model_validate(row.review)


def _boxes(row: Row) -> tuple[FrameBox, ...]:
    return tuple(FrameBox.model_validate(box) for box in row.proposal)


def _task(row: Row, review: Review) -> ReviewTask:
    """The task as it is asked in this round."""
    changed: Mapping[str, Any] = {
        "tier": review.tier, "judgements_wanted": review.judgements_wanted
    }  # fmt: skip
    return ReviewTask.model_validate(row.task).model_copy(update=changed)


def held_task(row: Row, review: Review, annotator: str, until_utc_ns: int) -> HeldTask:
    return HeldTask(_task(row, review), review.round, _boxes(row), annotator, until_utc_ns)


async def judges(connection: AsyncConnection, task_id: str) -> set[str]:
    """Everybody who has ever answered a task."""
    column = review_judgements.c.annotator
    query = sa.select(column).where(review_judgements.c.task_id == task_id)
    return set((await connection.execute(query)).scalars())


async def answer_like(connection: AsyncConnection, judgement: Judgement) -> Judgement | None:
    columns = review_judgements.c
    query = sa.select(columns.judgement).where(
        columns.task_id == judgement.task_id, columns.round == judgement.round,
        columns.annotator == judgement.annotator,
    )  # fmt: skip
    found = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else Judgement.model_validate(found)


async def told(connection: AsyncConnection, rows: Sequence[Row]) -> list[TaskRow]:
    columns = review_judgements.c
    query = (
        sa.select(columns.task_id, columns.judgement)
        .where(among(columns.task_id, (row.task_id for row in rows)))
        .order_by(columns.round, columns.received_utc, columns.annotator)
    )
    answers: dict[str, list[Judgement]] = {}
    for task_id, judgement in (await connection.execute(query)).all():
        answers.setdefault(task_id, []).append(Judgement.model_validate(judgement))
    return [
        TaskRow(_task(row, review), review, _boxes(row), tuple(answers.get(row.task_id, ())))
        for row in rows
        for review in [review_in(row)]
    ]
