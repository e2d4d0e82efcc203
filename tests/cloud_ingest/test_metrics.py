"""Metrics as Prometheus reads them, the dashboard's names, and readiness."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from cloud_ingest.metrics import GAUGES, PREFIX
from cloud_ingest.stores.local_objects import LocalObjects
from contracts.errors import TransientError
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import Vehicle, make_clip, make_manifest

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "cloud.json"


def scraped(http: httpx.Client) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by sample's name and its labels' values."""
    answer = http.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_what_happened_is_counted(http: httpx.Client, vehicle: Vehicle) -> None:
    clip = make_clip(make_manifest(), 100_000)
    vehicle.upload(clip, make_manifest())
    http.get("/v1/clips/" + "0" * 64)
    http.get("/no-such-page")
    found = scraped(http)
    requests = found[f"{PREFIX}requests_total"]
    assert requests["POST", "/v1/uploads", "200"] == 1
    assert requests["PATCH", "/v1/tus/{upload_id}", "204"] == 1
    assert requests["GET", "/v1/clips/{clip_id}", "404"] == 1
    assert requests["GET", "none", "404"] == 1, "a path of nobody is no label"
    assert found[f"{PREFIX}received_bytes_total"]["/v1/tus/{upload_id}",] == len(clip)
    assert found[f"{PREFIX}request_seconds_count"]["POST", "/v1/uploads"] == 1
    assert found[f"{PREFIX}clips"]["ready",] == 1
    assert found[f"{PREFIX}vehicles"]["enrolled",] == 1
    assert found[f"{PREFIX}uploads_open"][()] == 0
    assert {name.removeprefix(PREFIX) for name in found} >= set(GAUGES)


def test_very_many_clips_are_estimated(
    http: httpx.Client, vehicle: Vehicle, tables: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud_ingest import metrics

    for number in range(3):
        manifest = make_manifest(start_mono_ns=(10 + 20 * number) * 10**9)
        vehicle.upload(make_clip(manifest, 10, number), manifest)
    with tables.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE clips"))
    few = sa.text(str(metrics._CLIPS).replace(str(metrics._MANY), "2"))
    monkeypatch.setattr(metrics, "_CLIPS", few)
    assert scraped(http)[f"{PREFIX}clips"]["ready",] == 3


def test_the_dashboard_asks_for_what_there_is(http: httpx.Client, vehicle: Vehicle) -> None:
    depths = {PREFIX + name for name in GAUGES}
    there = set(scraped(http)) | depths
    asked = set(re.findall(rf"{PREFIX}\w+", json.dumps(json.loads(DASHBOARD.read_text()))))
    assert asked and asked <= there | {f"{PREFIX}request_seconds_bucket"}
    assert depths <= asked


def test_a_replica_without_its_store_is_not_ready(start_cloud: StartCloud, tmp_path: Path) -> None:
    class Away(LocalObjects):
        async def size_bytes(self, clip_id: str) -> int | None:
            raise TransientError("the store is away")

    server = start_cloud({"objects": Away(tmp_path / "objects")})
    with httpx.Client(base_url=server.url) as http:
        answer = http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "ready": False,
            "parts": {"database": "ok", "objects": "away", "loops": "ok"},
        }
        assert http.get("/healthz").status_code == 200
    with httpx.Client(base_url=start_cloud().url) as http:
        assert http.get("/readyz").json() == {
            "ready": True, "parts": {"database": "ok", "objects": "ok", "loops": "ok"},
        }  # fmt: skip
