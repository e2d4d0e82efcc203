"""What `deploy/` says of the cloud, against what the service knows: it is not run here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices

from cloud_ingest.settings import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def known_variables() -> set[str]:
    found: set[str] = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        assert isinstance(alias, AliasChoices)
        found |= {str(each) for each in alias.choices}
    return found


def test_the_replicas_are_told_what_the_service_knows(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = compose["services"]["cloud"]["environment"]
    own = {name for name in told if not name.startswith("AWS_")}
    assert own <= known_variables()
    for name, value in told.items():
        text = re.sub(r"\$\{PUBLIC_URL[^}]*\}", "https://longtail.example.org", value)
        monkeypatch.setenv(name, re.sub(r"\$\{[^}]*\}", "x" * 20, text))
    settings = load_settings({"host": "0.0.0.0"})
    assert not settings.is_laptop and settings.object_store_url == "s3://clips/"
    assert compose["services"]["cloud"]["deploy"]["replicas"] >= 2


def test_every_variable_is_in_the_example(compose: dict[str, Any]) -> None:
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    given = (DEPLOY / "compose.env.example").read_text("utf-8")
    assert asked == set(re.findall(r"^(\w+)=", given, re.M))
    assert not re.search(r"^(?:\w*PASSWORD|\w*SECRET|\w*TOKEN|S3_KEY)=.+", given, re.M)


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[name], name


def test_the_image_has_all_packages_that_the_command_imports() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (DEPLOY / "Dockerfile.cloud").read_text(), re.M))
    assert all((ROOT / name).is_dir() for name in copied)
    needed, waiting = set(), ["cli", "cloud_ingest"]
    roots = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    while waiting:
        package = waiting.pop()
        if package in needed:
            continue
        needed.add(package)
        text = "\n".join(path.read_text("utf-8") for path in (ROOT / package).rglob("*.py"))
        # Indented imports are of one command each: offline and simulation are not the cloud's.
        found = set(re.findall(r"^(?:from|import) (\w+)", text, re.M))
        waiting += (found & roots) - {"offline", "sim_fleet", "models"}
    assert needed <= copied
