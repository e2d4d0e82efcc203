"""Publishing: what people sign appears whole, checked, and for good; or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from tuf.api.metadata import Metadata, Targets

from client.releases import ReleaseClient
from cloud_ingest.fleet_schema import audit_log
from cloud_ingest.ota.ceremony import Plan, hold_ceremony
from contracts.clock import SystemClock
from contracts.errors import ConflictError, InputError, RefusedError
from contracts.ota import ReleaseId
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.ota_support import (
    AT_ONCE,
    SPEC_PATH,
    Person,
    http_of,
    name_file,
    next_role,
    post_role,
    put_file,
    role_state,
    spec_text,
    write_model,
    write_spec,
)
from tests.cloud_ingest.support import RunningServer


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    return tmp_path / "cloud" / "ota" / "offline"


@pytest.fixture
def ann(cloud: RunningServer, offline: Path) -> Person:
    return Person(cloud.url, offline)


def audit_lines(tables: sa.Engine) -> list[tuple[str, str, str, str]]:
    with tables.connect() as connection:
        rows = connection.execute(sa.select(audit_log).order_by(audit_log.c.number)).all()
    return [(row.actor, row.action, row.subject, row.reason) for row in rows if
            row.actor != "the service"]  # fmt: skip


def test_a_spec_is_published_once_and_for_good(
    ann: Person, tmp_path: Path, tables: sa.Engine
) -> None:
    path = write_spec(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    first = ann.publish(path)
    assert (first.state, first.digest, first.missing_signatures) == ("published", digest, 0)
    assert first.change.published == (ReleaseId("trigger", "brake", 1),)
    again = ann.publish(path)
    assert (again.state, again.change.published) == ("published", ())
    (row,) = ann.client.releases("trigger", "brake")
    assert (row.version, row.digest, row.published_by) == (1, digest, "ann")
    assert row.size_bytes == len(path.read_bytes())
    assert audit_lines(tables) == [("ann", "publish", "trigger brake version 1", "")]


def test_a_published_version_never_changes(ann: Person, tmp_path: Path) -> None:
    ann.publish(write_spec(tmp_path))
    with pytest.raises(ConflictError, match="make a new one"):
        ann.publish(write_spec(tmp_path, cooldown="1 s"))
    ann.publish(write_spec(tmp_path, version=2, cooldown="1 s"))
    assert [row.version for row in ann.client.releases("trigger", "brake")] == [1, 2]


def test_the_service_itself_keeps_published_files_as_they_are(
    ann: Person, http: httpx.Client, tmp_path: Path
) -> None:
    ann.publish(write_spec(tmp_path))
    other = spec_text(cooldown="1 s").encode()
    put_file(http, other)
    role = next_role(http)
    name_file(role, SPEC_PATH, other)
    role.sign(ann.key())
    answer = post_role(http, "triggers", role)
    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
    assert "never changes" in answer.json()["message"]


def test_a_model_is_published_whole(ann: Person, http: httpx.Client, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    model, manifest = write_model(tmp_path, content)
    outcome = ann.publish_model((model, manifest))
    assert outcome.digest == hashlib.sha256(manifest.read_bytes()).hexdigest()
    (row,) = ann.client.releases("model")
    assert row.size_bytes == len(content) + manifest.stat().st_size
    assert row.digest == outcome.digest
    with pytest.raises(InputError, match="another file"):
        ann.publish_model((manifest, manifest))
    with pytest.raises(InputError, match="says version 1, not 2"):
        ann.client.publish_model(model, manifest, ann.key("models"), 2)
    role = next_role(http, "models")
    put_file(http, content)
    name_file(role, "models/eyes/2/model.onnx", content)
    role.sign(ann.key("models"))
    answer = post_role(http, "models", role)
    assert answer.status_code == 400
    assert "manifest.yaml is missing" in answer.json()["message"]


def test_withdrawn_is_withdrawn_and_comes_back_only_as_it_was(
    ann: Person, http: httpx.Client, tmp_path: Path, tables: sa.Engine
) -> None:
    path = write_spec(tmp_path)
    ann.publish(path)
    assert ann.withdraw().state == "withdrawn"
    (row,) = ann.client.releases()
    assert row.withdrawn
    with pytest.raises(InputError, match="is not published"):
        ann.withdraw()
    with pytest.raises(ConflictError, match="other bytes before"):
        ann.publish(write_spec(tmp_path, cooldown="1 s"))
    assert ann.publish(write_spec(tmp_path)).state == "published"
    assert [row.withdrawn for row in ann.client.releases()] == [False]
    assert audit_lines(tables)[1] == (
        "ann", "withdraw", "trigger brake version 1", "it was wrong",
    )  # fmt: skip


@pytest.fixture
def two_people(start_cloud: StartCloud, tmp_path: Path) -> tuple[Person, Person]:
    """A service whose trigger specs two people sign."""
    hold_ceremony(tmp_path / "keys", Plan(triggers_threshold=2), SystemClock())
    server = start_cloud(ota=tmp_path / "keys")
    offline = tmp_path / "keys" / "offline"
    return Person(server.url, offline), Person(server.url, offline, 2, name="bob")


def test_two_people_sign(
    two_people: tuple[Person, Person], tmp_path: Path, tables: sa.Engine
) -> None:
    ann, bob = two_people
    path = write_spec(tmp_path)
    first = ann.publish(path)
    assert (first.state, first.missing_signatures) == ("waiting", 1)
    assert ann.client.releases() == ()
    assert ann.publish(path).state == "waiting", "asked again, it still waits"
    with pytest.raises(ConflictError, match="signed it already"):
        ann.client.approve("trigger", ann.key())
    with pytest.raises(ConflictError, match=r"another change .*brake version 1"):
        bob.publish(write_spec(tmp_path, "swerve"))
    waiting = bob.client.waiting("trigger")
    assert waiting is not None
    assert waiting.change.published == (ReleaseId("trigger", "brake", 1),)
    assert waiting.digest(waiting.change.published[0]) == first.digest
    done = bob.client.approve("trigger", bob.key(), waiting)
    assert (done.state, done.change) == ("published", waiting.change)
    (row,) = ann.client.releases()
    assert row.published_by == "ann, bob"
    assert bob.client.waiting("trigger") is None
    with pytest.raises(InputError, match="nothing of role triggers waits"):
        bob.client.approve("trigger", bob.key())
    assert [line[:2] for line in audit_lines(tables)] == [("ann", "sign"), ("ann, bob", "publish")]


def test_a_signature_alone_adds_to_what_waits(
    two_people: tuple[Person, Person], tmp_path: Path
) -> None:
    ann, bob = two_people
    ann.publish(write_spec(tmp_path))
    with http_of(bob.url) as http:
        waiting = role_state(http)["waiting"]
        alone: Metadata[Targets] = Metadata.from_bytes(waiting.encode())
        alone.sign(bob.key())
        answer = post_role(http, "triggers", alone, "bob")
        assert answer.json()["version"] == 2
        assert post_role(http, "triggers", alone, "bob").status_code == 200, "a lost answer"
        assert len(json.loads(role_state(http)["metadata"])["signatures"]) == 2


def test_another_change_may_replace_what_waits(
    two_people: tuple[Person, Person], tmp_path: Path
) -> None:
    ann, bob = two_people
    ann.publish(write_spec(tmp_path))
    bob.client.publish_spec(write_spec(tmp_path, "swerve"), bob.key(), replace=True)
    done = ann.client.approve("trigger", ann.key())
    assert done.change.published == (ReleaseId("trigger", "swerve", 1),)
    assert [row.name for row in ann.client.releases()] == ["swerve"]


def test_what_was_verified_from_ones_own_root_is_signed_and_nothing_else(
    ann: Person, offline: Path, tmp_path: Path
) -> None:
    trust = offline.parent / "trust"
    foreign = hold_ceremony(tmp_path / "foreign", Plan(demo=True), SystemClock())

    def client(root: Path) -> ReleaseClient:
        content = (root / "image.root.json").read_bytes()
        return ReleaseClient(ann.url, "ann", trusted_root=content, retries=AT_ONCE)

    path = write_spec(tmp_path)
    with pytest.raises(RefusedError, match="does not verify from your root"):
        client(foreign.trust).publish_spec(path, ann.key())
    assert client(trust).publish_spec(path, ann.key()).state == "published"


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**20 + 1])
def test_files_are_stored_by_digest(http: httpx.Client, length: int) -> None:
    content = bytes(length)
    put_file(http, content)
    put_file(http, content)
    wrong = hashlib.sha256(content + b"x").hexdigest()
    answer = http.put(f"/v1/ota/files/{wrong}", content=content)
    assert (answer.status_code, answer.json()["error"]) == (460, "corrupt")
    assert http.put("/v1/ota/files/..", content=b"").status_code in (400, 404)
    put_file(http, content + b"x")


def test_a_file_that_is_too_long_is_not_read(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_ingest.bodies.MAX_MODEL_BYTES", 100_000)
    content = bytes(200_000)
    path = f"/v1/ota/files/{hashlib.sha256(content).hexdigest()}"
    assert http.put(path, content=content).status_code == 413

    def chunked() -> Any:
        yield from (bytes(50_000) for _ in range(4))

    assert http.put(path, content=chunked()).status_code == 413
    monkeypatch.setattr("cloud_ingest.bodies.MAX_MODEL_BYTES", 10**6)
    monkeypatch.setattr("cloud_ingest.ota.routes.MAX_MODEL_BYTES", 100_000)
    assert http.put(path, content=chunked()).status_code == 413
    monkeypatch.undo()
    put_file(http, content)
