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
        # One statement, so one snapshot: the last step's end and the run's are never told apart.
        query = (
            sa.select(
                step_runs.c.round.label("current"), step_runs.c.state.label("run"), clip_steps
            )
            .select_from(clips)
            .outerjoin(step_runs, step_runs.c.clip_id == clips.c.clip_id)
            .outerjoin(clip_steps, clip_steps.c.clip_id == clips.c.clip_id)
            .where(clips.c.clip_id == clip_id)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            raise AbsentError("there is no such clip", clip_id)
        found = {row.step: row for row in rows}
        current = rows[0].current or 1
        return ClipSteps(
            clip_id=clip_id,
            round=current,
            ended=rows[0].run == ENDED,
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
