"""A clip's spans on the whole road: side by side where bytes are free, never twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import httpx
import pytest

from contracts.clock import NS_PER_S
from contracts.ids import PART_BYTES
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ports import Link
from edge_agent.upload import CellularLimits, FixedLink
from tests.cloud_ingest.cutting_proxy import CuttingProxy, cutting
from tests.edge_agent.upload_rig import VEHICLE, WIFI, JumpingClock, Rig, add_clip, clip_bytes

SIZE = 5 * PART_BYTES + 4321
HOUR_NS = 3600 * NS_PER_S
METERED = Link("wifi", True)

Body = Callable[[Rig, CuttingProxy], Awaitable[None]]


def run(
    folder: Path, cloud_url: str, body: Body, budgets: Iterable[int] = (), link: Link = WIFI
) -> None:
    """Run `body` on an enrolled vehicle that reaches the cloud through a proxy that counts.

    All tests are one vehicle to the cloud that they share: its key lies beside their folders.
    """
    key = folder.parent / "key.pem"
    VehicleKey.load_or_create(key, VEHICLE, RealDisk())
    shutil.copy(key, folder / "key.pem")

    async def go(proxy: CuttingProxy) -> None:
        vehicle = Rig(
            folder, proxy.url, JumpingClock(), FixedLink(link),
            CellularLimits(bytes_per_day=10**9, bytes_per_month=10**9), spans=4,
        )  # fmt: skip
        try:
            await vehicle.receiver.enrol(None)
            await body(vehicle, proxy)
        finally:
            await vehicle.close()

    with cutting(cloud_url, budgets) as proxy:
        asyncio.run(go(proxy))


async def sent(proxy: CuttingProxy, count: int) -> None:
    """Return when the vehicle has sent so many bytes."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    proxy.call_after(count, lambda: loop.call_soon_threadsafe(told.set))
    await told.wait()


def assert_stored(cloud_url: str, clip_id: str, content: bytes) -> None:
    assert httpx.get(f"{cloud_url}/clips/{clip_id}.mcap").content == content


def test_spans_go_side_by_side_on_a_free_link(tmp_path: Path, cloud_url: str) -> None:
    content = clip_bytes(61, SIZE)

    async def body(vehicle: Rig, proxy: CuttingProxy) -> None:
        entry = add_clip(vehicle.spool, content, 61)
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        assert proxy.accepted == 4
        assert SIZE < proxy.sent_bytes < SIZE + 50_000
        assert_stored(cloud_url, entry.clip_id, content)

    run(tmp_path, cloud_url, body)


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_break_cost_the_part_in_hand(
    tmp_path: Path, cloud_url: str, seed: int
) -> None:
    """No whole part fits into the first six connections, so they are cut in whatever order the
    spans take them; the two after them end within a span's second part.
    """
    content = clip_bytes(70 + seed, SIZE)
    budgets = [(seed + 1) * 1_000_000 + 500_000 * number for number in range(6)]
    assert max(budgets) < PART_BYTES
    budgets += [PART_BYTES + 1_000_000 * (seed + number) for number in (1, 2)]

    async def body(vehicle: Rig, proxy: CuttingProxy) -> None:
        entry = add_clip(vehicle.spool, content, 70 + seed)
        report = await vehicle.uploader.drain(vehicle.clock.mono_ns() + HOUR_NS)
        assert report.uploaded == (entry.clip_id,)
        assert proxy.cuts >= 4
        assert proxy.sent_bytes < SIZE + proxy.cuts * PART_BYTES
        assert_stored(cloud_url, entry.clip_id, content)

    run(tmp_path, cloud_url, body, budgets)


def test_a_vehicle_that_was_switched_off_goes_on(tmp_path: Path, cloud_url: str) -> None:
    """The new process knows nothing of spans; of four and a half parts that had gone, one for each
    span at most is sent again.
    """
    content = clip_bytes(80, SIZE)

    async def body(vehicle: Rig, proxy: CuttingProxy) -> None:
        entry = add_clip(vehicle.spool, content, 80)
        drained = asyncio.ensure_future(vehicle.uploader.drain())
        await sent(proxy, 9 * PART_BYTES // 2)
        drained.cancel()
        await asyncio.gather(drained, return_exceptions=True)
        await vehicle.restart()
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        assert proxy.sent_bytes < SIZE + 4 * PART_BYTES + 50_000
        assert_stored(cloud_url, entry.clip_id, content)

    run(tmp_path, cloud_url, body)


def test_on_a_metered_link_they_go_one_after_another(tmp_path: Path, cloud_url: str) -> None:
    content = clip_bytes(81, SIZE)

    async def body(vehicle: Rig, proxy: CuttingProxy) -> None:
        entry = add_clip(vehicle.spool, content, 81)
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        assert proxy.accepted == 1
        spent = vehicle.ledger.cellular.spent().day_bytes
        assert SIZE < report.wire_bytes <= spent
        assert_stored(cloud_url, entry.clip_id, content)

    run(tmp_path, cloud_url, body, link=METERED)


def test_all_stop_when_the_link_turns_metered(tmp_path: Path, cloud_url: str) -> None:
    content = clip_bytes(82, SIZE)

    async def body(vehicle: Rig, proxy: CuttingProxy) -> None:
        entry = add_clip(vehicle.spool, content, 82, cellular="forbidden")
        drained = asyncio.ensure_future(vehicle.uploader.drain())
        await sent(proxy, PART_BYTES)
        vehicle.link.change(METERED)
        report = await drained
        assert report.uploaded == ()
        assert proxy.sent_bytes < SIZE
        vehicle.link.change(WIFI)
        report = await vehicle.uploader.drain()
        assert report.uploaded == (entry.clip_id,)
        assert_stored(cloud_url, entry.clip_id, content)

    run(tmp_path, cloud_url, body)
