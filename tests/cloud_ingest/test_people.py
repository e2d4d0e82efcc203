"""People's tokens and roles: let in, let out, told apart, and written down by their own names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cli.fleet import app
from client.fleet import FleetClient
from cloud_ingest.people_schema import people
from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import InputError
from contracts.people import ROLES, Role
from tests.cloud_ingest.conftest import StartCloud

ADMIN = "operator-token-0123456789"
BY = {"actor": "whoever", "reason": "test"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def http(start_cloud: StartCloud, clock: VirtualClock) -> Iterator[httpx.Client]:
    server = start_cloud({"clock": clock}, operator_token=ADMIN)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def let_in(http: httpx.Client, role: Role, name: str | None = None, **more: Any) -> str:
    body = BY | {"name": name or f"a-{role}", "role": role} | more
    answer = http.post("/v1/people", json=body, headers=bearer(ADMIN))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def status(http: httpx.Client, method: str, path: str, token: str, body: Any = None) -> int:
    return http.request(method, path, json=body, headers=bearer(token)).status_code


def test_each_role_may_what_it_may(http: httpx.Client) -> None:
    tokens = {role: let_in(http, role) for role in ROLES}
    order = BY | {"reason": "it fires too often"}
    asked = (
        ("GET", "/v1/clips", None, "viewer"),
        ("GET", "/v1/audit", None, "viewer"),
        ("POST", "/v1/triggers/brake/kill", order, "operator"),
        ("GET", "/v1/people", None, "admin"),
        ("POST", "/v1/enrolment-tokens", {}, "admin"),
    )  # fmt: skip
    for method, path, body, least in asked:
        for role, token in tokens.items():
            found = status(http, method, path, token, body)
            enough = ROLES.index(role) >= ROLES.index(least)  # type: ignore[arg-type]
            assert found == (200 if enough else 403), (path, role)
    assert http.get("/v1/me", headers=bearer(tokens["labeller"])).json() == {
        "name": "a-labeller", "role": "labeller",
    }  # fmt: skip
    assert http.get("/v1/me", headers=bearer(ADMIN)).json() == {"name": None, "role": "admin"}


def test_a_token_ends_by_time_by_order_and_by_another(
    http: httpx.Client, clock: VirtualClock, tables: sa.Engine
) -> None:
    short = let_in(http, "viewer", "short", valid_s=60)
    first, second = let_in(http, "viewer", "twice"), let_in(http, "operator", "twice")
    assert status(http, "GET", "/v1/me", first) == 401
    assert status(http, "GET", "/v1/me", second) == 200
    clock.set_mono_ns(clock.mono_ns() + 61 * NS_PER_S)
    assert status(http, "GET", "/v1/me", short) == 401
    path = "/v1/people/twice/revoke"
    assert status(http, "POST", path, second, BY) == 403
    assert status(http, "POST", path, ADMIN, BY) == 200
    assert status(http, "GET", "/v1/me", second) == 401
    assert status(http, "POST", "/v1/people/nobody/revoke", ADMIN, BY) == 404
    known = {
        row["name"]: row for row in http.get("/v1/people", headers=bearer(ADMIN)).json()["people"]
    }
    assert known["twice"]["revoked_utc_ns"] is not None and "token" not in known["twice"]
    with tables.connect() as connection:
        kept = connection.execute(sa.select(people.c.token_sha256)).scalars().all()
    assert not any(second.encode() in bytes(each) for each in kept)


def test_the_audit_log_has_the_name_that_the_service_knows(http: httpx.Client) -> None:
    token = let_in(http, "operator", "ada")
    assert status(http, "POST", "/v1/triggers/brake/kill", token, BY) == 200
    assert status(http, "POST", "/v1/triggers/brake/unkill", ADMIN, BY) == 200
    rows = http.get("/v1/audit", headers=bearer(ADMIN)).json()["rows"]
    told = {row["action"]: row["actor"] for row in rows}
    assert told["kill trigger"] == "ada" and told["unkill trigger"] == "whoever"
    assert told["add person"] == "whoever"


def test_what_names_nobody_is_written_under_the_caller(http: httpx.Client) -> None:
    token = let_in(http, "admin", "ada")
    assert status(http, "POST", "/v1/enrolment-tokens", token, {"vehicle_id": "car-1"}) == 200
    hook = {"url": "https://hooks.example/x"}
    made = http.post("/v1/webhooks", json=hook, headers=bearer(token))
    assert made.status_code == 200, made.text
    path = f"/v1/webhooks/{made.json()['webhook']['webhook_id']}"
    assert status(http, "DELETE", path, ADMIN) == 200
    rows = http.get("/v1/audit", headers=bearer(ADMIN)).json()["rows"]
    told = {row["action"]: (row["actor"], row["subject"]) for row in rows}
    assert told["make enrolment token"] == ("ada", "car-1")
    assert told["add webhook"] == ("ada", hook["url"])
    assert told["remove webhook"] == ("operator token", hook["url"])


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "role": "viewer"},
        {"name": "x", "role": "king"},
        {"name": "a b", "role": "viewer"},
    ],
)
def test_what_is_no_person_is_refused(http: httpx.Client, body: dict[str, str]) -> None:
    assert status(http, "POST", "/v1/people", ADMIN, BY | body) == 400


def test_the_client_and_the_command(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_OPERATOR_TOKEN", ADMIN)
    run = CliRunner()
    cloud = ["--cloud", str(http.base_url).rstrip("/")]

    def called(*words: str) -> str:
        done = run.invoke(app, ["people", *words, *cloud], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    token = called("add", "grace", "--role", "labeller", "--reason", "labels").strip()
    assert http.get("/v1/me", headers=bearer(token)).json() == {"name": "grace", "role": "labeller"}
    assert "grace" in called("list") and token not in called("list", "--json")
    assert "refused" in called("revoke", "grace", "--reason", "left")
    assert http.get("/v1/me", headers=bearer(token)).status_code == 401
    with pytest.raises(InputError) as raised:
        FleetClient(str(http.base_url), "x", ADMIN).add_person("a b", "viewer", 60, "x")
    assert raised.value.place == "name"
