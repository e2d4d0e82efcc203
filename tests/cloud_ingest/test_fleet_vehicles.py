"""What operators see of vehicles: pages, details, the audit log; and who may ask."""

from __future__ import annotations

import httpx
import pytest

from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.fleet_support import (
    AT_ONCE,
    BRAKE,
    OPERATOR,
    OpenFleet,
    SimulatedFleet,
    digest_of,
    open_fleet,
    publish,
    spec,
)

__all__ = ["open_fleet"]
TOKEN = "operator-token-of-tests"


@pytest.fixture
def fleet(open_fleet: OpenFleet) -> SimulatedFleet:
    return open_fleet(5)


def test_pages_go_through_all_vehicles(fleet: SimulatedFleet) -> None:
    fleet.vehicles["v03"].check_in()
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = fleet.http.get("/v1/vehicles", params=query).json()
        seen += [row["vehicle_id"] for row in page["vehicles"]]
        cursor = page["cursor"]
    assert (seen, cursor) == (sorted(fleet.vehicles), None)
    for bad in ({"limit": 0}, {"limit": 1001}, {"cursor": "../x"}):
        assert fleet.http.get("/v1/vehicles", params=bad).status_code == 400
    assert fleet.http.get("/v1/vehicles/none").status_code == 404


def test_a_vehicle_shows_orders_and_what_it_took_up(fleet: SimulatedFleet) -> None:
    publish(fleet.tables, spec(1))
    fleet.check_in_all()
    fleet.start(spec(1), **AT_ONCE, guardrails=False)
    before = fleet.http.get("/v1/vehicles/v00").json()
    assert (before["assignment_counter"], before["taken_up_counter"]) == (1, 0)
    assert before["assigned"] == [
        {
            "slot": BRAKE, "kind": "trigger", "name": "hard-brake", "version": 1,
            "digest": digest_of(spec(1)), "attempt": 1,
        }
    ]  # fmt: skip
    fleet.spend()
    fleet.spend()
    after = fleet.http.get("/v1/vehicles/v00").json()
    assert (after["assignment_counter"], after["taken_up_counter"]) == (1, 1)
    assert after["check_in"]["triggers"][0]["digest"] == digest_of(spec(1))
    assert after["queued_clips"] == after["rejected"] == 0


def test_the_audit_log_is_read_by_subject_and_by_page(fleet: SimulatedFleet) -> None:
    for name in ("a", "b", "a"):
        fleet.http.post(f"/v1/triggers/{name}/kill", json=OPERATOR)
    rows = fleet.http.get("/v1/audit", params={"limit": 3}).json()["rows"]
    assert [row["subject"] for row in rows] == ["trigger a", "trigger b", "trigger a"]
    assert rows[0]["actor"] == "ann@desk"
    assert rows[0]["reason"].startswith("release day")
    query = {"subject": "trigger a", "before": rows[0]["number"]}
    (older,) = fleet.http.get("/v1/audit", params=query).json()["rows"]
    assert older["number"] == rows[2]["number"]


CALLS = [
    ("GET", "/v1/rollouts"),
    ("POST", "/v1/rollouts"),
    ("GET", "/v1/rollouts/r1"),
    ("POST", "/v1/rollouts/r1/commands"),
    ("GET", "/v1/vehicles"),
    ("GET", "/v1/vehicles/v1"),
    ("GET", "/v1/fleet/activity"),
    ("GET", "/v1/fleet/shadow"),
    ("POST", "/v1/vehicles/v1/revoke"),
    ("POST", "/v1/triggers/t1/kill"),
    ("POST", "/v1/triggers/t1/unkill"),
    ("GET", "/v1/audit"),
]


def test_all_of_it_is_the_operators(start_cloud: StartCloud) -> None:
    server = start_cloud(operator_token=TOKEN, allow_demo_keys=True)
    schema = server.app.openapi()["paths"]
    with httpx.Client(base_url=server.url, timeout=30) as http:
        for method, path in CALLS:
            body = {"json": {}} if method == "POST" else {}
            assert http.request(method, path, **body).status_code == 401, path
            known = {"Authorization": f"Bearer {TOKEN}"}
            answer = http.request(method, path, headers=known, **body)
            assert answer.status_code in (200, 400, 404), path
        assert http.post("/v1/check-ins", json={}).status_code in (400, 401)
    named = {
        operation["summary"]
        for path, operations in schema.items()
        for operation in operations.values()
        if "fleet" in operation.get("tags", ())
    }
    assert len(named) == len(CALLS) + 1
