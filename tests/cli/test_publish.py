"""`longtail spec publish|approve|withdraw` and `longtail model ...` against the real service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import publish, spec
from cloud_ingest.ota.ceremony import Plan, hold_ceremony
from contracts.clock import SystemClock
from contracts.errors import ConflictError, InputError, LongtailError, RefusedError
from tests.cloud_ingest import conftest as fixtures
from tests.cloud_ingest.ota_support import write_model, write_spec

postgres, tables, database_url = fixtures.postgres, fixtures.tables, fixtures.database_url
start_cloud = fixtures.start_cloud


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    plan = Plan(triggers_threshold=2)
    return hold_ceremony(tmp_path / "keys", plan, SystemClock()).offline


@pytest.fixture(autouse=True)
def cloud_url(
    start_cloud: fixtures.StartCloud, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A service with keys of its own; the commands know it from the environment."""
    server = start_cloud(ota=offline.parent)
    monkeypatch.setenv("LONGTAIL_CLOUD", server.url)
    monkeypatch.setenv("LONGTAIL_ACTOR", "ann")
    yield


def run(app: Any, *arguments: str | Path) -> str:
    words = [str(word) for word in arguments]
    result = CliRunner().invoke(app, words)
    if isinstance(result.exception, LongtailError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def asked(app: Any, *arguments: str | Path) -> Any:
    return json.loads(run(app, *arguments, "--json"))


def test_a_spec_from_two_people(tmp_path: Path, offline: Path) -> None:
    file = write_spec(tmp_path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    ann, bob = ("--key", offline / "triggers-1.pem"), ("--key", offline / "triggers-2.pem")
    told = run(spec.app, "publish", file, *ann)
    assert told.startswith(f"{digest}\ntrigger brake version 1: waits for 1 more signature")
    assert "another person runs `longtail spec approve" in told
    with pytest.raises(ConflictError, match="signed it already"):
        run(spec.app, "approve", *ann)
    told = run(spec.app, "approve", *bob)
    assert told.splitlines() == [
        f"signing: publish trigger brake version 1 {digest}", "trigger brake version 1: published",
    ]  # fmt: skip
    release = [{"kind": "trigger", "name": "brake", "version": 1}]
    assert asked(spec.app, "publish", file, *ann) == {
        "releases": release, "state": "published", "digest": digest, "missing_signatures": 0,
    }  # fmt: skip
    gone = asked(spec.app, "withdraw", "brake", "1", *bob, "--reason", "it was wrong")
    assert (gone["releases"], gone["state"], gone["missing_signatures"]) == (release, "waiting", 1)
    assert asked(spec.app, "approve", *ann)["state"] == "withdrawn"
    with pytest.raises(InputError, match="nothing of role triggers waits"):
        run(spec.app, "approve", *ann)


def test_what_is_wrong_is_said_before_anything_is_sent(tmp_path: Path, offline: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(write_spec(tmp_path).read_text() + "colour: blue\n")
    with pytest.raises(InputError, match=r"wrong\.yaml:\d+:1: unknown key 'colour'"):
        run(spec.app, "publish", file, "--key", offline / "triggers-1.pem")
    file = write_spec(tmp_path)
    for key in (offline / "nobody.pem", file):
        with pytest.raises(InputError):
            run(spec.app, "publish", file, "--key", key)
    with pytest.raises(RefusedError, match="signed by no key of role triggers"):
        run(spec.app, "publish", file, "--key", offline / "models-1.pem")
    with pytest.raises(InputError, match="is not published"):
        run(
            spec.app, "withdraw", "brake", "1", "--key", offline / "triggers-1.pem", "--reason", "x"
        )


def test_models(tmp_path: Path, offline: Path) -> None:
    key = ("--key", offline / "models-1.pem")
    for version in (1, 2):
        model, manifest = write_model(tmp_path, bytes([version]) * 1000, version)
        told = asked(publish.app, "publish", model, "--manifest", manifest, *key)
        assert (told["state"], told["releases"][0]["version"]) == ("published", version)
        again = run(publish.app, "publish", model, "--manifest", manifest, *key)
        assert f"model eyes version {version}: published" in again
    rows = asked(publish.app, "history", "eyes")
    assert [(row["version"], row["withdrawn"]) for row in rows] == [(2, False), (1, False)]
    run(publish.app, "withdraw", "eyes", "1", *key, "--reason", "it was wrong")
    shown = run(publish.app, "history", "eyes").splitlines()
    assert [line.split()[1] for line in shown] == ["2", "1"]
    assert shown[1].endswith("by ann withdrawn")
    assert "no version of other" in run(publish.app, "history", "other")


def test_a_root_of_ones_own(tmp_path: Path, offline: Path) -> None:
    file, key = write_spec(tmp_path), offline / "triggers-1.pem"
    trusted = offline.parent / "trust" / "image.root.json"
    foreign = hold_ceremony(tmp_path / "foreign", Plan(), SystemClock()).trust / trusted.name
    with pytest.raises(RefusedError, match="does not verify from your root"):
        run(spec.app, "publish", file, "--key", key, "--root", foreign)
    assert "waits for 1" in run(spec.app, "publish", file, "--key", key, "--root", trusted)
