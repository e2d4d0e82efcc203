"""SIGKILL between and within steps: no order is lost, none is given twice."""

from __future__ import annotations

import random
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.fleet_schema import assignments, audit_log
from cloud_ingest.postgres import EmbeddedPostgres
from tests.cloud_ingest.fleet_support import (
    AT_ONCE,
    BRAKE,
    OPERATOR,
    FleetVehicle,
    digest_of,
    publish,
    spec,
)
from tests.cloud_ingest.server_process import ServerProcess

VEHICLES = 8
ROUNDS = 40
IN_STAGES = AT_ONCE | {
    "stages": [{"fraction": 0.25}, {"fraction": 0.5}, {"fraction": 1.0}],
    "guardrails": False,
    "min_canary": 1,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    folder = Path(tempfile.mkdtemp(prefix="lt-roll-"))
    process = ServerProcess(folder / "cloud")
    try:
        start(process)
        yield process
    finally:
        if process.stop() != 0:
            process.start()
            process.stop()
        shutil.rmtree(folder)


def start(process: ServerProcess) -> None:
    process.start(LONGTAIL_ROLLOUT_STEP_S="0.02")


@pytest.fixture
def tables(server: ServerProcess) -> Iterator[sa.Engine]:
    # No pool: the database ends with the service that is killed.
    engine = sa.create_engine(
        EmbeddedPostgres(server.folder / "postgres").url, poolclass=sa.NullPool
    )
    yield engine
    engine.dispose()


def drive(server: ServerProcess, vehicles: list[FleetVehicle], tables: sa.Engine) -> None:
    """Each obeys and checks in once."""
    with httpx.Client(base_url=server.url, timeout=30) as http:
        for vehicle in vehicles:
            vehicle.http = http
            if not vehicle.token:
                assert vehicle.authenticate().status_code == 200
            vehicle.check_in()
            with tables.connect() as connection:
                row = connection.execute(
                    sa.select(assignments).where(assignments.c.vehicle_id == vehicle.vehicle_id)
                ).one()
            if row.counter > vehicle.taken_up and BRAKE in row.slots:
                vehicle.taken_up = row.counter
                vehicle.running[BRAKE] = (digest_of(spec(2)), "ota")


def test_a_killed_service_loses_and_doubles_no_order(
    server: ServerProcess, tables: sa.Engine
) -> None:
    source = random.Random(3)
    vehicles = []
    with httpx.Client(base_url=server.url, timeout=30) as http:
        for index in range(VEHICLES):
            vehicles.append(FleetVehicle(http, f"v{index}"))
            assert vehicles[-1].enrol().status_code == 200
    publish(tables, spec(2))
    drive(server, vehicles, tables)
    request: dict[str, Any] = {"request_id": "only", "kind": "trigger", "name": "hard-brake"}
    request |= {"version": 2, **OPERATOR, **IN_STAGES}
    # Killed while it is made; asked again, it is one rollout.
    kills, phase = 0, ""
    for turn in range(ROUNDS):
        if turn in (1, 4):
            # News of the check-ins sets off steps: the kill falls into one, or between two.
            drive(server, vehicles[: source.randrange(1, VEHICLES)], tables)
            server.kill()
            start(server)
            kills += 1
        with httpx.Client(base_url=server.url, timeout=30) as http:
            made = http.post("/v1/rollouts", json=request)
            assert made.status_code == 200, made.text
            phase = made.json()["phase"]
        if phase == "done":
            break
        drive(server, vehicles, tables)
    assert (phase, kills) == ("done", 2)
    with tables.connect() as connection:
        rows = connection.execute(sa.select(assignments)).all()
        lines = connection.execute(sa.select(audit_log).order_by(audit_log.c.number)).all()
    assert {row.counter for row in rows} == {1}
    assert all(row.slots[BRAKE]["version"] == 2 for row in rows)
    offered = [
        vehicle_id
        for line in lines
        if line.action == "rollout offer"
        for vehicle_id in line.reason.partition(": ")[2].split(", ")
    ]
    assert sorted(offered) == [vehicle.vehicle_id for vehicle in vehicles]
    assert [line.action for line in lines].count("rollout advance") == 3
    with httpx.Client(base_url=server.url, timeout=30) as http:
        verbs = {"verb": "pause", "command_id": secrets.token_hex(4), **OPERATOR}
        found = http.get("/v1/rollouts").json()["rollouts"]
        assert len(found) == 1
        path = f"/v1/rollouts/{found[0]['rollout_id']}/commands"
        assert http.post(path, json=verbs).status_code == 409
