"""The vehicle's own upload client against the real service, over a line that is cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import sqlalchemy as sa

from cloud_ingest.schema import clips
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.ids import PART_BYTES
from contracts.upload import UploadRequest
from edge_agent.spool import Entry
from edge_agent.upload import DrainReport
from tests.cloud_ingest.cutting_proxy import cutting
from tests.cloud_ingest.support import RunningServer, make_clip, make_manifest
from tests.edge_agent.upload_rig import Rig, record, request_for, rig


def commit(vehicle: Rig, content: bytes, manifest: ClipManifest) -> Entry:
    request: UploadRequest = request_for(
        content, event=manifest.event, window=manifest.actual, safety=manifest.safety
    )
    path = vehicle.spool.begin("clip")
    path.write_bytes(content)
    return vehicle.spool.commit(path, request, "safety", "allowed", 1.0)


async def drain(vehicle: Rig, hours: int = 1) -> DrainReport:
    return await vehicle.uploader.drain(vehicle.clock.mono_ns() + hours * 3600 * NS_PER_S)


def test_a_vehicle_brings_its_clip_home_over_a_bad_line(
    cloud: RunningServer, http: httpx.Client, tables: sa.Engine, tmp_path: Path
) -> None:
    manifest = make_manifest()
    content = make_clip(manifest, 2 * PART_BYTES + 1000)

    async def go(base_url: str) -> None:
        vehicle = rig(tmp_path / "vehicle", base_url)
        vehicle.other_origins = (cloud.url,)
        await vehicle.restart()
        await vehicle.receiver.enrol(None)
        vehicle.ledger.outbox.put(record(1))
        entry = commit(vehicle, content, manifest)
        report = await drain(vehicle)
        assert report.uploaded == (entry.clip_id,), report
        assert report.events_sent == 1
        await vehicle.restart()
        assert vehicle.spool.queue() == ()
        await vehicle.close()

    with cutting(cloud.url, [PART_BYTES // 2, PART_BYTES + 500_000, 3000]) as proxy:
        asyncio.run(go(proxy.url))
        assert proxy.cuts == 3
    with tables.connect() as connection:
        (row,) = connection.execute(sa.select(clips)).all()
    assert row.clip_id == request_for(content).clip_id
    assert http.get(f"/clips/{row.clip_id}.mcap").content == content


def test_a_clip_that_the_cloud_has_costs_no_bytes(cloud: RunningServer, tmp_path: Path) -> None:
    manifest = make_manifest()
    content = make_clip(manifest, 1_000_000)

    async def go() -> None:
        vehicle = rig(tmp_path / "vehicle", cloud.url)
        await vehicle.receiver.enrol(None)
        entry = commit(vehicle, content, manifest)
        assert (await drain(vehicle)).uploaded == (entry.clip_id,)
        # The vehicle forgets what it sent, as after a new disk.
        vehicle.spool.evict(entry.clip_id, "test")
        assert commit(vehicle, content, manifest).clip_id == entry.clip_id
        report = await drain(vehicle)
        assert report.uploaded == (entry.clip_id,)
        assert report.wire_bytes < 20_000
        await vehicle.close()

    asyncio.run(go())
