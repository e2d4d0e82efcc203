"""Event records: small, once, per vehicle; and bodies that are bounded before they are read."""

from __future__ import annotations

from typing import Any

import httpx

from contracts.upload import MAX_EVENT_BYTES
from tests.cloud_ingest.support import Vehicle, make_manifest


def record(vehicle_id: str = "car-1", **changes: Any) -> dict[str, Any]:
    manifest = make_manifest(vehicle_id)
    return {
        "event": manifest.event.model_dump(),
        "utc_ns": 1,
        "cause": manifest.causes[0].model_dump(),
        "outcome": "captured",
    } | changes


def test_a_record_is_known_the_second_time(http: httpx.Client, vehicle: Vehicle) -> None:
    for known in (False, True):
        answer = http.post("/v1/events", json=record(), headers=vehicle.bearer)
        assert answer.json() == {"known": known}
    assert len(http.get("/v1/events").json()["events"]) == 1


def test_events_are_listed_newest_first_in_pages(
    http: httpx.Client, vehicle: Vehicle, other_vehicle: Vehicle
) -> None:
    for number in range(5):
        http.post("/v1/events", json=record(utc_ns=number), headers=vehicle.bearer)
    lost = record("car-2", outcome="lost", reason="evicted")
    http.post("/v1/events", json=lost, headers=other_vehicle.bearer)
    found, cursor = [], None
    while True:
        query: dict[str, Any] = {"vehicle_id": "car-1", "limit": 2} | (
            {"cursor": cursor} if cursor else {}
        )
        page = http.get("/v1/events", params=query).json()
        found += [event["record"]["utc_ns"] for event in page["events"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == [4, 3, 2, 1, 0]
    (only,) = http.get("/v1/events", params={"outcome": "lost"}).json()["events"]
    assert only["record"]["reason"] == "evicted"


def test_a_vehicle_reports_only_its_own(http: httpx.Client, vehicle: Vehicle) -> None:
    assert http.post("/v1/events", json=record("car-2"), headers=vehicle.bearer).status_code == 403
    assert http.post("/v1/events", json=record()).status_code == 401


def test_bodies_are_bounded(http: httpx.Client, vehicle: Vehicle) -> None:
    text = "x" * MAX_EVENT_BYTES
    big = http.post("/v1/events", json=record(reason=text), headers=vehicle.bearer)
    assert big.status_code == 413
    huge = b"x" * (2**20 + 1)
    said = http.post("/v1/uploads", content=huge, headers=vehicle.bearer)
    assert said.status_code == 413
    chunked = http.post("/v1/uploads", content=iter([huge]), headers=vehicle.bearer)
    assert chunked.status_code == 413
    nul = http.post("/v1/events", json=record(reason="a\0b"), headers=vehicle.bearer)
    assert nul.status_code == 400
    assert http.get("/v1/events").json()["events"] == []


def test_every_error_is_a_problem(http: httpx.Client, vehicle: Vehicle) -> None:
    for answer in (
        http.get("/nothing"),
        http.put("/v1/events"),
        http.post("/v1/events", content=b"{", headers=vehicle.bearer),
        http.post("/v1/events", json={"event": 1}, headers=vehicle.bearer),
        http.get("/v1/events", params={"limit": "many"}),
        http.get("/v1/events", params={"cursor": str(2**70)}),
    ):
        assert answer.status_code in (400, 404, 405)
        assert {"error", "message"} <= set(answer.json())


def test_the_openapi_document_names_every_call(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for call in calls.values():
            assert call["summary"], path
    assert {"/v1/clips", "/v1/uploads", "/v1/tus", "/v1/events"} <= set(document["paths"])
