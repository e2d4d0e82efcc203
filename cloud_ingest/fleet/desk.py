"""The fleet's half of one running service, put together."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.auth.vehicles import Vehicles
from cloud_ingest.fleet.activity import ActivityBook
from cloud_ingest.fleet.check_ins import CheckIns
from cloud_ingest.fleet.monitor import Monitor
from cloud_ingest.fleet.ports import SceneLists, TimeAttestor
from cloud_ingest.fleet.rollout_book import RolloutBook
from cloud_ingest.fleet.vehicle_book import VehicleBook
from cloud_ingest.settings import Settings
from contracts.clock import Clock


@dataclass(frozen=True, slots=True)
class FleetDesk:
    """What the routes reach, and the task that runs beside them."""

    check_ins: CheckIns
    rollouts: RolloutBook
    vehicles: VehicleBook
    activity: ActivityBook
    monitor: Monitor


def open_fleet_desk(
    engine: AsyncEngine,
    clock: Clock,
    settings: Settings,
    vehicles: Vehicles,
    attestor: TimeAttestor,
    scene_lists: SceneLists | None = None,
) -> FleetDesk:
    rollouts = RolloutBook(engine, clock, settings.rollout_interval_s)
    monitor = Monitor(engine, rollouts, clock, settings.rollout_step_s)
    poll_s = settings.check_in_poll_s
    return FleetDesk(
        check_ins=CheckIns(engine, clock, attestor, poll_s, monitor.nudge, scene_lists),
        rollouts=rollouts,
        vehicles=VehicleBook(engine, clock, vehicles, poll_s),
        activity=ActivityBook(engine, clock),
        monitor=monitor,
    )
