"""The newest manifest of each vehicle, read once: only new ones are fetched and parsed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_ingest.database import among, to_ns
from cloud_ingest.fleet.counting import running_of
from cloud_ingest.fleet_schema import check_ins
from cloud_ingest.schema import vehicles
from contracts.check_in import CheckIn, RejectedRelease


@dataclass(frozen=True, slots=True)
class Manifest:
    """What rollouts need of a vehicle's newest check-in.

    `running` is slot → digest; `ordered` are the slots in which a release runs that came over
    the air.
    """

    sequence: int
    received_utc_ns: int
    labels: Mapping[str, str]
    running: Mapping[str, str]
    ordered: frozenset[str]
    rejected: tuple[RejectedRelease, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    """A vehicle that is enrolled and not revoked. Times are the service's, None for never."""

    vehicle_id: str
    first_contact_ns: int | None
    last_contact_ns: int | None
    manifest: Manifest | None


class Manifests:
    """Reads contacts; keeps parsed manifests between calls."""

    def __init__(self) -> None:
        self._parsed: dict[str, Manifest] = {}

    async def contacts(self, connection: AsyncConnection) -> list[Contact]:
        """All enrolled vehicles that are not revoked, in the order of their ids."""
        query = (
            sa.select(
                vehicles.c.vehicle_id,
                vehicles.c.first_contact_utc,
                vehicles.c.last_contact_utc,
                check_ins.c.sequence,
                check_ins.c.received_utc,
            )
            .join_from(vehicles, check_ins, isouter=True)
            .where(vehicles.c.revoked_utc.is_(None))
            .order_by(vehicles.c.vehicle_id)
        )
        rows = (await connection.execute(query)).all()
        known = self._parsed
        parsed = {
            row.vehicle_id: known[row.vehicle_id]
            for row in rows
            if row.vehicle_id in known
            and known[row.vehicle_id].sequence == row.sequence
            and known[row.vehicle_id].received_utc_ns == to_ns(row.received_utc)
        }
        missing = [
            row.vehicle_id
            for row in rows
            if row.sequence is not None and row.vehicle_id not in parsed
        ]
        parsed |= await _fetch(connection, missing)
        self._parsed = parsed
        return [
            Contact(
                vehicle_id=row.vehicle_id,
                first_contact_ns=_ns(row.first_contact_utc),
                last_contact_ns=_ns(row.last_contact_utc),
                manifest=parsed.get(row.vehicle_id),
            )
            for row in rows
        ]


def _ns(time: dt.datetime | None) -> int | None:
    return None if time is None else to_ns(time)


async def _fetch(connection: AsyncConnection, vehicle_ids: list[str]) -> dict[str, Manifest]:
    if not vehicle_ids:
        return {}
    query = sa.select(check_ins).where(among(check_ins.c.vehicle_id, vehicle_ids))
    rows = (await connection.execute(query)).all()
    return await asyncio.to_thread(_parse, rows)


def _parse(rows: Sequence[Any]) -> dict[str, Manifest]:
    found = {}
    for row in rows:
        manifest = CheckIn.model_validate_json(row.manifest)
        found[row.vehicle_id] = Manifest(
            sequence=row.sequence,
            received_utc_ns=to_ns(row.received_utc),
            labels=manifest.labels,
            running=running_of(manifest),
            ordered=_ordered(manifest),
            rejected=manifest.rejected,
        )
    return found


def _ordered(manifest: CheckIn) -> frozenset[str]:
    running = [
        f"trigger:{trigger.trigger_id}{'@shadow' if trigger.state == 'shadow' else ''}"
        for trigger in manifest.triggers
        if trigger.origin == "ota" and trigger.state != "killed"
    ]
    models = [
        "model@shadow" if model.shadow else "model"
        for model in manifest.models
        if model.origin == "ota"
    ]
    return frozenset((*running, *models))
