"""Rollouts in the database: made, commanded, stepped.

Guarantees: one step is one transaction, in which the rollout's row is locked, everything is
read, `rollout.machine` decides, and state, assignments, what is told and audit lines are written
together: a crash loses or doubles nothing, and replicas never step one rollout at once. At most
one rollout of a slot is live. A request and a command are carried out once, by their ids.

A release that is withdrawn stops its live rollouts, and only the newest rollout of a slot may
be commanded: an older one would order against it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.database import to_ns, to_time
from cloud_ingest.fleet.baseline import finished_rollouts
from cloud_ingest.fleet.orders import last_attempt
from cloud_ingest.fleet.plan import plan_of
from cloud_ingest.fleet.rollout_step import (
    RolloutStep,
    is_release,
    is_withdrawn,
    subject_of,
    target_of,
)
from cloud_ingest.fleet.told import Told, first_told, rollout_detail, rollout_row
from cloud_ingest.fleet_schema import releases, rollouts
from cloud_ingest.problems import AbsentError
from cloud_ingest.rollout.snapshot import dump, restore
from cloud_ingest.rollout.state import Command, Verb, new_rollout
from contracts.clock import NS_PER_S, Clock
from contracts.errors import ConflictError
from contracts.fleet import RolloutCommand, RolloutDetail, RolloutPage, RolloutRequest
from contracts.ota import ReleaseId, Slot

BUILT_IN_VERSION = 0
"""A request for this version goes back to what the vehicle has built in."""

ENDED = ("done", "halted", "aborted")
_GIVES_OUT = frozenset({Verb.START, Verb.RESUME, Verb.ADVANCE, Verb.RETRY_FAILURES})
_MOST_ROWS = 1000


class RolloutBook:
    """The table of rollouts.

    Args:
        interval_s: length of the intervals in which vehicles are compared.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, interval_s: int) -> None:
        self._engine = engine
        self._clock = clock
        self._steps = RolloutStep(clock, interval_s * NS_PER_S)

    async def create(self, request: RolloutRequest) -> RolloutDetail:
        """Make a rollout, and start it when the request says so.

        Raises `AbsentError` for a release that is not published, `ConflictError` for a withdrawn
        one, for a slot with a live rollout, for a shadow of what works already, and for another
        request of the same id.
        """
        try:
            async with self._engine.begin() as connection:
                known = await _row_of_request(connection, request)
                rollout_id = known or await self._create(connection, request)
        except IntegrityError as error:
            # Another request was faster: the same one sent twice, or one for the same slot.
            async with self._engine.connect() as connection:
                known = await _row_of_request(connection, request)
            if known is None:
                raise ConflictError(_live_elsewhere(_slot_of(request)), "slot") from error
            rollout_id = known
        return await self.detail(rollout_id)

    async def _create(self, connection: AsyncConnection, request: RolloutRequest) -> str:
        slot = _slot_of(request)
        release = ReleaseId(request.kind, request.name, request.version)
        digest = None
        if request.version != BUILT_IN_VERSION:
            digest = await _offered_digest(connection, release)
        live = sa.select(rollouts.c.rollout_id).where(
            rollouts.c.slot == slot.text, rollouts.c.phase.not_in(ENDED)
        )
        if (await connection.execute(live)).first() is not None:
            raise ConflictError(_live_elsewhere(slot), "slot")
        if slot.shadow:
            await _check_shadow(connection, slot, release)
        rollout_id = f"r{secrets.token_hex(5)}"
        state = new_rollout(plan_of(request, rollout_id, digest))
        told = first_told(state, await last_attempt(connection, slot, release))
        row = {
            "rollout_id": rollout_id,
            "request_id": request.request_id,
            "kind": request.kind,
            "name": request.name,
            "version": request.version,
            "shadow": request.shadow,
            "slot": slot.text,
            "phase": state.phase.value,
            "state": dump(state),
            "told": told.model_dump(mode="json"),
            "created_by": request.actor,
            "created_utc": to_time(await self._after_all_of(connection, slot)),
        }
        await connection.execute(sa.insert(rollouts).values(row))
        await audit.record(
            connection,
            self._clock.utc_ns(),
            request.actor,
            "rollout create",
            subject_of(rollout_id),
            f"{slot.text} {release.text}: {request.reason}",
        )
        start = Command("service:start", Verb.START, request.actor, request.reason)
        made = await _lock(connection, rollouts.c.rollout_id == rollout_id)
        await self._steps.take(connection, made, (start,) if request.start else ())
        return rollout_id

    async def _after_all_of(self, connection: AsyncConnection, slot: Slot) -> int:
        """Now, and later than any rollout of the slot: their order is that of their times."""
        query = sa.select(sa.func.max(rollouts.c.created_utc)).where(rollouts.c.slot == slot.text)
        newest = (await connection.execute(query)).scalar_one()
        return max(self._clock.utc_ns(), 0 if newest is None else to_ns(newest) + 1000)

    async def command(self, rollout_id: str, order: RolloutCommand) -> RolloutDetail:
        """Carry an order out. Raises `AbsentError`, and `ConflictError` when it is refused; a
        refusal is in the rollout's log too."""
        command = Command(order.command_id, Verb(order.verb), order.actor, order.reason)
        try:
            async with self._engine.begin() as connection:
                row = await _lock(connection, rollouts.c.rollout_id == rollout_id)
                if row is None:
                    raise AbsentError("no such rollout", "rollout_id")
                state = restore(bytes(row.state))
                if not any(line.command_id == command.command_id for line in state.audit):
                    await _check_command(connection, row, command.verb)
                    state = (await self._steps.take(connection, row, (command,))).state
        except IntegrityError as error:
            raise ConflictError(_live_elsewhere(row.slot), "slot") from error
        line = next(line for line in state.audit if line.command_id == command.command_id)
        if line.refused:
            raise ConflictError(line.refused, "verb")
        return await self.detail(rollout_id)

    async def due(self, before_ns: int) -> list[str]:
        """Live rollouts that were not stepped since, the one that waits longest first."""
        query = (
            sa.select(rollouts.c.rollout_id)
            .where(_is_due(before_ns))
            .order_by(rollouts.c.stepped_utc.nulls_first(), rollouts.c.rollout_id)
        )
        async with self._engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def step(self, rollout_id: str, due_before_ns: int) -> bool:
        """Step a live rollout, unless it was stepped since `due_before_ns` or somebody is at it.

        True when it was stepped.
        """
        async with self._engine.begin() as connection:
            wanted = sa.and_(rollouts.c.rollout_id == rollout_id, _is_due(due_before_ns))
            row = await _lock(connection, wanted, skip_locked=True)
            if row is None:
                return False
            await self._steps.take(connection, row)
        return True

    async def detail(self, rollout_id: str) -> RolloutDetail:
        """A rollout in full. Raises `AbsentError`."""
        query = sa.select(rollouts).where(rollouts.c.rollout_id == rollout_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise AbsentError("no such rollout", "rollout_id")
        return await asyncio.to_thread(rollout_detail, row)

    async def page(self, slot: str | None, live: bool | None) -> RolloutPage:
        """Rollouts from the newest on, at most 1,000."""
        columns = [column for column in rollouts.c if column.name != "state"]
        query = (
            sa.select(*columns)
            .order_by(rollouts.c.created_utc.desc(), rollouts.c.rollout_id)
            .limit(_MOST_ROWS)
        )
        if slot is not None:
            query = query.where(rollouts.c.slot == slot)
        if live is not None:
            ended = rollouts.c.phase.in_(ENDED)
            query = query.where(sa.not_(ended) if live else ended)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return RolloutPage(rollouts=tuple(rollout_row(row) for row in rows))


async def _lock(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], *, skip_locked: bool = False
) -> Any:
    query = sa.select(rollouts).where(condition).with_for_update(skip_locked=skip_locked)
    return (await connection.execute(query)).one_or_none()


async def _row_of_request(connection: AsyncConnection, request: RolloutRequest) -> str | None:
    """The rollout that this request made. Raises `ConflictError` when it asked for another."""
    query = sa.select(rollouts).where(rollouts.c.request_id == request.request_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    asked = (request.kind, request.name, request.version, request.shadow)
    if (row.kind, row.name, row.version, row.shadow) != asked:
        raise ConflictError("this id was used for another request", "request_id")
    rollout_id: str = row.rollout_id
    return rollout_id


async def _offered_digest(connection: AsyncConnection, release: ReleaseId) -> str:
    """The digest of a release that may be rolled out; it stays so for the transaction."""
    query = sa.select(releases).where(*is_release(release)).with_for_update(read=True)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise AbsentError(f"{release.text} is not published", "version")
    if row.withdrawn_utc is not None:
        raise ConflictError(f"{release.text} was withdrawn", "version")
    digest: str = row.digest
    return digest


async def _check_shadow(connection: AsyncConnection, slot: Slot, release: ReleaseId) -> None:
    finished = await finished_rollouts(connection)
    newest = next((rollout for rollout in finished if rollout.slot == slot.active), None)
    if newest is not None and newest.release == release:
        raise ConflictError(
            f"{release.text} works already: its shadow would show nothing", "shadow"
        )


async def _check_command(connection: AsyncConnection, row: Any, verb: Verb) -> None:
    newer = sa.select(rollouts.c.rollout_id).where(
        rollouts.c.slot == row.slot, rollouts.c.created_utc > row.created_utc
    )
    if (await connection.execute(newer)).first() is not None:
        raise ConflictError(f"{row.slot} has had a newer rollout since", "rollout_id")
    release = target_of(row, Told.model_validate(row.told)).release
    if verb in _GIVES_OUT and await is_withdrawn(connection, release):
        raise ConflictError(f"{release and release.text} was withdrawn", "verb")


def _slot_of(request: RolloutRequest) -> Slot:
    release = ReleaseId(request.kind, request.name, request.version)
    return release.slot(shadow=request.shadow)


def _is_due(before_ns: int) -> sa.ColumnElement[bool]:
    stepped = rollouts.c.stepped_utc
    waits = sa.or_(stepped.is_(None), stepped <= to_time(before_ns))
    return sa.and_(rollouts.c.phase.not_in(ENDED), waits)


def _live_elsewhere(slot: Slot | str) -> str:
    text = slot if isinstance(slot, str) else slot.text
    return f"{text} has a live rollout; let it end, or abort it"
