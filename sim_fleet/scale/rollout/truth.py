"""What the database says of a rollout, held against what its stage allows.

The rule is worked out here anew from what `docs/updates.md` promises: vehicles stand in the order
of SHA-256 over the rollout's salt and their id; a stage holds the first of them, as many as its
share of the fleet, rounded up, and five at least.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cloud_ingest.auth.keys import parse_public_key
from cloud_ingest.database import sqlalchemy_url, to_time
from cloud_ingest.fleet.counting import running_of
from cloud_ingest.fleet_schema import check_ins
from cloud_ingest.schema import vehicles
from contracts.check_in import CheckIn
from contracts.clock import Clock
from sim_fleet.scale.rollout.vehicle import DrivenVehicle

STAGES = (0.01, 0.05, 0.25, 1.0)
LEAST_CANARY = 5
_ENROLLED_AT_ONCE = 5000
# One statement, so one snapshot: a step of the rollout is in it as a whole or not at all.
_STANDING = sa.text("""
    SELECT phase, (told ->> 'stage')::int AS stage, (
        SELECT coalesce(array_agg(vehicle_id), '{}') FROM assignments
        WHERE jsonb_exists(slots, :slot)) AS ordered
    FROM rollouts WHERE rollout_id = :rollout
""")


@dataclass(frozen=True, slots=True)
class Standing:
    """A rollout at one moment. `stage` counts from 0; `ordered` are given the release."""

    phase: str
    stage: int
    ordered: frozenset[str]


class Truth:
    """The database of the service that is driven."""

    def __init__(self, database_url: str) -> None:
        self._engine = sa.create_engine(sqlalchemy_url(database_url))

    def close(self) -> None:
        self._engine.dispose()

    def enrol(self, fleet: Sequence[DrivenVehicle], clock: Clock) -> None:
        """Rows as enrolment writes them, each with the vehicle's own key."""
        now = to_time(clock.utc_ns())
        for first in range(0, len(fleet), _ENROLLED_AT_ONCE):
            rows = [
                {
                    "vehicle_id": each.vehicle_id, "enrolled_utc": now,
                    "public_key": parse_public_key(each.public_key),
                }
                for each in fleet[first : first + _ENROLLED_AT_ONCE]
            ]  # fmt: skip
            with self._engine.begin() as connection:
                connection.execute(insert(vehicles), rows)

    def size_bytes(self) -> int:
        with self._engine.connect() as connection:
            query = sa.text("SELECT pg_database_size(current_database())")
            return int(connection.execute(query).scalar_one())

    def standing(self, rollout_id: str, slot: str) -> Standing:
        values = {"rollout": rollout_id, "slot": slot}
        with self._engine.connect() as connection:
            row = connection.execute(_STANDING, values).one()
        return Standing(row.phase, row.stage, frozenset(row.ordered))

    def running(self, slot: str) -> dict[str, str | None]:
        """What runs in the slot, by the newest signed manifest of each vehicle."""
        query = sa.select(check_ins.c.vehicle_id, check_ins.c.manifest)
        with self._engine.connect() as connection:
            rows = connection.execute(query.execution_options(yield_per=_ENROLLED_AT_ONCE))
            return {
                row.vehicle_id: running_of(CheckIn.model_validate_json(row.manifest)).get(slot)
                for row in rows
            }


class Order:
    """The fleet in the order of one rollout."""

    def __init__(self, salt: str, vehicle_ids: Sequence[str]) -> None:
        def rank(vehicle_id: str) -> bytes:
            return hashlib.sha256(f"{len(salt)}:{salt}{vehicle_id}".encode()).digest()

        self._order = sorted(vehicle_ids, key=rank)

    def limit(self, stage: int) -> int:
        """How many vehicles the stage may hold."""
        share = ceil(Fraction(str(STAGES[stage])) * len(self._order))
        return min(len(self._order), max(LEAST_CANARY, share))

    def differences(self, standing: Standing, failed: frozenset[str]) -> list[str]:
        """What is ordered otherwise than the stage allows; those that failed may lack it."""
        found = []
        ordered, limit = standing.ordered, self.limit(standing.stage)
        strangers = ordered - frozenset(self._order[:limit])
        if strangers:
            found.append(
                f"{len(strangers)} vehicles beyond stage {standing.stage + 1} have the release,"
                f" such as {min(strangers)}"
            )
        last = max((n for n, each in enumerate(self._order) if each in ordered), default=-1)
        passed = frozenset(self._order[: last + 1]) - ordered - failed
        if passed:
            found.append(f"{len(passed)} vehicles were passed over, such as {min(passed)}")
        return found


def end_differences(
    fleet: Sequence[DrivenVehicle], standing: Standing, running: Mapping[str, str | None],
    digest: str,
) -> list[str]:  # fmt: skip
    """Where, at the end, vehicles, orders and manifests do not say the same."""
    found = []
    if standing.phase != "done":
        found.append(f"the rollout is {standing.phase}, stage {standing.stage + 1}")
    for each in fleet:
        expected = None if each.is_unfit else digest
        told = running.get(each.vehicle_id)
        holds = each.held is not None and each.held.digest == digest
        is_ordered = each.vehicle_id in standing.ordered
        if told != expected or holds != is_ordered or not (is_ordered or each.is_unfit):
            found.append(
                f"{each.vehicle_id}: ordered {is_ordered}, holds {holds}, says it runs {told}"
            )
    return found
