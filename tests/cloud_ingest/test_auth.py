"""Who may do what: enrolment, challenge, tokens, operators, laptop mode and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from cloud_ingest.schema import enrolment_tokens, vehicles
from cloud_ingest.settings import Settings, load_settings
from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError
from contracts.upload import AUTH_CONTEXT
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import Vehicle, base64url

OPERATOR = "operator-token-0123456789"
AS_OPERATOR = {"Authorization": f"Bearer {OPERATOR}"}


@contextmanager
def guarded(
    start_cloud: StartCloud, adapters: dict[str, Any] | None = None
) -> Iterator[httpx.Client]:
    """A service that has an operator token."""
    server = start_cloud(adapters, operator_token=OPERATOR)
    with httpx.Client(base_url=server.url) as http:
        yield http


def enrolment_token(http: httpx.Client, **body: Any) -> str:
    answer = http.post("/v1/enrolment-tokens", json=body, headers=AS_OPERATOR)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def test_a_token_enrols_one_vehicle_once(start_cloud: StartCloud, tables: sa.Engine) -> None:
    with guarded(start_cloud) as http:
        first, second = Vehicle(http, "car-1"), Vehicle(http, "car-2")
        assert first.enrol().status_code == 403
        token = enrolment_token(http)
        assert first.enrol(token).status_code == 200
        assert first.enrol(token).status_code == 200, "its answer was lost: the same again"
        assert second.enrol(token).status_code == 403
        assert Vehicle(http, "car-1").enrol(token).status_code == 403
        assert second.enrol("made-up").status_code == 403
        with tables.connect() as connection:
            (kept,) = connection.execute(sa.select(enrolment_tokens))
        assert token.encode() not in bytes(kept.token_sha256)


def test_a_tied_token_serves_its_vehicle_and_replaces_its_key(start_cloud: StartCloud) -> None:
    with guarded(start_cloud) as http:
        old, new = Vehicle(http, "car-1"), Vehicle(http, "car-1")
        assert old.enrol(enrolment_token(http)).status_code == 200
        untied = enrolment_token(http)
        assert new.enrol(untied).status_code == 409
        assert Vehicle(http, "car-2").enrol(untied).status_code == 200, "a refusal spends nothing"
        tied = enrolment_token(http, vehicle_id="car-1")
        assert Vehicle(http, "car-3").enrol(tied).status_code == 403
        assert new.enrol(tied).status_code == 200
        assert old.authenticate().status_code == 401
        assert new.authenticate().status_code == 200


def test_tokens_end(start_cloud: StartCloud) -> None:
    clock = VirtualClock()
    with guarded(start_cloud, {"clock": clock}) as http:
        vehicle = Vehicle(http)
        late = enrolment_token(http, valid_s=60)
        clock.jump_utc_ns(61 * NS_PER_S)
        assert vehicle.enrol(late).status_code == 403
        vehicle.enrol(enrolment_token(http))
        assert vehicle.authenticate().status_code == 200
        assert vehicle.http.get(f"/v1/uploads/{'0' * 64}", headers=vehicle.bearer).is_success
        clock.jump_utc_ns(901 * NS_PER_S)
        answer = vehicle.http.get(f"/v1/uploads/{'0' * 64}", headers=vehicle.bearer)
        assert answer.status_code == 401
        assert "expired" in answer.json()["message"]
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_what_a_challenge_answer_must_be(http: httpx.Client) -> None:
    vehicle, other = Vehicle(http, "car-1"), Vehicle(http, "car-2")
    vehicle.enrol()
    other.enrol()
    asked = http.post("/v1/auth/challenge", json={"vehicle_id": "car-1"}).json()["challenge"]

    def answer(vehicle_id: str, challenge: str, signed: bytes, by: Vehicle) -> int:
        body = {
            "vehicle_id": vehicle_id,
            "challenge": challenge,
            "signature": base64url(by.key.sign(signed)),
        }
        return http.post("/v1/auth/token", json=body).status_code

    good = AUTH_CONTEXT + asked.encode()
    assert answer("car-1", asked, good, vehicle) == 200
    assert answer("car-1", asked, good, other) == 401
    assert answer("car-1", asked, asked.encode(), vehicle) == 401, "without the context"
    assert answer("car-2", asked, good, other) == 401, "another vehicle's challenge"
    # Not the end: the last character of base64 has bits that mean nothing.
    changed = "A" if asked[-40] != "A" else "B"
    forged = asked[:-40] + changed + asked[-39:]
    assert answer("car-1", forged, AUTH_CONTEXT + forged.encode(), vehicle) == 401
    assert answer("car-9", asked, good, vehicle) == 401
    vehicle.authenticate()
    # A token is no challenge, and a challenge is no token.
    assert answer("car-1", vehicle.token, AUTH_CONTEXT + vehicle.token.encode(), vehicle) == 401
    as_token = {"Authorization": f"Bearer {asked}"}
    assert http.get(f"/v1/uploads/{'0' * 64}", headers=as_token).status_code == 401


def test_an_unknown_vehicle_learns_nothing_from_a_challenge(http: httpx.Client) -> None:
    known = http.post("/v1/auth/challenge", json={"vehicle_id": "car-1"})
    assert known.status_code == 200
    assert set(known.json()) == {"challenge", "server_utc_ns", "expires_utc_ns"}


def test_a_revoked_vehicle_is_out_at_once(vehicle: Vehicle, tables: sa.Engine) -> None:
    with tables.begin() as connection:
        connection.execute(sa.update(vehicles).values(revoked_utc=sa.func.now()))
    answer = vehicle.http.get(f"/v1/uploads/{'0' * 64}", headers=vehicle.bearer)
    assert answer.status_code == 401
    assert vehicle.authenticate().status_code == 401
    assert vehicle.enrol().status_code == 403


@pytest.mark.parametrize("key", ["", "!!", "AAAA", "A" * 5000])
def test_a_strange_key_is_refused(http: httpx.Client, key: str) -> None:
    answer = http.post("/v1/vehicles", json={"vehicle_id": "car-1", "public_key": key})
    assert answer.status_code == 400


OPERATOR_CALLS = [
    ("POST", "/v1/enrolment-tokens"),
    ("GET", "/v1/clips"),
    ("GET", f"/v1/clips/{'0' * 64}"),
    ("GET", f"/clips/{'0' * 64}.mcap"),
    ("GET", "/v1/events"),
]


@pytest.mark.parametrize(("method", "path"), OPERATOR_CALLS)
def test_operators_calls_need_their_token(start_cloud: StartCloud, method: str, path: str) -> None:
    with guarded(start_cloud) as http:
        body: dict[str, Any] = {"json": {}} if method == "POST" else {}
        assert http.request(method, path, **body).status_code == 401
        for wrong in (OPERATOR[:-1], OPERATOR + "x", "é" * 20):
            headers = {b"Authorization": f"Bearer {wrong}".encode()}
            assert http.request(method, path, headers=headers, **body).status_code == 401
        assert http.request(method, path, headers=AS_OPERATOR, **body).status_code in (200, 404)
        vehicle = Vehicle(http)
        vehicle.enrol(enrolment_token(http))
        vehicle.authenticate()
        assert http.request(method, path, headers=vehicle.bearer, **body).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:8080"},
        {"Host": ""},
    ],
)
def test_laptop_mode_serves_this_machine_alone(http: httpx.Client, headers: dict[str, str]) -> None:
    assert http.get("/v1/clips").status_code == 200
    assert http.get("/v1/clips", headers={"Host": "localhost:1"}).status_code == 200
    assert http.get("/v1/clips", headers=headers).status_code == 403
    body = {"vehicle_id": "car-7", "public_key": Vehicle(http).public_key}
    assert http.post("/v1/vehicles", json=body, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"host": "0.0.0.0"},
        {"host": "cloud.example"},
        {"database_url": SecretStr("postgresql://db/longtail")},
        {"object_store_url": "s3://bucket"},
        {"public_url": "https://cloud.example"},
        {"operator_token": OPERATOR},
    ],
)
def test_any_other_configuration_is_no_laptop(change: dict[str, Any]) -> None:
    assert Settings().is_laptop
    assert Settings(host="::1").is_laptop
    assert not Settings(**change).is_laptop


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as raised:
        load_settings({"port": 70_000})
    assert raised.value.place == "port"
    monkeypatch.setenv("LONGTAIL_OPERATOR_TOKEN", "short")
    with pytest.raises(InputError) as raised:
        load_settings({})
    assert raised.value.place == "operator_token"
    monkeypatch.setenv("LONGTAIL_OPERATOR_TOKEN", OPERATOR)
    monkeypatch.setenv("PUBLIC_URL", "https://cloud.example")
    assert load_settings({"port": 0}).public_url == "https://cloud.example"


def test_without_an_operator_token_nobody_is_operator(start_cloud: StartCloud) -> None:
    server = start_cloud(public_url="https://cloud.example")
    with httpx.Client(base_url=server.url) as http:
        answer = http.get("/v1/clips", headers=AS_OPERATOR)
        assert answer.status_code == 403
        assert "LONGTAIL_OPERATOR_TOKEN" in answer.json()["message"]
        assert Vehicle(http).enrol().status_code == 403
