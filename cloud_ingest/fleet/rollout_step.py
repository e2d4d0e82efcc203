"""One step of one rollout, within one transaction: read, decide, write.

The caller has locked the rollout's row and ends the transaction; so state, orders, what is told
and audit lines are written together or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest import audit
from cloud_ingest.database import to_ns, to_time
from cloud_ingest.fleet import assignments, readings
from cloud_ingest.fleet.intervals import closed_bounds, intervals_of
from cloud_ingest.fleet.manifests import Manifests
from cloud_ingest.fleet.orders import carry_out
from cloud_ingest.fleet.told import Target, Told, told_after
from cloud_ingest.fleet.views import BUILT_IN_DIGEST, views
from cloud_ingest.fleet_schema import releases, rollouts
from cloud_ingest.rollout.commands import LIVE
from cloud_ingest.rollout.machine import step
from cloud_ingest.rollout.observation import Interval, VehicleView
from cloud_ingest.rollout.snapshot import dump, restore
from cloud_ingest.rollout.state import Command, Decision, Phase, RolloutState, StepResult, Verb
from contracts.clock import Clock
from contracts.ota import ReleaseId

_READS = LIVE | {Phase.PLANNED}
# No id that a person can send: names have no colon.
WITHDRAWN = Command(
    "service:withdrawn", Verb.ABORT, actor="the service", reason="the release was withdrawn"
)


class RolloutStep:
    """Takes steps.

    Args:
        interval_ns: length of the intervals in which vehicles are compared.
    """

    def __init__(self, clock: Clock, interval_ns: int) -> None:
        self._clock = clock
        self._interval_ns = interval_ns
        self._manifests = Manifests()

    async def take(
        self, connection: AsyncConnection, row: Any, commands: Sequence[Command] = ()
    ) -> StepResult:
        """Step the rollout of a locked row, with orders or without."""
        now_ns = self._clock.utc_ns()
        before, told = restore(bytes(row.state)), Told.model_validate(row.told)
        target = target_of(row, told)
        if before.phase in _READS and await is_withdrawn(connection, target.release):
            commands = (WITHDRAWN, *commands)
        intervals = await self._intervals(connection, row, before, now_ns)
        # A vehicle that comes while the rollout ends would be in neither it nor the baseline.
        await assignments.hold_newcomers(connection, alone=True)
        contacts = await self._manifests.contacts(connection)
        fleet = await views(
            connection,
            contacts,
            row.slot,
            before.plan.target_digest,
            before.records,
            told.attempts_before,
        )
        result = await asyncio.to_thread(_decide, before, fleet, intervals, commands, now_ns)
        await carry_out(connection, target, result.decisions, result.state.records, fleet)
        matching = sum(before.plan.selector.matches(view.labels) for view in fleet)
        await self._write(connection, row, before, result, told_after(told, result, matching))
        return result

    async def _intervals(
        self, connection: AsyncConnection, row: Any, state: RolloutState, now_ns: int
    ) -> list[Interval]:
        if state.phase not in _READS or state.reading_stopped:
            return []
        created_ns = to_ns(row.created_utc)
        bounds = closed_bounds(state.read_until_ns, created_ns, now_ns, self._interval_ns)
        if len(bounds) < 2:
            return []
        marks = await readings.marks(connection, row.slot, bounds)
        counted = [guardrail.name for guardrail in state.plan.guardrails]
        return await asyncio.to_thread(intervals_of, marks, bounds, counted)

    async def _write(
        self,
        connection: AsyncConnection,
        row: Any,
        before: RolloutState,
        result: StepResult,
        told: Told,
    ) -> None:
        state, now_ns = result.state, self._clock.utc_ns()
        for line in state.audit[len(before.audit) :]:
            reason = f"{line.reason} (refused: {line.refused})" if line.refused else line.reason
            action = f"rollout {line.action}"
            subject = subject_of(row.rollout_id)
            await audit.record(connection, now_ns, line.actor, action, subject, reason)
        await _record_decisions(connection, now_ns, row.rollout_id, result.decisions)
        values: dict[str, Any] = {
            "phase": state.phase.value,
            "told": told.model_dump(mode="json"),
            "stepped_utc": to_time(now_ns),
        }
        if state is not before:
            values["state"] = await asyncio.to_thread(dump, state)
        await connection.execute(
            sa.update(rollouts).where(rollouts.c.rollout_id == row.rollout_id).values(values)
        )


def _decide(
    state: RolloutState,
    fleet: Sequence[VehicleView],
    intervals: Sequence[Interval],
    commands: Sequence[Command],
    now_ns: int,
) -> StepResult:
    """A step for each command, or one without; the decisions of all."""
    decisions: tuple[Decision, ...] = ()
    for command in commands or (None,):
        result = step(state, fleet, intervals, command, now_ns)
        state, decisions = result.state, decisions + result.decisions
    return replace(result, decisions=decisions)


async def _record_decisions(
    connection: AsyncConnection, now_ns: int, rollout_id: str, decisions: Sequence[Decision]
) -> None:
    names = {"Offer": "offer", "Withdraw": "withdraw", "RollBack": "roll back"}
    for kind, name in names.items():
        ids = [d.vehicle_id for d in decisions if type(d).__name__ == kind]
        if ids:
            shown = ", ".join(ids[:20]) + (", ..." if len(ids) > 20 else "")
            reason = f"{len(ids)} vehicles: {shown}"
            action, subject = f"rollout {name}", subject_of(rollout_id)
            await audit.record(connection, now_ns, "machine", action, subject, reason)


async def is_withdrawn(connection: AsyncConnection, release: ReleaseId | None) -> bool:
    """Whether the release was taken back; the built-in one never is."""
    if release is None:
        return False
    query = sa.select(releases.c.withdrawn_utc).where(*is_release(release))
    return (await connection.execute(query)).scalar_one_or_none() is not None


def is_release(release: ReleaseId) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        releases.c.kind == release.kind,
        releases.c.name == release.name,
        releases.c.version == release.version,
    )


def target_of(row: Any, told: Told) -> Target:
    """What the rollout of a row is about."""
    release = ReleaseId(row.kind, row.name, row.version)
    is_built_in = told.digest == BUILT_IN_DIGEST
    slot = release.slot(shadow=row.shadow)
    return Target(slot, None if is_built_in else release, told.attempts_before)


def subject_of(rollout_id: str) -> str:
    return f"rollout {rollout_id}"
