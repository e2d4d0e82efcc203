"""What operators see of vehicles, and what they order about them: revocation and kill switches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest import audit
from cloud_ingest.auth.vehicles import Vehicles
from cloud_ingest.database import to_ns
from cloud_ingest.fleet.assignments import set_killed
from cloud_ingest.fleet_schema import assignments, audit_log, check_ins, releases
from cloud_ingest.problems import AbsentError
from cloud_ingest.schema import vehicles
from contracts.check_in import CheckIn, ShadowModel
from contracts.clock import Clock
from contracts.fleet import (
    AssignedRelease,
    AuditPage,
    AuditRow,
    KillState,
    Order,
    ShadowPage,
    ShadowRow,
    VehicleDetail,
    VehiclePage,
    VehicleRow,
)

_POLL_JITTER = 1.2
_TAKE_UP_S = 10.0
"""To fetch the director's word and to carry it out."""


class VehicleBook:
    """The tables of vehicles, as operators read and change them."""

    def __init__(
        self, engine: AsyncEngine, clock: Clock, registry: Vehicles, poll_s: float
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._registry = registry
        self._acts_within_s = _POLL_JITTER * poll_s + _TAKE_UP_S

    async def page(self, limit: int, after: str | None) -> VehiclePage:
        """Vehicles in the order of their ids, from the one behind `after` on."""
        query = _rows().order_by(vehicles.c.vehicle_id).limit(limit + 1)
        if after is not None:
            query = query.where(vehicles.c.vehicle_id > after)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        found = await asyncio.to_thread(_vehicle_rows, rows[:limit])
        return VehiclePage(
            vehicles=found, cursor=found[-1].vehicle_id if len(rows) > limit else None
        )

    async def detail(self, vehicle_id: str) -> VehicleDetail:
        """A vehicle in full. Raises `AbsentError`."""
        query = _rows().where(vehicles.c.vehicle_id == vehicle_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise AbsentError("no such vehicle", "vehicle_id")
            assigned = await _assigned(connection, row.slots or {})
        manifest = _manifest(row)
        return VehicleDetail(**_row(row, manifest), assigned=assigned, check_in=manifest)

    async def shadow(self, digest: str, limit: int, after: str | None) -> ShadowPage:
        """What vehicles last counted of a model in shadow, in the order of their ids, from the one
        behind `after` on. Who is refused by now has no say.
        """
        counted = sa.cast(check_ins.c.manifest, JSONB)["shadow_model"]
        query = (
            sa.select(check_ins.c.vehicle_id, counted.label("counted"))
            .join(vehicles, vehicles.c.vehicle_id == check_ins.c.vehicle_id)
            .where(vehicles.c.revoked_utc.is_(None), counted["digest"].astext == digest)
            .order_by(check_ins.c.vehicle_id)
            .limit(limit + 1)
        )
        if after is not None:
            query = query.where(check_ins.c.vehicle_id > after)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        found = tuple(
            ShadowRow(vehicle_id=row.vehicle_id, counted=ShadowModel.model_validate(row.counted))
            for row in rows[:limit]
        )
        return ShadowPage(rows=found, cursor=found[-1].vehicle_id if len(rows) > limit else None)

    async def revoke(self, vehicle_id: str, order: Order) -> VehicleDetail:
        """Refuse a vehicle from now on, with every token that it holds. Raises `AbsentError`."""
        now_ns = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            await self._registry.revoke(connection, vehicle_id, now_ns)
            await audit.record(
                connection, now_ns, order.actor, "revoke vehicle", f"vehicle {vehicle_id}",
                order.reason,
            )  # fmt: skip
        return await self.detail(vehicle_id)

    async def kill(self, trigger_id: str, order: Order, *, killed: bool) -> KillState:
        """Switch a trigger off, or on again, on all vehicles, known or not."""
        now_ns = self._clock.utc_ns()
        async with self._engine.begin() as connection:
            changed = await set_killed(
                connection, trigger_id, killed,
                actor=order.actor, reason=order.reason, at_utc_ns=now_ns,
            )  # fmt: skip
            action = "kill trigger" if killed else "unkill trigger"
            reason = f"{order.reason} ({changed} vehicles)"
            subject = f"trigger {trigger_id}"
            await audit.record(connection, now_ns, order.actor, action, subject, reason)
        return KillState(trigger_id=trigger_id, killed=killed, acts_within_s=self._acts_within_s)

    async def audit(self, subject: str | None, limit: int, before: int | None) -> AuditPage:
        """The audit log from the newest line on; `before` is a line's number."""
        query = sa.select(audit_log).order_by(audit_log.c.number.desc()).limit(limit)
        if subject is not None:
            query = query.where(audit_log.c.subject == subject)
        if before is not None:
            query = query.where(audit_log.c.number < before)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return AuditPage(
            rows=tuple(
                AuditRow(
                    number=row.number,
                    at_utc_ns=to_ns(row.at_utc),
                    actor=row.actor,
                    action=row.action,
                    subject=row.subject,
                    reason=row.reason,
                )
                for row in rows
            )
        )


def _rows() -> sa.Select[Any]:
    return (
        sa.select(
            vehicles.c.vehicle_id,
            vehicles.c.enrolled_utc,
            vehicles.c.revoked_utc,
            vehicles.c.last_contact_utc,
            check_ins.c.received_utc,
            check_ins.c.manifest,
            assignments.c.counter,
            assignments.c.slots,
        )
        .join_from(vehicles, check_ins, isouter=True)
        .join(assignments, assignments.c.vehicle_id == vehicles.c.vehicle_id, isouter=True)
    )


def _vehicle_rows(rows: Sequence[Any]) -> tuple[VehicleRow, ...]:
    return tuple(VehicleRow(**_row(row, _manifest(row))) for row in rows)


def _manifest(row: Any) -> CheckIn | None:
    return None if row.manifest is None else CheckIn.model_validate_json(row.manifest)


def _row(row: Any, manifest: CheckIn | None) -> dict[str, Any]:
    """The fields of a `VehicleRow`."""
    times = {
        "enrolled_utc_ns": row.enrolled_utc,
        "revoked_utc_ns": row.revoked_utc,
        "last_contact_utc_ns": row.last_contact_utc,
        "last_check_in_utc_ns": row.received_utc,
    }
    fields: dict[str, Any] = {
        name: None if time is None else to_ns(time) for name, time in times.items()
    }
    fields |= {"vehicle_id": row.vehicle_id, "assignment_counter": row.counter or 0}
    if manifest is not None:
        fields |= {
            "labels": manifest.labels,
            "software_version": manifest.software_version,
            "taken_up_counter": manifest.assignment_counter,
            "queued_clips": manifest.queue.clips,
            "rejected": len(manifest.rejected),
        }
    return fields


async def _assigned(
    connection: AsyncConnection, slots: dict[str, Any]
) -> tuple[AssignedRelease, ...]:
    assigned = []
    for slot, held in sorted(slots.items()):
        query = sa.select(releases.c.digest).where(
            releases.c.kind == held["kind"],
            releases.c.name == held["name"],
            releases.c.version == held["version"],
        )
        digest = (await connection.execute(query)).scalar_one()
        assigned.append(AssignedRelease(slot=slot, digest=digest, **held))
    return tuple(assigned)
