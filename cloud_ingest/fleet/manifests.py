"""The newest manifest of each vehicle, read once: only new ones are fetched and parsed.

A look reads a short row of every vehicle, and makes anew only what has changed: most of a large
fleet is as it was a few seconds ago.
"""

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


_Row = tuple[str, dt.datetime | None, dt.datetime | None, int | None, dt.datetime | None]
"""Of one vehicle: its id, first and last contact, the newest check-in's sequence and arrival."""


class Manifests:
    """Reads contacts; keeps them between calls."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Row, Contact]] = {}

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
        rows: list[_Row] = [tuple(row) for row in await connection.execute(query)]
        kept = self._kept
        changed = [row for row in rows if row[0] not in kept or kept[row[0]][0] != row]
        before = {row[0]: kept[row[0]][1].manifest for row in changed if row[0] in kept}
        told = {row[0] for row in changed if _tells_more(row, before.get(row[0]))}
        manifests: dict[str, Manifest | None] = {**before, **dict.fromkeys(told)}
        manifests |= await _fetch(connection, sorted(told))
        fresh = {row[0]: (row, _contact(row, manifests.get(row[0]))) for row in changed}
        # In the order of the rows, and without those that are gone.
        self._kept = {row[0]: fresh.get(row[0]) or kept[row[0]] for row in rows}
        return [contact for _, contact in self._kept.values()]


def _tells_more(row: _Row, kept: Manifest | None) -> bool:
    """Whether the newest check-in of a vehicle is another than the one that is kept."""
    *_, sequence, received = row
    if sequence is None or received is None:
        return False
    return kept is None or (kept.sequence, kept.received_utc_ns) != (sequence, to_ns(received))


def _contact(row: _Row, manifest: Manifest | None) -> Contact:
    vehicle_id, first, last, sequence, _ = row
    return Contact(
        vehicle_id=vehicle_id, first_contact_ns=_ns(first), last_contact_ns=_ns(last),
        manifest=None if sequence is None else manifest,
    )  # fmt: skip


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
