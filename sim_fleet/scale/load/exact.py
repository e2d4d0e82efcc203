"""Holds what was acknowledged against the database's rows: each there, and there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloud_ingest.database import sqlalchemy_url
from cloud_ingest.fleet_schema import check_ins
from cloud_ingest.schema import READY, clip_identity, clips, deliveries, events
from contracts.errors import TransientError
from sim_fleet.scale.load.report import Acknowledged

_SHOWN = 5


def differences(database_url: str, prefix: str, told: Acknowledged) -> tuple[str, ...]:
    """What is missing, doubled or other than acknowledged, of vehicles named `prefix…`.

    Raises `TransientError` when the database does not answer.
    """
    engine = sa.create_engine(sqlalchemy_url(database_url), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return tuple(_differences(connection, prefix, told))
    except sa.exc.OperationalError as error:
        raise TransientError(f"the database does not answer: {error.orig}") from error
    finally:
        engine.dispose()


def _differences(connection: sa.Connection, prefix: str, told: Acknowledged) -> list[str]:
    def rows(*columns: sa.Column[Any]) -> Counter[tuple[object, ...]]:
        table = columns[0].table
        query = sa.select(*columns).where(table.c.vehicle_id.startswith(prefix, autoescape=True))
        return Counter(tuple(row) for row in connection.execute(query))

    ready = sa.select(clips.c.vehicle_id, clips.c.clip_id).where(
        clips.c.vehicle_id.startswith(prefix, autoescape=True), clips.c.state == READY
    )
    identities = sa.select(deliveries.c.vehicle_id, clip_identity.c.clip_id).join_from(
        deliveries, clip_identity, deliveries.c.clip_id == clip_identity.c.clip_id
    )
    kept: dict[str, tuple[Sequence[tuple[object, ...]], Counter[tuple[object, ...]]]] = {
        "event records": (
            told.records, rows(events.c.vehicle_id, events.c.event_key, events.c.trigger_id)
        ),
        "clips": (told.clips, Counter(tuple(row) for row in connection.execute(ready))),
        "deliveries": (told.clips, rows(deliveries.c.vehicle_id, deliveries.c.clip_id)),
        "objects' identities": (
            told.clips,
            Counter(
                tuple(row)
                for row in connection.execute(
                    identities.where(deliveries.c.vehicle_id.startswith(prefix, autoescape=True))
                )
            ),
        ),
        "check-ins": (
            [(name, *newest) for name, newest in told.check_ins.items()],
            rows(check_ins.c.vehicle_id, check_ins.c.sequence, check_ins.c.manifest),
        ),
    }  # fmt: skip
    found = []
    for what, (acknowledged, stored) in kept.items():
        expected = list(acknowledged)
        if len(set(expected)) < len(expected):
            found.append(f"{what}: one was acknowledged twice")
        wrong = [key for key in set(expected) if stored[key] != 1]
        if wrong:
            shown = ", ".join(f"{key[:2]} is there {stored[key]} times" for key in wrong[:_SHOWN])
            found.append(f"{what}: {len(wrong)} of {len(expected)} not once: {shown}")
        doubled = [key for key, number in stored.items() if number > 1]
        if doubled:
            found.append(f"{what}: {len(doubled)} are there more than once")
    return found
