"""Views at an S3 that is not AWS' own: made, read and erased where the clips are."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import httpx
import pytest

from cloud_ingest.ports import OWNED
from cloud_ingest.settings import Settings
from cloud_ingest.steps.views import open_views
from tests.cloud_ingest.after.clips import picture_clip, run_steps, states, steps_of
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.s3_support import CREDENTIALS, OPERATOR, enrolled
from tests.cloud_ingest.support import clip_id_of_bytes

BUCKET = "views-clips"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto over HTTP, with one bucket; nothing but the settings says where it is."""
    ThreadedMotoServer = pytest.importorskip("moto.server").ThreadedMotoServer

    for name, text in CREDENTIALS.items():
        monkeypatch.setenv(name, text)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        httpx.post(f"{url}/moto-api/reset").raise_for_status()
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.stop()


def keys(endpoint: str) -> list[str]:
    found = boto3.client("s3", endpoint_url=endpoint).list_objects_v2(Bucket=BUCKET)
    keys = [str(entry["Key"]) for entry in found.get("Contents", [])]
    return sorted(key for key in keys if OWNED not in key)


def settings_at(endpoint: str) -> dict[str, str]:
    """As `deploy/compose.yaml` has them."""
    return {"object_store_url": f"s3://{BUCKET}/fleet", "object_store_endpoint": endpoint}


def test_views_lie_at_the_endpoint(endpoint: str) -> None:
    views = open_views(Settings.model_validate(settings_at(endpoint)))
    clip_id = "ab" * 32
    views.put(clip_id, "a.jpg", b"one")
    views.put(clip_id, "b.jpg", b"two")
    assert views.names(clip_id) == ["a.jpg", "b.jpg"]
    assert views.read(clip_id, "b.jpg") == b"two"
    assert views.read(clip_id, "c.jpg") is None
    assert keys(endpoint) == [f"fleet/views/ab/{clip_id}/{name}.jpg" for name in "ab"]
    views.remove_all(clip_id)
    views.remove_all(clip_id)
    assert keys(endpoint) == []


def test_frames_and_film_are_made_and_an_erasure_ends(
    start_cloud: StartCloud, endpoint: str
) -> None:
    server = start_cloud(operator_token=OPERATOR, **settings_at(endpoint))
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    with httpx.Client(base_url=server.url, timeout=30, headers=operator) as http:
        vehicle = enrolled(http)
        clips = [picture_clip(start_s=start) for start in (10, 50)]
        assert [vehicle.upload(*clip) for clip in clips] == [
            clip_id_of_bytes(content) for content, _ in clips
        ]
        run_steps(server)
        for content, _ in clips:
            clip_id = clip_id_of_bytes(content)
            told = states(steps_of(http, clip_id))
            assert (told["frames"], told["video"]) == ("done", "done")
            film = http.get(f"/v1/clips/{clip_id}/views/preview.mp4")
            assert (film.status_code, film.headers["Content-Type"]) == (200, "video/mp4")
        assert len([key for key in keys(endpoint) if "/views/" in key]) == 2 * 7
        body = {"request_id": "r1", "kind": "vehicle", "subject": "car-1", "actor": "ann",
                "reason": "sold"}  # fmt: skip
        assert http.post("/v1/erasures", json=body).json()["clips"] == 2
        server.run(server.app.state.service.after.erasures.go_on())
        told = http.get("/v1/erasures/r1").json()
        assert (told["left"], told["ended_utc_ns"] is not None) == (0, True)
    assert keys(endpoint) == []
