"""The updater's check-ins: their pace, what a refused one stops, how soon a kill acts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S, VirtualClock
from edge_agent.ota.updater import LONGEST_POLL_NS, SHORTEST_POLL_NS
from edge_agent.ports import Link
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    network,
    ota_rig,
    play,
    trigger,
)


def test_nothing_changed_costs_no_image_traffic(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("brake"))
        await rig.round()
        rig.cloud.fetched.clear()
        for _ in range(9):
            await rig.round()
        assert rig.cloud.fetched == []
        await rig.round()
        assert rig.cloud.fetched == ["director/2.root.json", "director/timestamp.json"]

    play(tmp_path, scene)


@pytest.mark.parametrize("status", [401, 403, 404, 409, 413, 429, 500, 503])
def test_a_refused_check_in_stops_nothing(tmp_path: Path, status: int) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("brake"))
        await rig.round()
        rig.cloud.check_in_status = [status] * 3
        wait_ns = await rig.updater.poll_once()
        assert f"HTTP {status}" in rig.note
        assert 0 < wait_ns <= 12 * NS_PER_S
        assert rig.running
        rig.cloud.check_in_status = []
        await rig.updater.poll_once()
        assert rig.note == ""
        numbers = [one.sequence for one in rig.cloud.check_ins]
        assert numbers == sorted(set(numbers))

    play(tmp_path, scene)


def test_an_expired_token_is_renewed(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await rig.round()
        rig.cloud.revoke_tokens()
        rig.give(trigger("brake"))
        await rig.round()
        assert rig.running
        assert rig.note == ""

    play(tmp_path, scene)


def test_a_revoked_vehicle_goes_on_driving_and_asks_ever_more_rarely(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("brake"))
        await rig.round()
        rig.cloud.check_in_status = [403] * 50
        waits = [await rig.updater.poll_once() for _ in range(14)]
        assert rig.running
        assert waits[-1] > 10 * waits[0]
        assert max(waits) <= 1.2 * 3600 * NS_PER_S

    play(tmp_path, scene)


def test_the_last_counters_arrive_at_once(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        assert await rig.updater.check_in_now()
        rig.link.change(Link("none"))
        assert not await rig.updater.check_in_now()
        assert len(rig.cloud.check_ins) == 1

    play(tmp_path, scene)


def test_the_service_sets_the_pace_within_bounds(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        for poll_s, wanted_ns in ((1, SHORTEST_POLL_NS), (20, 20 * NS_PER_S),
                                  (80_000, LONGEST_POLL_NS)):  # fmt: skip
            rig.cloud.poll_s = poll_s
            wait_ns = await rig.updater.poll_once()
            assert rig.updater.poll_interval_ns == wanted_ns
            assert 0.8 * wanted_ns <= wait_ns <= 1.2 * wanted_ns == rig.updater.latency_bound_ns

    play(tmp_path, scene)


def test_a_kill_acts_within_the_bound_while_a_model_is_fetched(tmp_path: Path) -> None:
    """The task itself, on a clock that only the test moves."""

    async def go() -> None:
        async with ota_rig(tmp_path, start=False) as rig:
            clock = VirtualClock(rig.clock.mono_ns(), rig.clock.utc_ns())
            rig.clock = rig.cloud.clock = clock
            stop = asyncio.Event()

            async def until(done: Callable[[], bool]) -> None:
                """Let time pass, a second at a turn, with turns of the loop for the network."""
                for _ in range(5000):
                    if done():
                        return
                    await clock.advance_ns(NS_PER_S)
                    for _ in range(50):
                        await asyncio.sleep(0)
                pytest.fail(f"it did not come about: {rig.note}")

            await rig.start()
            running = asyncio.create_task(rig.updater.run(stop))
            rig.give(trigger("brake"))
            await until(lambda: "trigger:brake" in rig.running)
            # A model whose download hangs does not hold up the check-ins.
            order = network()
            rig.cloud.stalled.add(f"models/tiny/1/{digest_of(order)}.manifest.yaml")
            rig.transport_limits = replace(rig.transport_limits, answer_s=0.2)
            rig.give(trigger("brake"), order, killed=("brake",))
            ordered_ns, seen = clock.mono_ns(), len(rig.cloud.check_ins)
            await until(lambda: "trigger:brake" not in rig.running)
            # The first check-in after the order brought it, within the bound and a step of ours.
            (first,) = rig.cloud.check_ins[seen:]
            assert first.mono_ns - ordered_ns <= rig.updater.latency_bound_ns + NS_PER_S
            stop.set()
            await running
            await rig.close()

    asyncio.run(go())
