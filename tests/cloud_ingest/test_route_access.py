"""Every route with no credential, a wrong one, another vehicle's and one that is too weak.

`ACCESS` says who is the least that each route of the OpenAPI document serves, `HIDDEN` those that
the document leaves out; a route of the application that neither names fails here, so that nobody
adds one without a thought.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from contracts.people import ROLES
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import BODY, Vehicle
from tests.cloud_ingest.test_people import ADMIN, bearer, let_in

DIGEST = "0" * 64
PATHS = {
    "name": "somebody", "clip_id": DIGEST, "upload_id": "0" * 32, "file": "1.root.json",
    "path": "triggers/brake/1/spec.yaml", "vehicle_id": "car-1", "sha256": DIGEST,
    "space": "text", "role": "triggers", "rollout_id": "r-1", "trigger_id": "brake",
    "log_id": DIGEST,
    "kind": "label_set", "request_id": "r-1", "webhook_id": "w-1",
}  # fmt: skip
ACCESS: dict[str, str] = {
    # Anyone: what is served says nothing, or is protected by what the body holds.
    "GET /healthz": "anyone",
    "GET /readyz": "anyone",
    "OPTIONS /v1/tus": "anyone",
    "POST /v1/auth/challenge": "anyone",
    "POST /v1/auth/token": "anyone",
    "POST /v1/vehicles": "anyone",
    # Vehicles.
    "POST /v1/uploads": "vehicle",
    "GET /v1/uploads/{clip_id}": "vehicle",
    "POST /v1/tus": "vehicle",
    "HEAD /v1/tus/{upload_id}": "vehicle",
    "PATCH /v1/tus/{upload_id}": "vehicle",
    "DELETE /v1/tus/{upload_id}": "vehicle",
    "POST /v1/events": "vehicle",
    "POST /v1/check-ins": "vehicle",
    "PUT /v1/signal-logs/{log_id}": "vehicle",
    # Vehicles and people.
    "GET /v1/ota/image/metadata/{file}": "reader",
    "GET /v1/ota/image/targets/{path}": "reader",
    "GET /v1/ota/director/{vehicle_id}/metadata/{file}": "owner",
    "GET /v1/fleet-scenes/{sha256}": "reader",
    # People.
    "GET /clips/{clip_id}.mcap": "viewer",
    "GET /metrics": "viewer",
    "GET /v1/audit": "viewer",
    "GET /v1/clips": "viewer",
    "GET /v1/clips/{clip_id}": "viewer",
    "GET /v1/clips/{clip_id}/like": "viewer",
    "GET /v1/clips/{clip_id}/steps": "viewer",
    "GET /v1/clips/{clip_id}/views/{name}": "viewer",
    "GET /v1/erasures": "viewer",
    "GET /v1/erasures/{request_id}": "viewer",
    "GET /v1/pins": "viewer",
    "GET /v1/tiers": "viewer",
    "GET /v1/tiers/lifecycle": "viewer",
    "PUT /v1/pins/{kind}/{name}": "labeller",
    "DELETE /v1/pins/{kind}/{name}": "labeller",
    "POST /v1/clips/{clip_id}/steps/redo": "operator",
    "GET /v1/webhooks": "operator",
    "GET /v1/webhooks/{webhook_id}/deliveries": "operator",
    "POST /v1/webhooks": "operator",
    "DELETE /v1/webhooks/{webhook_id}": "operator",
    "POST /v1/erasures": "admin",
    "GET /v1/events": "viewer",
    "GET /v1/facets": "viewer",
    "GET /v1/saved-searches": "viewer",
    "GET /v1/saved-searches/{name}/clips": "viewer",
    "GET /v1/spaces": "viewer",
    "POST /v1/pictures": "viewer",
    "PUT /v1/saved-searches/{name}": "labeller",
    "DELETE /v1/saved-searches/{name}": "labeller",
    "POST /v1/spaces/{space}/reembed": "operator",
    "GET /v1/me": "viewer",
    "GET /v1/ota/director/roles/root": "viewer",
    "GET /v1/ota/image/roles/{role}": "viewer",
    "GET /v1/releases": "viewer",
    "GET /v1/rollouts": "viewer",
    "GET /v1/rollouts/{rollout_id}": "viewer",
    "GET /v1/signal-logs": "viewer",
    "GET /v1/signal-logs/{log_id}": "viewer",
    "GET /v1/fleet/activity": "viewer",
    "GET /v1/fleet/shadow": "viewer",
    "GET /v1/vehicles": "viewer",
    "GET /v1/vehicles/{vehicle_id}": "viewer",
    "POST /v1/ota/image/roles/{role}": "operator",
    "POST /v1/rollouts": "operator",
    "POST /v1/rollouts/{rollout_id}/commands": "operator",
    "POST /v1/triggers/{trigger_id}/kill": "operator",
    "POST /v1/triggers/{trigger_id}/unkill": "operator",
    "PUT /v1/clips/{clip_id}/embedding": "operator",
    "PUT /v1/ota/files/{sha256}": "operator",
    "GET /v1/people": "admin",
    "POST /v1/enrolment-tokens": "admin",
    "POST /v1/ota/director/roles/root": "admin",
    "POST /v1/people": "admin",
    "POST /v1/people/{name}/revoke": "admin",
    "POST /v1/vehicles/{vehicle_id}/revoke": "admin",
}


HIDDEN: dict[str, str] = {
    # The documentation says what the repository does.
    "GET /openapi.json": "anyone",
    "HEAD /openapi.json": "anyone",
    "GET /docs": "anyone",
    "HEAD /docs": "anyone",
    "GET /docs/oauth2-redirect": "anyone",
    "HEAD /docs/oauth2-redirect": "anyone",
    "GET /redoc": "anyone",
    "HEAD /redoc": "anyone",
    "OPTIONS /v1/tus/{upload_id}": "anyone",
    "POST /v1/tus/{upload_id}": "vehicle",
    "HEAD /clips/{clip_id}.mcap": "viewer",
    "HEAD /v1/ota/image/targets/{path}": "reader",
    "HEAD /v1/signal-logs/{log_id}": "viewer",
}
EVERY = ACCESS | HIDDEN


@dataclass(frozen=True)
class Guarded:
    """A service with an operator token, and everybody's tokens for it.

    `vehicle` is the token of `car-2`, `upload_id` an open upload of `car-1`.
    """

    app: FastAPI
    http: httpx.Client
    people: dict[str, str]
    vehicle: str
    upload_id: str
    owner: Vehicle

    def status(self, route: str, token: str | None) -> int:
        return self.answer(route, token).status_code

    def answer(self, route: str, token: str | None, **added: str) -> httpx.Response:
        method, path = route.split()
        names = PATHS | {"upload_id": self.upload_id}
        body = {} if method in ("POST", "PUT") else None
        headers = BODY | {"Upload-Offset": "0"} if "/tus" in path else {}
        headers |= added | (bearer(token) if token else {})
        return self.http.request(method, path.format(**names), json=body, headers=headers)


@pytest.fixture
def guarded(start_cloud: StartCloud) -> Iterator[Guarded]:
    server = start_cloud(operator_token=ADMIN)
    with httpx.Client(base_url=server.url, timeout=30) as http:
        owner, vehicle = (let_drive(http, name) for name in ("car-1", "car-2"))
        upload_id = owner.create(1000).headers["Location"].rsplit("/", 1)[1]
        people = {role: let_in(http, role) for role in ROLES}
        yield Guarded(server.app, http, people, vehicle.token or "", upload_id, owner)


def let_drive(http: httpx.Client, name: str) -> Vehicle:
    """A vehicle with a token."""
    token = http.post("/v1/enrolment-tokens", json={}, headers=bearer(ADMIN)).json()["token"]
    vehicle = Vehicle(http, name)
    assert vehicle.enrol(token).status_code == 200
    assert vehicle.authenticate().status_code == 200
    return vehicle


def routes_of(app: FastAPI) -> Iterator[str]:
    """Method and path of each route, those of included routers too."""
    for found in iter_route_contexts(app.routes):
        path = found.path_format
        assert path is not None and found.methods, found
        yield from (f"{method} {path}" for method in found.methods)


def test_every_route_is_named(guarded: Guarded) -> None:
    assert set(routes_of(guarded.app)) == set(EVERY)
    paths = guarded.http.get("/openapi.json").json()["paths"]
    told = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert told == set(ACCESS)


def test_nobody_and_nonsense_pass_nowhere(guarded: Guarded) -> None:
    for route, least in EVERY.items():
        for token in (None, "nonsense", "ltp_nonsense", "a.b.c"):
            if least != "anyone":
                assert guarded.status(route, token) == 401, (route, token)


def test_a_vehicle_gets_nothing_of_people_and_of_other_vehicles(guarded: Guarded) -> None:
    for route, least in EVERY.items():
        found = guarded.status(route, guarded.vehicle)
        if least in ROLES:
            assert found in (401, 403), route
        elif least == "owner":
            assert found == 403, route
        elif least == "vehicle" and "{upload_id}" in route:
            assert found in (400, 404), route


@pytest.mark.parametrize("route", ["HEAD", "PATCH", "DELETE", "POST"])
def test_an_upload_of_another_vehicle_is_as_absent_as_none(guarded: Guarded, route: str) -> None:
    """A real one, which its own vehicle has."""
    path = "/v1/tus/{upload_id}"
    overriding = ("PATCH", "HEAD", "DELETE") if route == "POST" else (route,)
    for method in overriding:
        named = {"X-HTTP-Method-Override": method} if route == "POST" else {}
        answer = guarded.answer(f"{route} {path}", guarded.vehicle, **named)
        none = guarded.answer(f"{route} /v1/tus/{'0' * 32}", guarded.vehicle, **named)
        assert (answer.status_code, answer.content) == (none.status_code, none.content), method
        assert answer.status_code == 404
        assert guarded.owner.offset(f"/v1/tus/{guarded.upload_id}") == 0


def test_people_are_no_vehicles(guarded: Guarded) -> None:
    for route, least in EVERY.items():
        if least == "vehicle":
            assert {guarded.status(route, each) for each in guarded.people.values()} == {401}, route


def test_a_weaker_role_is_refused_and_a_sufficient_one_is_not(guarded: Guarded) -> None:
    for route, least in EVERY.items():
        if least not in ROLES:
            continue
        for role, token in guarded.people.items():
            enough = ROLES.index(role) >= ROLES.index(least)  # type: ignore[arg-type]
            found = guarded.status(route, token)
            assert (found not in (401, 403)) if enough else found == 403, (route, role, found)
