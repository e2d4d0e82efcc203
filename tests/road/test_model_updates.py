"""A model over the whole road: shadow, the wait for a safe state, refusal, a halted rollout."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from edge_agent.perception.manifests import DEMO_MODEL, manifest_beside, read_manifest
from tests.road.doctoring_proxy import doctoring
from tests.road.fleet_vehicle import FleetVehicle, fleet_vehicles
from tests.road.updates_rig import (
    Office,
    RunningAgent,
    agent_config,
    finished,
    office,
    running_agent,
)

MODEL = "demo_detector"


def waits(car: RunningAgent) -> str:
    return car.report().lineup.waiting_for


async def model_released(work: Office, folder: Path) -> None:
    changed = read_manifest(manifest_beside(DEMO_MODEL)).calibration.model_dump(mode="json")
    changed["bias"] -= 1.0
    good = await asyncio.to_thread(work.publish_model, 2, calibration=changed)
    probe = {"index": [0, 0, 0], "value": 99.0, "tolerance": 0.01}
    bad = await asyncio.to_thread(work.publish_model, 3, self_test={"probes": [probe]})
    async with doctoring(work.url) as proxy:
        config = agent_config(
            folder, proxy.url, work.trust, source="sim:seed=7,duration_s=300,lidar=0",
            model=DEMO_MODEL, pace=4,
        )  # fmt: skip
        async with running_agent(config) as car:
            built_in = car.running["model"]
            await car.checks_in(1)
            shadow = await asyncio.to_thread(lambda: work.roll_out(MODEL, 2, "model", shadow=True))
            await car.runs("model@shadow", good)
            await car.until(lambda: disagreements(car) > 0, "a disagreement")
            await finished(work, shadow.rollout_id)
            await car.checks_in(1)
            told = await asyncio.to_thread(work.check_in)
            assert told is not None
            assert told.shadow_model is not None
            assert (told.shadow_model.digest, told.shadow_model.active_digest) == (good, built_in)
            assert told.shadow_model.frames > 0
            assert car.running["model"] == built_in

            await car.until(
                lambda: not any(is_standing(car.report().drive_s + ahead) for ahead in range(12)),
                "a time when the vehicle moves on for a while",
            )
            rollout = await asyncio.to_thread(work.roll_out, MODEL, 2, "model")
            await car.until(lambda: "moves at" in waits(car), "the vehicle's standstill")
            assert car.running["model"] == built_in
            # A dead cloud keeps nothing from coming true that is here already.
            proxy.is_cut = True
            await car.runs("model", good)
            assert is_standing(car.report().drive_s)
            assert "model@shadow" not in car.running
            proxy.is_cut = False
            await finished(work, rollout.rollout_id)

            refused = await asyncio.to_thread(work.roll_out, MODEL, 3, "model")
            await car.until(lambda: bool(rejected(car)), "the refusal")
            (row,) = rejected(car)
            assert (row.slot, row.digest, row.stage) == ("model", bad, "self_test")
            assert "self-test" in row.reason
            await car.checks_in(2)
            told = await asyncio.to_thread(work.check_in)
            assert told is not None
            assert [one.digest for one in told.rejected] == [bad]
            assert car.running["model"] == good

            def outcomes() -> list[str]:
                return [each.outcome for each in work.fleet.rollout(refused.rollout_id).vehicles]

            # The service looks at what was told in steps of its own.
            await car.until(lambda: outcomes() == ["failed"], "the failure being known")
            await car.drives_on()


def rejected(car: RunningAgent) -> tuple[Any, ...]:
    ota = car.report().ota
    return ota.rejected if ota is not None else ()


def disagreements(car: RunningAgent) -> float:
    told = car.report().lineup.shadow_model
    return 0.0 if told is None else told.probability_gap + told.only_active + told.only_candidate


def is_standing(drive_s: float) -> bool:
    """Whether the simulated vehicle of this seed stands then, after its emergency brake."""
    return any(begin <= drive_s <= end for begin, end in ((31, 40), (94, 100), (155, 162)))


def test_a_model_waits_for_the_standstill(cloud_folder: Path, tmp_path: Path) -> None:
    with office(cloud_folder, tmp_path) as work:
        asyncio.run(model_released(work, tmp_path))


# A rollout that halts -------------------------------------------------------------------------


async def halted_in_the_canary(work: Office, folder: Path) -> None:
    good = await asyncio.to_thread(work.publish_model, 2)
    probe = {"index": [0, 0, 0], "value": 99.0, "tolerance": 0.01}
    bad = await asyncio.to_thread(work.publish_model, 3, self_test={"probes": [probe]})
    async with fleet_vehicles(folder, work, 6) as vehicles:
        await rounds(vehicles, 1)
        first = await asyncio.to_thread(work.roll_out, MODEL, 2, "model")
        await settled(work, vehicles, first.rollout_id, "done")
        assert [vehicle.running for vehicle in vehicles] == [{"model": good}] * 6
        second = await asyncio.to_thread(
            lambda: work.roll_out(MODEL, 3, "model", stages=STAGES, min_canary=5)
        )
        await settled(work, vehicles, second.rollout_id, "halted")
        detail = await asyncio.to_thread(work.fleet.rollout, second.rollout_id)
        assert sorted(vehicle.outcome for vehicle in detail.vehicles) == ["failed"] * 5
        assert all("self-test" in vehicle.failure for vehicle in detail.vehicles)
        asked = {vehicle.vehicle_id for vehicle in detail.vehicles}
        for vehicle in vehicles:
            assert vehicle.running == {"model": good}
            assert vehicle.offered_models == {good}
            told = await asyncio.to_thread(work.fleet.vehicle, vehicle.vehicle_id)
            assert [one.digest for one in told.assigned] == [good]
            assert told.check_in is not None
            refused = [one.digest for one in told.check_in.rejected]
            assert refused == ([bad] if vehicle.vehicle_id in asked else [])


STAGES = ({"fraction": 0.01}, {"fraction": 1.0})


async def rounds(vehicles: list[FleetVehicle], times: int) -> None:
    for _ in range(times):
        for vehicle in vehicles:
            await vehicle.round()


async def settled(work: Office, vehicles: list[FleetVehicle], rollout: str, phase: str) -> None:
    """Let the vehicles work until the rollout has ended and they have followed it."""
    for _ in range(60):
        await rounds(vehicles, 1)
        detail = await asyncio.to_thread(work.fleet.rollout, rollout)
        if detail.phase == phase:
            await rounds(vehicles, 2)
            return
    raise AssertionError(detail)


def test_a_bad_model_halts_in_the_canary(cloud_folder: Path, tmp_path: Path) -> None:
    with office(cloud_folder, tmp_path) as work:
        asyncio.run(halted_in_the_canary(work, tmp_path))
