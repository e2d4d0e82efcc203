"""Stock tus clients, unchanged, against the real server: whole, cut in mid-body, and resumed.

tus-js-client, which needs Node, is in `tests/interop`.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import aiotus
import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.storage.filestorage import FileStorage

from tests.cloud_ingest.cutting_proxy import cutting
from tests.cloud_ingest.support import (
    RunningServer,
    Vehicle,
    clip_id_of_bytes,
    make_clip,
    make_manifest,
)

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 20_000_000)
CLIP_ID = clip_id_of_bytes(CLIP)


class ClipStream(io.BytesIO):
    """The clip as a stream that stays open: tuspy closes it, and leaves files open."""

    def __init__(self) -> None:
        super().__init__(CLIP)

    def close(self) -> None:
        self.seek(0)


def assert_arrived(http: httpx.Client, vehicle: Vehicle) -> None:
    """The clip is there once, as it was, and its vehicle may drop it."""
    (row,) = http.get("/v1/clips").json()["clips"]
    assert row["clip_id"] == CLIP_ID
    assert http.get(f"/clips/{CLIP_ID}.mcap").content == CLIP
    assert vehicle.status(CLIP_ID)["state"] == "committed"


@pytest.mark.parametrize("upload_checksum", [False, True])
@pytest.mark.parametrize("chunk_size", [1_000_000, 8 * 2**20, None])
def test_tuspy(
    cloud: RunningServer,
    vehicle: Vehicle,
    chunk_size: int | None,
    upload_checksum: bool,
) -> None:
    client = TusClient(f"{cloud.url}/v1/tus", headers=vehicle.bearer)
    options: dict[str, Any] = {} if chunk_size is None else {"chunk_size": chunk_size}
    uploader = client.uploader(file_stream=ClipStream(), upload_checksum=upload_checksum, **options)
    uploader.upload()
    assert uploader.offset == len(CLIP)
    assert_arrived(vehicle.http, vehicle)


def test_tuspy_is_cut_and_goes_on_in_another_process(
    cloud: RunningServer, vehicle: Vehicle, tmp_path: Path
) -> None:
    """Its URL storage is all that the second one has."""
    storage = FileStorage(str(tmp_path / "urls.json"))  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {
        "chunk_size": 5_000_000,
        "upload_checksum": False,
        "store_url": True,
        "url_storage": storage,
    }
    # Connections: the creation, a whole chunk, and one that is cut in its middle.
    with cutting(cloud.url, [10**9, 10**9, 2_000_000]) as proxy:
        client = TusClient(f"{proxy.url}/v1/tus", headers=vehicle.bearer)
        with pytest.raises((TusUploadFailed, TusCommunicationError)):
            client.uploader(file_stream=ClipStream(), **options).upload()
        assert proxy.cuts == 1
        resumed = client.uploader(file_stream=ClipStream(), **options)
        assert 5_000_000 <= resumed.offset < len(CLIP)
        resumed.retries, resumed.retry_delay = 3, 0
        resumed.upload()
    storage.close()  # type: ignore[no-untyped-call]
    assert_arrived(vehicle.http, vehicle)


def test_tuspy_retries_through_cuts_with_checksums(cloud: RunningServer, vehicle: Vehicle) -> None:
    budgets = [10**9, 400_000, 10**9, 900_000, 10**9, 10**9, 1_000_000]
    with cutting(cloud.url, budgets) as proxy:
        client = TusClient(f"{proxy.url}/v1/tus", headers=vehicle.bearer)
        uploader = client.uploader(
            file_stream=ClipStream(),
            chunk_size=6_000_000,
            upload_checksum=True,
            retries=8,
            retry_delay=0,
        )
        uploader.upload()
        assert proxy.cuts == 3
    assert_arrived(vehicle.http, vehicle)


def aiotus_upload(url: str, vehicle: Vehicle, chunk_size: int) -> str | None:
    config = aiotus.RetryConfiguration(retry_attempts=12, max_retry_period_seconds=0)

    async def upload() -> str | None:
        location = await aiotus.upload(
            f"{url}/v1/tus",
            io.BytesIO(CLIP),
            {"filename": b"clip.mcap"},
            config=config,
            headers=vehicle.bearer,
            chunksize=chunk_size,
        )
        if location is None:
            return None
        kept = await aiotus.metadata(location, config=config, headers=vehicle.bearer)
        assert kept == {"filename": b"clip.mcap"}
        return str(location)

    return asyncio.run(upload())


AIOHTTP_ADVICE = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@AIOHTTP_ADVICE
@pytest.mark.parametrize("chunk_size", [700_000, 4 * 2**20])
def test_aiotus(cloud: RunningServer, vehicle: Vehicle, chunk_size: int) -> None:
    assert aiotus_upload(cloud.url, vehicle, chunk_size) is not None
    assert_arrived(vehicle.http, vehicle)


@AIOHTTP_ADVICE
def test_aiotus_is_cut_again_and_again(cloud: RunningServer, vehicle: Vehicle) -> None:
    with cutting(cloud.url, [2_000_000, 3_000_000, 100, 6_000_001, 5_000]) as proxy:
        assert aiotus_upload(proxy.url, vehicle, 4 * 2**20) is not None
        assert proxy.cuts >= 3
    assert_arrived(vehicle.http, vehicle)
