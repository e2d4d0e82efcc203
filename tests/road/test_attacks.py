"""Attacks on a running agent, one after another, between it and a real service.

After each: what runs is what ran, the drive goes on, the reason stands in the vehicle's next
signed manifest, and once the attack has ended the next honest order is taken.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from contracts.check_in import CheckIn
from contracts.ota import ReleaseId
from edge_agent.ota.updater import REFRESH_EVERY
from tests.road.attacks import ATTACKS, OTHER, YEAR_NS, Attack, Scene, at_director
from tests.road.doctoring_proxy import (
    Answer,
    DoctoringProxy,
    Rule,
    doctoring,
    failing,
)
from tests.road.fleet_vehicle import fleet_vehicle
from tests.road.forgery import copied, director_of
from tests.road.updates_rig import (
    HastyClock,
    RunningAgent,
    agent_config,
    office,
    running_agent,
)

OTA = "/v1/ota/.*"


def reasons(manifest: CheckIn | None) -> str:
    if manifest is None:
        return ""
    told = [manifest.ota_note, *(held.reason for held in manifest.held)]
    told += [f"{one.slot} {one.stage}: {one.reason}" for one in manifest.rejected]
    return " | ".join(told)


async def told(scene: Scene, car: RunningAgent, words: Sequence[str]) -> None:
    """Wait until the service holds a manifest with these words that was written from now on."""
    # What is under way now may still speak of what came before.
    await car.checks_in(2)
    found = ""
    for _ in range(100):
        found = reasons(await asyncio.to_thread(scene.office.check_in))
        if all(word in found for word in words):
            return
        await car.checks_in(1)
    raise AssertionError(f"not told: {words}; but: {found}")


async def suffer(scene: Scene, car: RunningAgent, proxy: DoctoringProxy, attack: Attack) -> None:
    """One attack from its beginning to the honest order after it."""
    work, before = scene.office, car.running
    assert before
    proxy.script = [failing(OTA)]
    digest = await asyncio.to_thread(work.publish, scene.order.name)
    if attack.is_ordered:
        await asyncio.to_thread(work.roll_out, scene.order.name)
    proxy.script = await asyncio.to_thread(attack.rules, scene)
    car.clock.wall_shift_ns = attack.wall_shift_ns
    begun = car.agent.runtime.report()
    if attack.words:
        await told(scene, car, attack.words)
    if attack.words or not attack.is_ordered:
        await car.checks_in(1 if attack.words else REFRESH_EVERY + 2)
        await car.drives_on(since=begun)
        assert car.running == before
    proxy.script = []
    if attack.cure:
        await asyncio.to_thread(work.rotate, attack.cure)
    if not attack.is_ordered:
        await asyncio.to_thread(work.roll_out, scene.order.name)
    slot = scene.order.slot().text
    await car.runs(slot, digest)
    assert car.running == {**before, slot: digest}
    car.clock.wall_shift_ns = 0
    scene.before = scene.order


async def enrolled_other(scene: Scene, folder: Path) -> None:
    """A second vehicle, whose word has been changed more often than the first one's."""
    async with fleet_vehicle(folder, scene.office, OTHER) as other:
        await other.round()
    for _ in range(6):
        for order in (scene.office.fleet.kill, scene.office.fleet.unkill):
            await asyncio.to_thread(order, "nobody", "to change the word")
            await asyncio.to_thread(copied, scene.office, director_of(OTHER))


async def attacked(scene: Scene, folder: Path) -> None:
    await enrolled_other(scene, folder / OTHER)
    work = scene.office
    async with doctoring(work.url) as proxy:
        config = agent_config(folder, proxy.url, work.trust)
        async with running_agent(config) as car:
            first = await asyncio.to_thread(work.publish, scene.order.name)
            await car.checks_in(1)
            await asyncio.to_thread(work.roll_out, scene.order.name)
            await car.runs("trigger:order-00", first)
            scene.old = {"director": scene.director, "image": scene.image}
            for number, attack in enumerate(ATTACKS, start=1):
                scene.order = ReleaseId("trigger", f"order-{number:02}", 1)
                try:
                    await suffer(scene, car, proxy, attack)
                except AssertionError as error:
                    raise AssertionError(f"{attack.name}: {error}") from error
            held = car.running
            counters = car.report().counters
        assert counters.starts == 1
        await without_attested_time(scene, proxy, folder, held)


def silent(honest: Answer) -> Answer:
    """An answer to a check-in that attests no time."""
    return honest.with_body(json.dumps({**json.loads(honest.body), "time": None}).encode())


async def without_attested_time(
    scene: Scene, proxy: DoctoringProxy, folder: Path, held: dict[str, str]
) -> None:
    """The agent starts anew with a wrong clock, and nobody tells it the time."""
    work = scene.office
    no_time = Rule("/v1/check-ins", lambda _, honest: silent(honest))
    for shift_ns, words in (
        (9 * YEAR_NS, ("director: ", "expired", "attests no time")),
        (-YEAR_NS, ("director: ", "timestamp.json is expired", "attests no time")),
    ):
        clock = HastyClock()
        clock.wall_shift_ns = shift_ns
        name = f"order-{'late' if shift_ns > 0 else 'early'}"
        digest = await asyncio.to_thread(work.publish, name)
        await asyncio.to_thread(work.roll_out, name)
        frozen = scene.director.frozen(scene.key("director")) if shift_ns < 0 else {}
        proxy.script = [no_time, at_director(frozen)]
        config = agent_config(folder, proxy.url, work.trust)
        async with running_agent(config, clock) as car:
            assert car.running == held  # from the first sample on
            await told(scene, car, words)
            assert car.running == held
            await car.drives_on()
            proxy.script = []
            await car.runs(f"trigger:{name}", digest)
            held = car.running


def test_attacks_change_nothing_that_runs(cloud_folder: Path, tmp_path: Path) -> None:
    with office(cloud_folder, tmp_path) as work:
        asyncio.run(attacked(Scene(work), tmp_path))
