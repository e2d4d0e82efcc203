"""A release that a great fleet holds: withdrawn and brought back for every vehicle at once."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from tests.cloud_ingest.ota_support import Person, write_spec
from tests.cloud_ingest.support import RunningServer

VEHICLES = 70_000
"""More than a statement of PostgreSQL has parameters."""

_ENROL = """
    INSERT INTO vehicles (vehicle_id, public_key, enrolled_utc)
    SELECT 'v' || n, '', now() FROM generate_series(1, :vehicles) n
"""
_ASSIGN = """
    INSERT INTO assignments (vehicle_id, counter, slots)
    SELECT 'v' || n, 1, CAST(:slots AS jsonb) FROM generate_series(1, :vehicles) n
"""


def counters(tables: sa.Engine) -> list[tuple[int, int]]:
    """How many vehicles stand at which counter."""
    query = "SELECT counter, count(*) FROM assignments GROUP BY counter ORDER BY counter"
    with tables.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(sa.text(query))]


def test_a_release_of_a_great_fleet_is_withdrawn_and_brought_back(
    cloud: RunningServer, tmp_path: Path, tables: sa.Engine
) -> None:
    ann = Person(cloud.url, tmp_path / "cloud" / "ota" / "offline")
    path = write_spec(tmp_path)
    ann.publish(path)
    slots = '{"trigger:brake": {"kind": "trigger", "name": "brake", "version": 1, "attempt": 1}}'
    with tables.begin() as connection:
        connection.execute(sa.text(_ENROL), {"vehicles": VEHICLES})
        connection.execute(sa.text(_ASSIGN), {"vehicles": VEHICLES, "slots": slots})
        other = "UPDATE assignments SET slots = '{}' WHERE vehicle_id = 'v1'"
        connection.execute(sa.text(other))
    assert ann.withdraw().state == "withdrawn"
    assert [row.withdrawn for row in ann.client.releases("trigger", "brake")] == [True]
    assert counters(tables) == [(1, 1), (2, VEHICLES - 1)]
    assert ann.publish(path).state == "published"
    assert [row.withdrawn for row in ann.client.releases("trigger", "brake")] == [False]
    assert counters(tables) == [(1, 1), (3, VEHICLES - 1)]
