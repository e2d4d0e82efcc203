"""A spec over the whole road: shadow, hot swap, rollback, kill switch.

A real service, a real agent with its drive, real HTTP; what operators type is typed.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from client import CloudClient
from contracts.clock import NS_PER_S
from edge_agent.health.status import AgentReport
from kernels.clip.reader import read_manifest as read_clip_manifest
from tests.cloud_ingest.ota_support import write_spec
from tests.road.conftest import LONGTAIL
from tests.road.updates_rig import (
    Office,
    RunningAgent,
    agent_config,
    finished,
    office,
    running_agent,
)

SWAPPED = "trigger:swapped"
PRE_S = 4.0
SWAPPED_SPEC: dict[str, Any] = {
    "kind": "expression",
    "when": "ego.speed_mps > -1",
    "mode": "level",
    "cooldown": "3s",
    "capture": {"pre": f"{PRE_S:g}s", "post": "1s", "channels": ["/signals/*"]},
    "budget": {"clips_per_day": 1000, "bytes_per_day": "10GB"},
    "upload": {"cellular": "forbidden"},
}


def longtail(work: Office, *arguments: str) -> dict[str, Any]:
    """What an operator types; its answer as JSON. Blocks."""
    done = subprocess.run(
        [*LONGTAIL, *arguments, "--cloud", work.url, "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def typed(work: Office, *arguments: str) -> dict[str, Any]:
    return await asyncio.to_thread(longtail, work, *arguments)


def clips_of(report: AgentReport, trigger: str) -> set[str]:
    return {clip.clip_id for clip in report.clips if trigger in clip.trigger_ids}


# A spec that is swapped while the vehicle drives -----------------------------------------------


async def swapped_and_back(work: Office, folder: Path) -> None:
    link = folder / "link"
    link.write_text("cellular")  # clips wait, specs come
    key = str(work.keys / "offline" / "triggers-1.pem")
    versions = [
        write_spec(folder, "swapped", v, **SWAPPED_SPEC, description=f"{v}") for v in (1, 2)
    ]
    config = agent_config(
        folder, work.url, work.trust, link={"file": link},
        upload={"cellular_bytes_per_day": "1GB", "cellular_bytes_per_month": "1GB"},
    )  # fmt: skip
    first, second = [
        (await typed(work, "spec", "publish", str(version), "--key", key))["digest"]
        for version in versions
    ]
    async with running_agent(config) as car:
        await car.checks_in(1)
        shown = await typed(
            work, "rollout", "start", "--spec", "swapped@1", "--shadow", "--reason", "try it"
        )
        await car.runs(f"{SWAPPED}@shadow", first)

        def counted() -> bool:
            rows = car.report().lineup.shadow_triggers
            return [(row.trigger_id, row.digest) for row in rows if row.fires] == [
                ("swapped", first)
            ]

        await car.until(counted, "fires in shadow")
        await finished(work, shown["rollout_id"])
        assert clips_of(car.report(), "swapped") == set()

        # Promoted: it works, and its first clip reaches back to before it came.
        await car.until(lambda: car.report().drive_s > 2 * PRE_S, "enough to reach back to")
        before_s = await swap(
            work, car, first, "spec", "promote", "swapped@1", "--soak", "0s",
            "--soak-driving", "0s", "--stages", "100", "--no-guardrails", "--reason", "works",
        )  # fmt: skip
        await car.until(lambda: bool(clips_of(car.report(), "swapped")), "a clip of it")
        await check_pre_roll(car, folder, before_s)
        waiting = clips_of(car.report(), "swapped")
        assert {clip.state for clip in car.report().clips if clip.clip_id in waiting} == {"queued"}

        # The next version, and back: old bytes under a higher counter.
        await swap(
            work, car, second, "spec", "promote", "swapped", "--without-shadow", "--soak", "0s",
            "--soak-driving", "0s", "--stages", "100", "--no-guardrails", "--reason", "better",
        )  # fmt: skip
        counter = taken_up(car)
        await swap(work, car, first, "spec", "rollback", "swapped", "--reason", "was not")
        assert taken_up(car) > counter

        # The kill switch, for a spec that is built in.
        await killed_and_back(work, car)

        manifest = await asyncio.to_thread(work.check_in)
        assert manifest is not None
        assert manifest.counters.starts == 1
        assert manifest.counters.unclean_starts == 0
        assert manifest.boot_id == "sim-7-900s-nocamera-nolidar"
        assert (os.getpid(), car.done.done()) == (PID, False)

        # What waited all along goes out on a free link, each clip once.
        assert waiting <= clips_of(car.report(), "swapped")
        link.write_text("wifi")
        sent = clips_of(car.report(), "swapped")

        def is_sent() -> bool:
            clips = car.report().clips
            return {clip.state for clip in clips if clip.clip_id in sent} == {"uploaded"}

        await car.until(is_sent, "clips that waited being sent")
    rows = await asyncio.to_thread(lambda: list(CloudClient(work.url).search()))
    assert sent <= {row.clip_id for row in rows}
    assert len({row.event_key for row in rows}) == len(rows)


PID = os.getpid()


def taken_up(car: RunningAgent) -> int:
    ota = car.report().ota
    return ota.assignment_counter if ota is not None else 0


async def swap(work: Office, car: RunningAgent, digest: str, *words: str) -> float:
    """Give an order, and wait until it has come true and the rollout is over.

    Returns how far the drive was when it had not come true yet.
    """
    order = asyncio.create_task(typed(work, *words))
    before_s = 0.0

    def has_come() -> bool:
        nonlocal before_s
        drive_s = car.report().drive_s
        if car.running.get(SWAPPED) == digest:
            return True
        before_s = drive_s
        return False

    await car.until(has_come, " ".join(words))
    await finished(work, (await order)["rollout_id"])
    assert car.running[SWAPPED] == digest
    assert f"{SWAPPED}@shadow" not in car.running
    return before_s


async def check_pre_roll(car: RunningAgent, folder: Path, before_s: float) -> None:
    """The first clip begins a whole pre-roll before its cause, and so before the swap."""
    clip_id = min(
        clips_of(car.report(), "swapped"),
        key=lambda found: read_clip_manifest(clip_path(folder, found)).requested.start_mono_ns,
    )
    manifest = read_clip_manifest(clip_path(folder, clip_id))
    cause = next(cause for cause in manifest.causes if cause.trigger_id == "swapped")
    swap_ns = 100 * NS_PER_S + int(before_s * NS_PER_S)
    assert cause.fired_mono_ns >= swap_ns
    assert manifest.requested.start_mono_ns <= cause.start_mono_ns - PRE_S * NS_PER_S
    assert manifest.actual.start_mono_ns - manifest.requested.start_mono_ns < NS_PER_S // 25
    assert manifest.actual.start_mono_ns < swap_ns


def clip_path(folder: Path, clip_id: str) -> Path:
    return folder / "state" / "spool" / "clips" / f"{clip_id}.mcap"


async def killed_and_back(work: Office, car: RunningAgent) -> None:
    def state() -> set[str]:
        return {row.state for row in car.report().lineup.triggers if row.trigger_id == "often"}

    told = await typed(work, "spec", "kill", "often", "--reason", "too often")
    assert told["killed"]
    await car.until(lambda: state() == {"killed"}, "the kill")
    fired = car.report().triggers["often"].fired
    drive_s = car.report().drive_s
    await car.until(lambda: car.report().drive_s > drive_s + 3, "three seconds more")
    assert car.report().triggers["often"].fired == fired
    await asyncio.to_thread(work.fleet.unkill, "often", "it is good")
    await car.until(lambda: state() == {"active"}, "the end of the kill")
    await car.until(lambda: car.report().triggers["often"].fired > fired, "a fire again")


def test_a_spec_is_swapped_while_the_vehicle_drives(cloud_folder: Path, tmp_path: Path) -> None:
    with office(cloud_folder, tmp_path) as work:
        asyncio.run(swapped_and_back(work, tmp_path))
