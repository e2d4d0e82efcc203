"""Runs and steps as rows: who works on which clip, and how far it came.

Guarantees: a clip has one worker at a time, as long as its worker renews the lease in time; one
that lost it (it was killed, or slept) can write nothing any more, and the next one goes on at the
first step that did not end. A step's end and the begin of the next are one transaction. No lock is
held while a step works. Times are the service's clock, so replicas' clocks must agree to well
within a lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.commit import COMMITTED_TOPIC
from cloud_ingest.database import to_time
from cloud_ingest.schema import QUARANTINED, clips, outbox
from cloud_ingest.steps import announce
from cloud_ingest.steps_schema import clip_steps, step_runs
from contracts.clock import NS_PER_S, Clock
from contracts.errors import ConflictError
from contracts.steps import StepState

OPEN, ENDED = "open", "ended"


@dataclass(frozen=True, slots=True)
class Run:
    """One clip's way through the steps, held by one worker."""

    clip_id: str
    round: int
    worker: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step came to stand."""

    step: str
    state: StepState
    reason: str = ""
    product: dict[str, Any] | None = None


class StepBook:
    """The rows of all replicas.

    Args:
        lease_s: how long a worker is believed to live after its last word.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, lease_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self.lease_ns = int(lease_s * NS_PER_S)

    async def take_in(self, most: int) -> int:
        """Open a run for each committed clip of the outbox; returns how many entries were taken.

        The entry goes in the transaction that opens the run, and tells the webhooks.
        """
        now = to_time(self._clock.utc_ns())
        oldest = (
            sa.select(outbox.c.sequence)
            .where(outbox.c.topic == COMMITTED_TOPIC)
            .order_by(outbox.c.sequence)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        taken = (
            sa.delete(outbox)
            .where(outbox.c.sequence.in_(oldest))
            .returning(outbox.c.clip_id, outbox.c.payload)
        )
        async with self._engine.begin() as connection:
            entries = (await connection.execute(taken)).all()
            if not entries:
                return 0
            rows = [
                {"clip_id": clip_id, "state": OPEN, "due_utc": now, "changed_utc": now}
                for clip_id in sorted({entry.clip_id for entry in entries})
            ]
            # A clip that was set aside and has now come from its own vehicle is done anew.
            await connection.execute(
                insert(step_runs)
                .values(rows)
                .on_conflict_do_update(
                    index_elements=[step_runs.c.clip_id],
                    set_=_anew(now),
                )
            )
            for entry in entries:
                await announce.announce(
                    connection, COMMITTED_TOPIC, entry.clip_id, entry.payload, self._clock
                )
        return len(entries)

    async def claim(self, worker: str, most: int) -> list[Run]:
        """Runs that are due and that nobody works on, now held by `worker`."""
        now_ns = self._clock.utc_ns()
        now = to_time(now_ns)
        free = sa.or_(step_runs.c.lease_utc.is_(None), step_runs.c.lease_utc <= now)
        due = (
            sa.select(step_runs.c.clip_id)
            .where(step_runs.c.state == OPEN, step_runs.c.due_utc <= now, free)
            .order_by(step_runs.c.due_utc)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        held = (
            sa.update(step_runs)
            .where(step_runs.c.clip_id.in_(due))
            .values(worker=worker, lease_utc=to_time(now_ns + self.lease_ns), changed_utc=now)
            .returning(step_runs.c.clip_id, step_runs.c.round)
        )
        async with self._engine.begin() as connection:
            rows = (await connection.execute(held)).all()
        return [Run(row.clip_id, row.round, worker) for row in rows]

    async def renew(self, worker: str, clip_ids: Sequence[str]) -> None:
        """The worker lives: what it has in hand stays its own."""
        if not clip_ids:
            return
        until = to_time(self._clock.utc_ns() + self.lease_ns)
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(step_runs)
                .where(
                    step_runs.c.clip_id.in_(clip_ids),
                    step_runs.c.worker == worker,
                    step_runs.c.state == OPEN,
                )
                .values(lease_utc=until)
            )

    async def let_go(self, worker: str) -> None:
        """The worker ends in order: others need not wait for its lease."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.update(step_runs)
                .where(step_runs.c.worker == worker, step_runs.c.state == OPEN)
                .values(worker=None, lease_utc=None)
            )

    async def ended_steps(self, run: Run) -> set[str]:
        """Steps that need not be done: done ever, or brought to any end in this round."""
        query = sa.select(clip_steps).where(clip_steps.c.clip_id == run.clip_id)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return {
            row.step
            for row in rows
            if row.state == "done"
            or (row.round == run.round and row.state in ("skipped", "failed"))
        }

    async def begin(self, run: Run, step: str) -> int:
        """A step is begun; returns how often in this round. Raises `ConflictError`."""
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            return await self._begin(connection, run, step)

    async def end(self, run: Run, outcome: Outcome, following: str | None) -> int:
        """Write how a step ended, and begin the next one; returns how often that was begun.

        Without a following step the run ends. Raises `ConflictError` when the lease was lost.
        """
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            await self._write(connection, run, outcome)
            if following is not None:
                return await self._begin(connection, run, following)
            await self._close(connection, run)
            return 0

    async def close(self, run: Run) -> None:
        """End a run that has nothing left to do."""
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            await self._close(connection, run)

    async def put_off(self, run: Run, outcome: Outcome, wait_s: float) -> None:
        """A step could not be done now: the whole run waits, held by nobody."""
        due = to_time(self._clock.utc_ns() + int(wait_s * NS_PER_S))
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            await self._write(connection, run, outcome)
            await connection.execute(
                sa.update(step_runs)
                .where(step_runs.c.clip_id == run.clip_id)
                .values(worker=None, lease_utc=None, due_utc=due)
            )

    async def quarantine(self, run: Run, outcome: Outcome, others: list[str]) -> None:
        """Set the clip aside with a reason; its other steps are skipped for it."""
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            await connection.execute(
                sa.update(clips)
                .where(clips.c.clip_id == run.clip_id)
                .values(state=QUARANTINED, state_reason=outcome.reason)
            )
            await self._write(connection, run, outcome)
            await self._skip(connection, run, others, "the clip is quarantined")
            await self._close(connection, run)
            await announce.announce(
                connection, "clip.quarantined", run.clip_id, {"reason": outcome.reason}, self._clock
            )

    async def skip_all(self, run: Run, steps: list[str], reason: str) -> None:
        """End a run of which nothing can be done."""
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            await self._skip(connection, run, steps, reason)
            await self._close(connection, run)

    async def fail_all(self, run: Run, steps: list[str], reason: str) -> None:
        """End a run whose clip cannot be worked on as it is: what is not done has failed."""
        async with self._engine.begin() as connection:
            await self._fence(connection, run)
            await self._skip(connection, run, steps, reason, "failed")
            await self._close(connection, run)

    async def redo(self, clip_id: str) -> bool:
        """Begin a new round for what is not done; False when the clip has no run."""
        now = to_time(self._clock.utc_ns())
        statement = (
            sa.update(step_runs)
            .where(step_runs.c.clip_id == clip_id)
            .values(_anew(now))
            .returning(step_runs.c.clip_id)
        )
        async with self._engine.begin() as connection:
            return (await connection.execute(statement)).first() is not None

    # Inside a transaction --------------------------------------------------------------------

    async def _fence(self, connection: AsyncConnection, run: Run) -> None:
        """Hold the run's row. Raises `ConflictError` unless it is still this worker's."""
        query = (
            sa.select(step_runs.c.worker, step_runs.c.round, step_runs.c.state)
            .where(step_runs.c.clip_id == run.clip_id)
            .with_for_update()
        )
        row = (await connection.execute(query)).one_or_none()
        if row is None or (row.worker, row.round, row.state) != (run.worker, run.round, OPEN):
            raise ConflictError("the run is not this worker's any more", run.clip_id)

    async def _begin(self, connection: AsyncConnection, run: Run, step: str) -> int:
        now = to_time(self._clock.utc_ns())
        fresh = insert(clip_steps).values(
            clip_id=run.clip_id, step=step, round=run.round, state="running", attempts=1,
            began_utc=now, changed_utc=now,
        )  # fmt: skip
        again = sa.case((clip_steps.c.round == run.round, clip_steps.c.attempts + 1), else_=1)
        statement = fresh.on_conflict_do_update(
            index_elements=[clip_steps.c.clip_id, clip_steps.c.step],
            set_={
                "state": "running", "round": run.round, "attempts": again, "began_utc": now,
                "changed_utc": now,
            },
        ).returning(clip_steps.c.attempts)  # fmt: skip
        return int((await connection.execute(statement)).scalar_one())

    async def _write(self, connection: AsyncConnection, run: Run, outcome: Outcome) -> None:
        await connection.execute(
            sa.update(clip_steps)
            .where(clip_steps.c.clip_id == run.clip_id, clip_steps.c.step == outcome.step)
            .values(
                state=outcome.state,
                reason=outcome.reason[:1000],
                product=outcome.product or {},
                changed_utc=to_time(self._clock.utc_ns()),
            )
        )

    async def _skip(
        self,
        connection: AsyncConnection,
        run: Run,
        steps: list[str],
        reason: str,
        state: StepState = "skipped",
    ) -> None:
        if not steps:
            return
        now = to_time(self._clock.utc_ns())
        rows = [
            {
                "clip_id": run.clip_id, "step": step, "round": run.round, "state": state,
                "reason": reason[:1000], "attempts": 0, "began_utc": now, "changed_utc": now,
            }
            for step in steps
        ]  # fmt: skip
        fresh = insert(clip_steps).values(rows)
        names = ("round", "state", "reason", "attempts", "changed_utc")
        await connection.execute(
            fresh.on_conflict_do_update(
                index_elements=[clip_steps.c.clip_id, clip_steps.c.step],
                set_={name: fresh.excluded[name] for name in names},
                where=None if state == "skipped" else clip_steps.c.state != "done",
            )
        )

    async def _close(self, connection: AsyncConnection, run: Run) -> None:
        await connection.execute(
            sa.update(step_runs)
            .where(step_runs.c.clip_id == run.clip_id)
            .values(
                state=ENDED,
                worker=None,
                lease_utc=None,
                changed_utc=to_time(self._clock.utc_ns()),
            )
        )


def _anew(now: Any) -> dict[str, Any]:
    """A run that begins a new round; whoever works on it loses it."""
    return {
        "state": OPEN, "round": step_runs.c.round + 1, "due_utc": now, "worker": None,
        "lease_utc": None, "changed_utc": now,
    }  # fmt: skip
