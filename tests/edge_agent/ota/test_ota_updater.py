"""The updater end to end: what is ordered runs, soaks, is kept, taken back or refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.ota import Slot
from edge_agent.ota.ports import SlotFault
from edge_agent.ota.status import NoUpdater
from edge_agent.ota.step import MOST_STARTS
from edge_agent.perception.sessions import open_session
from edge_agent.ports import Link, Session
from tests.edge_agent.failing_disk import FailingDisk
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    network,
    ota_rig,
    play,
    trigger,
)


def phases(rig: OtaRig) -> dict[str, str]:
    return {held.slot: held.state for held in rig.updater.status().held}


def test_ordered_releases_run_soak_and_are_kept(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        spec, model, candidate = trigger("brake"), network(), network(2, shadow=True)
        rig.give(spec, model, candidate)
        await rig.round()
        assert rig.running == {one.slot: digest_of(one) for one in (spec, model, candidate)}
        assert rig.note == ""
        assert phases(rig) == {
            "trigger:brake": "soaking", "model": "soaking", "model@shadow": "committed"
        }  # fmt: skip
        await rig.drive(11)
        assert phases(rig)["trigger:brake"] == "committed"
        assert phases(rig)["model"] == "soaking"
        await rig.drive(20)
        assert set(phases(rig).values()) == {"committed"}
        await rig.updater.poll_once()
        told = rig.cloud.check_ins[-1]
        assert told.assignment_counter == rig.cloud.director.counter
        assert told.running_digest("model") == digest_of(model)
        assert told.running_digest("model@shadow") == digest_of(candidate)
        assert told.labels == {"site": "test"}
        assert [one.sequence for one in rig.cloud.check_ins] == [1, 2]

    play(tmp_path, scene)


def test_what_is_held_runs_at_the_next_start_without_a_network(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        orders = trigger("brake"), network(), trigger("jerk", shadow=True)
        rig.give(*orders, killed=("swerve",))
        await rig.round()
        asked = len(rig.cloud.requests)
        rig.link.change(Link("none"))
        await rig.close()
        rig.open()
        await rig.updater.start()
        assert rig.running == {one.slot: digest_of(one) for one in orders}
        assert rig.runtime.running.killed == {"swerve"}
        await rig.updater.poll_once()
        assert len(rig.cloud.requests) == asked
        assert "no_link" in rig.note

    play(tmp_path, scene)


def test_a_model_waits_for_the_safe_state(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.runtime.safe = False
        rig.give(trigger("brake"), network())
        await rig.round()
        await rig.drive(60)
        assert phases(rig) == {"trigger:brake": "committed", "model": "waiting"}
        held = {one.slot: one for one in rig.updater.status().held}
        assert held["model"].reason == "the vehicle moves"
        rig.runtime.safe = True
        await rig.drive(60)
        assert phases(rig)["model"] == "soaking"
        await rig.drive(31)
        assert phases(rig)["model"] == "committed"

    play(tmp_path, scene)


def test_a_fault_takes_the_release_back_and_it_stays_back(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        old, new = network(), network(2)
        rig.give(old)
        await rig.round()
        await rig.drive(31)
        rig.give(new)
        await rig.round()
        assert rig.running == {"model": digest_of(new)}
        rig.runtime.faults.append(SlotFault(Slot("model"), digest_of(new), "soak", "not finite"))
        await rig.updater.watch_once()
        assert rig.running == {"model": digest_of(old)}
        assert phases(rig) == {"model": "committed"}
        await rig.round()
        told = rig.cloud.check_ins[-1].rejected
        assert [(one.slot, one.digest, one.attempt, one.stage, one.reason) for one in told] == [
            ("model", digest_of(new), 1, "soak", "not finite")
        ]
        # Neither a restart nor an unrelated change brings it back; a higher attempt does.
        await rig.restart()
        rig.give(new, trigger("brake"))
        await rig.round()
        assert rig.running["model"] == digest_of(old)
        rig.give(replace(new, attempt=2))
        await rig.round()
        assert rig.running == {"model": digest_of(new)}

    play(tmp_path, scene)


def test_a_crash_loop_while_soaking_ends_with_the_old_release(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        old, new = trigger("brake"), trigger("brake", 2)
        rig.give(old)
        await rig.round()
        await rig.drive(11)
        rig.give(new)
        await rig.round()
        for _ in range(MOST_STARTS):
            await rig.restart()
            assert rig.running == {"trigger:brake": digest_of(new)}
        await rig.restart()
        assert rig.running == {"trigger:brake": digest_of(old)}
        (entry,) = rig.updater.status().rejected
        assert (entry.stage, entry.digest) == ("soak", digest_of(new))

    play(tmp_path, scene)


def test_orderly_restarts_go_on_soaking(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("brake"))
        await rig.round()
        for _ in range(9):
            await rig.updater.watch_once()
            await rig.drive(1)
            rig.updater.end()
            await rig.restart()
            assert phases(rig) == {"trigger:brake": "soaking"}
        await rig.updater.watch_once()
        await rig.drive(1)
        assert phases(rig) == {"trigger:brake": "committed"}

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (network(2, self_test={"probes": [{"index": [0, 1, 4], "value": 7, "tolerance": 0.1}]}),
         "the self-test failed"),
        (network(2, classes=["dog"]), "has shape"),
        (replace(network(2), contents=(b"name: [", network(2).contents[1])), "not valid YAML"),
    ],
)  # fmt: skip
def test_an_unfit_model_is_refused_beside_the_running_one(
    tmp_path: Path, order: object, word: str
) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(network())
        await rig.round()
        offers = len(rig.runtime.offers)
        rig.give(order)  # type: ignore[arg-type]
        await rig.round()
        await rig.round()
        assert rig.running == {"model": digest_of(network())}
        assert len(rig.runtime.offers) == offers
        (entry,) = rig.cloud.check_ins[-1].rejected
        assert word in entry.reason
        # It is not fetched again, and its files are gone.
        sent = rig.cloud.target_bytes
        await rig.restart()
        await rig.round()
        assert rig.cloud.target_bytes == sent
        held = {path.name for path in (rig.state_folder / "files").iterdir()}
        assert digest_of(order) not in held  # type: ignore[arg-type]

    play(tmp_path, scene)


def test_released_models_are_opened_as_the_vehicle_wants(tmp_path: Path) -> None:
    opened: list[str] = []

    def opener(content: bytes, place: str) -> Session:
        opened.append(place)
        return open_session(content, place, threads=2)

    async def scene(rig: OtaRig) -> None:
        order = network()
        place = order.release.model_path
        rig.opener = opener
        await rig.restart()
        rig.give(order)
        await rig.round()
        assert (rig.running, opened) == ({"model": digest_of(order)}, [place])
        await rig.restart()
        assert (rig.running, opened) == ({"model": digest_of(order)}, [place, place])

    play(tmp_path, scene)


def test_what_is_published_late_is_taken_up_late(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        order = trigger("brake")
        rig.cloud.director.order(order)
        await rig.round()
        assert rig.running == {}
        assert rig.updater.status().rejected
        rig.cloud.image.publish(order.release, *order.contents)
        for _ in range(10):
            await rig.round()
        assert rig.running == {"trigger:brake": digest_of(order)}
        assert rig.updater.status().rejected == ()

    play(tmp_path, scene)


def test_removal_and_rollback(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        old, new = trigger("brake"), trigger("brake", 2)
        for order in (old, new, old):
            rig.give(order)
            await rig.round()
            await rig.drive(11)
            assert rig.running == {"trigger:brake": digest_of(order)}
        # The old bytes were still here: two files were fetched for three orders.
        assert rig.cloud.target_bytes == len(old.contents[0]) + len(new.contents[0])
        rig.give()
        await rig.round()
        assert rig.running == {}
        assert list((rig.state_folder / "files").iterdir()) == []

    play(tmp_path, scene)


def test_soak_progress_is_written_rarely(tmp_path: Path) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            disk = FailingDisk()
            rig.disk = disk
            await rig.start()
            rig.give(network())
            await rig.round()
            before = disk.steps
            for _ in range(120):
                await rig.drive(1 / 60)
            # Two minutes at a second each: every 30 s a write of four steps.
            assert 0 < disk.steps - before <= 5 * 4
            await rig.close()

    asyncio.run(go())


def test_without_trust_it_checks_in_and_takes_nothing_up(tmp_path: Path) -> None:
    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            trusted = rig.config.trust
            await rig.start()
            rig.give(trigger("brake"))
            await rig.round()
            assert "trigger:brake" in rig.running
            await rig.close()
            for trust, why in ((None, "ota.trust"), (tmp_path / "nowhere", "no trust anchor")):
                rig.config = rig.config.model_copy(update={"trust": trust})
                await rig.start()
                told = len(rig.cloud.check_ins)
                await rig.round()
                assert len(rig.cloud.check_ins) > told
                assert why in rig.cloud.check_ins[-1].ota_note
                assert not rig.updater.status().enabled
                assert rig.cloud.check_ins[-1].held == ()
                assert rig.running == {}
                await rig.close()
            # What was taken up before waits for its trust.
            rig.config = rig.config.model_copy(update={"trust": trusted})
            await rig.start()
            assert "trigger:brake" in rig.running
            await rig.close()

    asyncio.run(go())


def test_without_a_cloud_there_is_no_updater_and_it_says_so(tmp_path: Path) -> None:
    async def go() -> None:
        made = NoUpdater("no updates: there is no cloud")
        stop = asyncio.Event()
        stop.set()
        await made.run(stop)
        assert made.is_in_contact
        assert not await made.check_in_now()
        assert "no cloud" in made.status().note
        await made.close()

    asyncio.run(go())
