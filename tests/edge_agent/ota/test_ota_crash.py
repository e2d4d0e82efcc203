"""Power cuts and kills: whatever was being written, the next start runs one whole release."""

from __future__ import annotations

import asyncio
import errno
import shutil
from pathlib import Path

import pytest

from contracts.errors import CorruptError, LongtailError
from contracts.ids import sha256_hex
from contracts.ota import Slot
from edge_agent.disk import RealDisk
from edge_agent.ota.files import FileStore
from edge_agent.ota.ports import SlotFault
from edge_agent.ota.state import HeldFile, read_state
from edge_agent.ports import Link
from tests.edge_agent.failing_disk import CrashError, FailingDisk
from tests.edge_agent.ota_rig import OtaRig, digest_of, network, ota_rig, trigger
from tests.edge_agent.upload_rig import WIFI

OLD = (trigger("brake"), network())
NEW = (trigger("brake", 2, 4.0), network(2), trigger("jerk"))


async def prepare(rig: OtaRig) -> None:
    """A vehicle that keeps the old releases, stopped in order."""
    rig.give(*OLD)
    await rig.round()
    await rig.drive(0)
    await rig.drive(31)
    assert {held.state for held in rig.updater.status().held} == {"committed"}
    rig.updater.end()
    await rig.close()
    rig.give(*NEW)


async def update(rig: OtaRig) -> None:
    """New releases come, soak; one of them turns out to be at fault and is taken back."""
    await rig.start()
    await rig.round()
    await rig.drive(0)
    await rig.drive(11)
    rig.runtime.faults.append(SlotFault(Slot("model"), digest_of(NEW[1]), "soak", "it failed"))
    await rig.updater.watch_once()
    await rig.updater.stage_once()
    rig.updater.end()


async def crash_at(rig: OtaRig, stop_at: int | None, forget: bool) -> int:
    """Run the update up to the disk's step `stop_at`; the steps taken."""
    disk = FailingDisk(stop_at=stop_at, forget=forget)
    rig.disk = disk
    try:
        await update(rig)
    except CrashError:
        pass
    finally:
        await rig.close()
    return disk.steps


async def check(rig: OtaRig) -> None:
    """Without a network one whole line-up runs; with one the vehicle gets to the end."""
    for path in (rig.state_folder / "files").iterdir():
        assert sha256_hex(path.read_bytes()) == path.name, "a name is there for whole content only"
    rig.disk = RealDisk()
    rig.link.change(Link("none"))
    await rig.start()
    assert rig.updater.status().note == ""
    running = rig.running
    assert running["trigger:brake"] in (digest_of(OLD[0]), digest_of(NEW[0]))
    assert running["model"] in (digest_of(OLD[1]), digest_of(NEW[1]))
    assert set(running) <= {"trigger:brake", "model", "trigger:jerk"}
    rig.link.change(WIFI)
    for _ in range(2):
        await rig.round()
    assert rig.running["trigger:brake"] == digest_of(NEW[0])
    assert rig.running["trigger:jerk"] == digest_of(NEW[2])
    rejected = {one.digest for one in rig.updater.status().rejected}
    # Once taken back, it stays taken back.
    wanted = OLD[1] if digest_of(NEW[1]) in rejected else NEW[1]
    assert rig.running["model"] == digest_of(wanted)
    await rig.close()


@pytest.mark.parametrize("forget", [False, True])
def test_every_crash_point_leaves_one_whole_release(tmp_path: Path, forget: bool) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            await rig.start()
            await prepare(rig)
            base = rig.folder

            async def copied(name: str) -> OtaRig:
                folder = tmp_path / name
                shutil.copytree(base, folder, symlinks=True)
                rig.folder = folder
                rig.cloud.check_ins.clear()
                return rig

            steps = await crash_at(await copied("whole"), None, forget)
            assert 40 < steps < 150
            for stop_at in range(steps):
                name = f"{stop_at}"
                assert await crash_at(await copied(name), stop_at, forget) == stop_at
                await check(rig)
                shutil.rmtree(tmp_path / name)

    asyncio.run(go())


async def fail_at(rig: OtaRig, step: int, code: int) -> None:
    """The update with one failure of the disk; a process that ends is started again."""
    rig.disk = FailingDisk(fail_at=step, fail_errno=code)
    try:
        await update(rig)
    except LongtailError:
        assert rig.disk.failed
    finally:
        await rig.close()


@pytest.mark.parametrize(
    ("code", "stride"),
    [
        pytest.param(errno.ENOSPC, 9),
        pytest.param(errno.EIO, 9),
        pytest.param(errno.ENOSPC, 1, marks=pytest.mark.soak),
        pytest.param(errno.EIO, 1, marks=pytest.mark.soak),
    ],
)
def test_one_failure_of_the_disk_in_an_update_is_got_over(
    tmp_path: Path, code: int, stride: int
) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            await rig.start()
            await prepare(rig)
            base = rig.folder
            steps = 100
            for step in range(0, steps, stride):
                rig.folder = tmp_path / f"{step}"
                shutil.copytree(base, rig.folder, symlinks=True)
                rig.cloud.check_ins.clear()
                await fail_at(rig, step, code)
                await check(rig)
                shutil.rmtree(rig.folder)

    asyncio.run(go())


@pytest.mark.parametrize("content", [b"", b'{"signed": {"_type"', None])
def test_damaged_caches_are_fetched_again_and_revive_nothing(
    tmp_path: Path, content: bytes | None
) -> None:
    """What a power cut may do to python-tuf's own files, which it does not sync."""

    async def go() -> None:
        async with ota_rig(tmp_path) as rig:
            rig.give(trigger("brake"))
            await rig.round()
            old = rig.cloud.remember()
            rig.give(trigger("brake", 2))
            await rig.round()
            await rig.close()
            for name in ("image", "director"):
                for path in (rig.state_folder / name).rglob("*.json"):
                    if content is None:
                        path.unlink()
                    elif not path.is_symlink():
                        path.write_bytes(content)
            await rig.start()
            before = rig.running
            rig.cloud.replaced = old
            rig.cloud.announced = 10**6
            await rig.round()
            assert rig.running == before
            assert "seen before" in rig.note
            rig.cloud.replaced = None
            rig.give(trigger("brake", 3))
            await rig.round()
            assert rig.running == {"trigger:brake": digest_of(trigger("brake", 3))}

    asyncio.run(go())


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"sha256": "0", "state": []}', b"\xff\xfe"])
def test_a_damaged_state_is_set_aside_and_built_in_parts_run(tmp_path: Path, damage: bytes) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path) as rig:
            rig.give(trigger("brake"))
            await rig.round()
            await rig.close()
            path = rig.state_folder / "state.json"
            path.write_bytes(damage)
            await rig.start()
            assert rig.running == {}
            assert "set aside" in rig.note
            assert (rig.state_folder / "state.json.damaged").read_bytes() == damage
            await rig.round()
            assert rig.running == {"trigger:brake": digest_of(trigger("brake"))}

    asyncio.run(go())


def test_a_changed_byte_in_the_state_is_noticed(tmp_path: Path) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path) as rig:
            rig.give(trigger("brake"), killed=("jerk",))
            await rig.round()
            path = rig.state_folder / "state.json"
            content = path.read_bytes()
            assert read_state(path).killed == ("jerk",)
            await rig.close()
            path.write_bytes(content.replace(b'"jerk"', b'"jerx"'))
            await rig.start()
            assert "set aside" in rig.note

    asyncio.run(go())


@pytest.mark.parametrize("what", ["rotten", "gone", "short"])
def test_a_damaged_file_gives_way_and_is_fetched_again(tmp_path: Path, what: str) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path) as rig:
            rig.give(trigger("brake"), network())
            await rig.round()
            await rig.drive(0)
            await rig.drive(31)
            rig.give(trigger("brake", 2), network())
            await rig.round()
            await rig.close()
            path = rig.state_folder / "files" / digest_of(trigger("brake", 2))
            content = path.read_bytes()
            if what == "gone":
                path.unlink()
            else:
                path.write_bytes(content[:-1] if what == "short" else b"#" + content[1:])
            rig.link.change(Link("none"))
            await rig.start()
            assert rig.running["trigger:brake"] == digest_of(trigger("brake"))
            assert rig.running["model"] == digest_of(network())
            assert rig.updater.status().rejected == ()
            rig.link.change(WIFI)
            await rig.round()
            assert rig.running["trigger:brake"] == digest_of(trigger("brake", 2))

    asyncio.run(go())


def test_a_full_disk_stops_no_kill_and_brings_nothing_new(tmp_path: Path) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            disk = FailingDisk()
            rig.disk = disk
            await rig.start()
            rig.give(trigger("brake"))
            await rig.round()
            disk.full_at = disk.steps
            rig.give(trigger("brake", 2), killed=("jerk",))
            await rig.round()
            assert rig.running == {"trigger:brake": digest_of(trigger("brake"))}
            assert rig.runtime.running.killed == {"jerk"}
            assert "cannot be kept" in rig.note
            rig.runtime.faults.append(
                SlotFault(Slot("trigger", "brake"), digest_of(trigger("brake")), "soak", "bad")
            )
            await rig.updater.watch_once()
            assert rig.running == {}
            disk.full_at = None
            await rig.round()
            assert rig.running == {"trigger:brake": digest_of(trigger("brake", 2))}
            assert "cannot be kept" not in rig.note
            kept = read_state(rig.state_folder / "state.json")
            assert kept.killed == ("jerk",)
            assert kept.rejected[0].reason == "bad"
            await rig.close()

    asyncio.run(go())


def test_only_what_was_signed_is_adopted(tmp_path: Path) -> None:
    store = FileStore(tmp_path, RealDisk())
    file = HeldFile(path="triggers/a/1/spec.yaml", sha256=sha256_hex(b"right"), size_bytes=5)
    store.partial_path(file).write_bytes(b"wrong")
    with pytest.raises(CorruptError):
        store.adopt(file)
    assert not store.has(file)
    assert not store.partial_path(file).exists()
    store.partial_path(file).write_bytes(b"right")
    store.adopt(file)
    assert store.read(file) == b"right"
    assert store.collect([]) == 1
    with pytest.raises(CorruptError):
        store.read(file)


def test_no_room_for_a_file_is_told(tmp_path: Path) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            disk = FailingDisk()
            disk.free = 1000
            rig.disk, rig.floor_free_bytes = disk, 950
            await rig.start()
            rig.give(trigger("brake"))
            await rig.round()
            assert rig.running == {}
            assert "no room" in rig.note
            disk.free = 10**9
            await rig.round()
            assert rig.running
            await rig.close()

    asyncio.run(go())
