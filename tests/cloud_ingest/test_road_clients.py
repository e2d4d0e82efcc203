"""Stock clients over a bad road: whole, resumed, parallel, checksummed; the digest is equal.

The road of `emulated_link`: 160 ms, 5 % loss, cut every 8 s. The default suite drives an eighth
of it, the soak all. tus-js-client is in `tests/interop`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import aiotus
import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from contracts.ids import PART_BYTES
from tests.cloud_ingest.emulated_link import ROAD, SHORT_ROAD, Road, over
from tests.cloud_ingest.support import (
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)
from tests.cloud_ingest.test_tus_concat import join

MANIFEST = make_manifest()
SHORT_CLIP = make_clip(MANIFEST, 400_000)
CLIP = make_clip(MANIFEST, 3_000_000)
LARGE_CLIP = make_clip(MANIFEST, PART_BYTES + 500_000)
TRIES = 200

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),
]


class Kept(io.BytesIO):
    """A stream that stays open: tuspy closes it."""

    def close(self) -> None:
        self.seek(0)


def tuspy(url: str, vehicle: Vehicle, content: bytes, **options: Any) -> str:
    """Send with tuspy until it is whole; its own retries, and a new client where they end."""
    headers = vehicle.bearer | options.pop("headers", {})
    known: str | None = None
    for _ in range(TRIES):
        try:
            uploader = TusClient(f"{url}/v1/tus", headers=headers).uploader(
                file_stream=Kept(content), url=known, retries=3, retry_delay=0, **options
            )
            if known is None:
                known = str(uploader.create_url())
                uploader.set_url(known)
                uploader.offset = 0
            uploader.upload()
        except (TusCommunicationError, TusUploadFailed, OSError):
            continue
        return str(known)
    pytest.fail("tuspy never got through")


def plainly(url: str, vehicle: Vehicle, content: bytes) -> None:
    tuspy(url, vehicle, content, chunk_size=150_000, upload_checksum=False)


def checksummed(url: str, vehicle: Vehicle, content: bytes) -> None:
    tuspy(url, vehicle, content, chunk_size=100_000, upload_checksum=True)


def in_thirds(url: str, vehicle: Vehicle, content: bytes) -> None:
    """Partial uploads by tuspy; it has no words for the final one."""
    third = len(content) // 3 + 1
    urls = [
        tuspy(
            url, vehicle, content[at : at + third],
            chunk_size=120_000, upload_checksum=True, headers={"Upload-Concat": "partial"},
        )
        for at in range(0, len(content), third)
    ]  # fmt: skip
    assert join(vehicle, [f"/v1/tus/{one.rsplit('/', 1)[1]}" for one in urls]).status_code == 201


def by_aiotus(url: str, vehicle: Vehicle, content: bytes) -> None:
    config = aiotus.RetryConfiguration(retry_attempts=TRIES, max_retry_period_seconds=0)
    found = asyncio.run(
        aiotus.upload(
            f"{url}/v1/tus", io.BytesIO(content), config=config, headers=vehicle.bearer,
            chunksize=130_000,
        )
    )  # fmt: skip
    assert found is not None


def parallel_by_aiotus(url: str, vehicle: Vehicle, content: bytes) -> None:
    config = aiotus.RetryConfiguration(retry_attempts=TRIES, max_retry_period_seconds=0)
    third = len(content) // 3 + 1
    files = [io.BytesIO(content[at : at + third]) for at in range(0, len(content), third)]
    found = asyncio.run(
        aiotus.upload_multiple(
            f"{url}/v1/tus", files, config=config, headers=vehicle.bearer, chunksize=110_000
        )
    )
    assert found is not None


Send = Callable[[str, Vehicle, bytes], None]
WAYS = [plainly, checksummed, in_thirds, by_aiotus, parallel_by_aiotus]


def drive(cloud: RunningServer, vehicle: Vehicle, send: Send, content: bytes, road: Road) -> None:
    with over(cloud.url, road) as link:
        send(link.url, vehicle, content)
        assert link.cuts > 0 or len(content) < 10**6
    clip_id = clip_id_of_bytes(content)
    assert vehicle.status(clip_id)["state"] == "committed"
    assert vehicle.http.get(f"/clips/{clip_id}.mcap").content == content


@pytest.mark.parametrize("send", WAYS)
def test_a_short_bad_road(cloud: RunningServer, vehicle: Vehicle, send: Send) -> None:
    drive(cloud, vehicle, send, SHORT_CLIP, SHORT_ROAD)


@pytest.mark.soak
@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("content", [CLIP, LARGE_CLIP])
def test_the_whole_bad_road(
    cloud: RunningServer, vehicle: Vehicle, send: Send, content: bytes
) -> None:
    drive(cloud, vehicle, send, content, ROAD)


def test_parallel_partial_uploads_without_a_road(
    cloud: RunningServer, vehicle: Vehicle, http: httpx.Client
) -> None:
    parallel_by_aiotus(cloud.url, vehicle, LARGE_CLIP)
    clip_id = clip_id_of_bytes(LARGE_CLIP)
    assert http.get(f"/clips/{clip_id}.mcap").content == LARGE_CLIP
