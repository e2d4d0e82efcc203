"""How far a clip's steps have come, as people read it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_ns
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import clips
from cloud_ingest.steps.book import ENDED
from cloud_ingest.steps_schema import clip_steps, step_runs
from contracts.steps import ClipStep, ClipSteps


class StepProgress:
    """Reads runs and steps of all replicas. `names`: the steps in their order."""

    def __init__(self, engine: AsyncEngine, names: Sequence[str]) -> None:
        self._engine = engine
        self._names = tuple(names)

    async def of(self, clip_id: str) -> ClipSteps:
        """Steps that were not begun are *waiting*. Raises `AbsentError` for no such clip."""
        run = sa.select(clips.c.clip_id, step_runs.c.round, step_runs.c.state).outerjoin(
            step_runs, step_runs.c.clip_id == clips.c.clip_id
        )
        steps = sa.select(clip_steps).where(clip_steps.c.clip_id == clip_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(run.where(clips.c.clip_id == clip_id))).one_or_none()
            if row is None:
                raise AbsentError("there is no such clip", clip_id)
            found = {each.step: each for each in (await connection.execute(steps)).all()}
        current = row.round or 1
        return ClipSteps(
            clip_id=clip_id,
            round=current,
            ended=row.state == ENDED,
            steps=tuple(_told(name, found.get(name), current) for name in self._names),
        )


def _told(name: str, row: sa.Row[tuple[object, ...]] | None, current: int) -> ClipStep:
    if row is None or (row.round != current and row.state != "done"):
        return ClipStep(step=name, state="waiting")
    return ClipStep(
        step=name,
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
        product=row.product,
        changed_utc_ns=to_ns(row.changed_utc),
    )
