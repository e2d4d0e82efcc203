"""What tests over S3 share: credentials, buckets at a fake, and a service on them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from cloud_ingest.stores.s3_client import Bucket, open_bucket
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.s3_fake import FakeS3, serving
from tests.cloud_ingest.support import RunningServer, Vehicle

OPERATOR = "operator-token-0123456789"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """A strict S3, and credentials for it."""
    for name, text in CREDENTIALS.items():
        monkeypatch.setenv(name, text)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with serving() as fake:
        yield fake


def bucket_at(s3: FakeS3, url: str = "s3://clips") -> Bucket:
    return open_bucket(url, s3.url, 8)


def cloud_on(start_cloud: StartCloud, s3: FakeS3, **changes: object) -> RunningServer:
    """A replica whose objects lie in `s3://clips/fleet`."""
    values: dict[str, object] = {
        "object_store_url": "s3://clips/fleet",
        "object_store_endpoint": s3.url,
        "operator_token": OPERATOR,
    }
    return start_cloud(**(values | changes))


def enrolled(http: httpx.Client, vehicle_id: str = "car-1") -> Vehicle:
    """A vehicle with a token, let in by the operator."""
    made = http.post(
        "/v1/enrolment-tokens", json={}, headers={"Authorization": f"Bearer {OPERATOR}"}
    )
    vehicle = Vehicle(http, vehicle_id)
    assert vehicle.enrol(made.json()["token"]).status_code == 200
    assert vehicle.authenticate().status_code == 200
    return vehicle


def on(vehicle: Vehicle, http: httpx.Client) -> Vehicle:
    """The same vehicle at another replica."""
    return Vehicle(http, vehicle.vehicle_id, vehicle.key, vehicle.token)


def clip(http: httpx.Client, clip_id: str) -> bytes:
    """A clip's bytes, as an operator gets them."""
    answer = http.get(f"/clips/{clip_id}.mcap", headers={"Authorization": f"Bearer {OPERATOR}"})
    assert answer.status_code == 200, answer.text
    return answer.content
