"""Loads and compiles all that a vehicle's process needs; imported by the process it is forked from.

The one module here whose import has an effect: `multiprocessing`'s fork server preloads modules,
and does nothing else before it forks.
"""

from __future__ import annotations

from edge_agent.drive.warmup import warm_up
from sim_fleet.fleet.vehicle import run_vehicle
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource

__all__ = ["run_vehicle"]

WARM_S = 0.3


def _warm() -> None:
    warm_up(None, camera=True, lidar=True)
    for scenario in ("everyday-city", "everyday-country"):
        for _ in SimFleetSource(DriveOptions(load_scenario(scenario), 0, "s", WARM_S)).samples():
            pass


_warm()
