"""Signal logs come home on free links, once, whole; operators find them and try specs on them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from cli.spec_trial import fetched_logs
from client import CloudClient
from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.ids import digest_file
from edge_agent.ports import Link
from kernels.backtest.drives import logged_drives
from kernels.backtest.replay import replay
from kernels.signal_log import encode_chunk, encode_end, encode_header
from tests.cloud_ingest.cutting_proxy import cutting
from tests.cloud_ingest.support import RunningServer, Vehicle
from tests.edge_agent.upload_rig import WIFI, Rig, rig
from tests.kernels.test_backtest import BRAKES, braking, header


def write_log(folder: Path, name: str, vehicle_id: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    head = header(vehicle_id=vehicle_id, boot_id=name, drive_id=name, utc_minus_mono_ns=10**18)
    path = folder / f"{name}.ltsl"
    path.write_bytes(encode_header(head) + encode_chunk(braking(0, 1000, (3,))) + encode_end(1000))
    return path


async def with_rig(folder: Path, url: str, link: Link = WIFI) -> Rig:
    vehicle = rig(folder, url, link)
    vehicle.other_origins = (url,)
    await vehicle.receiver.enrol(None)
    vehicle.uploader.send_logs_of(folder / "signals", lambda: folder / "signals" / "open.ltsl")
    return vehicle


async def drain(vehicle: Rig) -> None:
    await vehicle.uploader.drain(vehicle.clock.mono_ns() + 3600 * NS_PER_S)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ltsl"))


def test_whole_logs_come_home_once_and_a_backtest_runs_on_them(
    cloud: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = tmp_path / "signals"

    async def go(url: str) -> None:
        vehicle = await with_rig(tmp_path, url)
        vehicle_id = vehicle.key.vehicle_id
        for name in ("first", "second", "open"):
            write_log(signals, name, vehicle_id)
        await drain(vehicle)
        assert names(signals) == ["first.sent.ltsl", "open.ltsl", "second.sent.ltsl"]
        # A kill between answer and mark: the log goes again, and the cloud knows it.
        (signals / "first.sent.ltsl").rename(signals / "first.ltsl")
        await drain(vehicle)
        await vehicle.close()

    with cutting(cloud.url, [3000]) as proxy:  # the first transfer breaks and begins again
        asyncio.run(go(proxy.url))
    client = CloudClient(cloud.url)
    rows = list(client.signal_logs())
    assert sorted(row.drive_id for row in rows) == ["first", "second"]
    assert list(client.signal_logs(vehicle_id="other")) == []
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    drives = replay([BRAKES], logged_drives(fetched_logs(client, None, "100000d")))
    assert [fire.cause.trigger_id for drive in drives for fire in drive.fires] == ["brakes"] * 2
    with pytest.raises(InputError, match="no signal logs"):
        fetched_logs(client, None, "1s")


@pytest.mark.parametrize("link", [Link("cellular", True), Link("wifi", True), Link("none")])
def test_a_metered_link_carries_none(cloud: RunningServer, tmp_path: Path, link: Link) -> None:
    async def go() -> None:
        vehicle = await with_rig(tmp_path, cloud.url, link)
        write_log(tmp_path / "signals", "a", vehicle.key.vehicle_id)
        await drain(vehicle)
        await vehicle.close()

    asyncio.run(go())
    assert names(tmp_path / "signals") == ["a.ltsl"]
    assert list(CloudClient(cloud.url).signal_logs()) == []


def test_what_is_not_the_vehicle_s_log_is_refused(
    cloud: RunningServer, http: httpx.Client, tmp_path: Path
) -> None:
    vehicle = Vehicle(http)
    vehicle.enrol()
    vehicle.authenticate()
    mine, other = write_log(tmp_path, "mine", "car-1"), write_log(tmp_path, "other", "car-2")
    junk = tmp_path / "junk.ltsl"
    junk.write_bytes(b"no log at all")

    def put(path: Path, log_id: str | None = None, **headers: str) -> int:
        url = f"/v1/signal-logs/{log_id or digest_file(path).clip_id()}"
        return http.put(
            url, content=path.read_bytes(), headers=vehicle.bearer | headers
        ).status_code

    assert put(other) == 403
    assert put(junk) in (400, 460)
    assert put(mine, "0" * 64) == 460
    assert put(mine, Authorization="Bearer nobody") == 401
    assert list(CloudClient(cloud.url).signal_logs()) == []
    assert put(mine) == 200
    assert put(mine) == 200
    assert len(list(CloudClient(cloud.url).signal_logs())) == 1


def test_a_refused_log_is_kept_and_not_asked_again(cloud: RunningServer, tmp_path: Path) -> None:
    async def go() -> None:
        vehicle = await with_rig(tmp_path, cloud.url)
        write_log(tmp_path / "signals", "a", "somebody-else")
        await drain(vehicle)
        await vehicle.close()

    asyncio.run(go())
    assert names(tmp_path / "signals") == ["a.refused.ltsl"]
