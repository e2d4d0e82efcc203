"""The demo's fleet: simulated vehicles whose planners drive by what the shipped student sees."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from sim_fleet.fleet import FleetReport

VEHICLES = 3
ORACLE = "seen-by-the-oracle"
"""Folder of the truth of all that is driven; no vehicle knows it."""


def recipe(name: str) -> Path:
    """A file of the demonstration."""
    return Path(str(files("cli"))) / "demo_data" / f"{name}.yaml"


def shipped_student() -> Path:
    """The student that comes with the package."""
    return Path(str(files("models"))) / "zoo" / "student-s.onnx"


def drive_fleet(
    folder: Path, url: str, seed: int, say: Callable[[str], None], day: int = 0
) -> FleetReport:
    """Drive among cattle against the cloud; vehicles' state lies under `folder`. On a later day
    the same vehicles drive the same scenes, by whatever model they were sent meanwhile.
    """
    from sim_fleet.fleet import FleetOptions, run_fleet
    from sim_fleet.trials import read_trials

    return run_fleet(
        FleetOptions(
            folder / "fleet", VEHICLES, 24.0, seed, model=shipped_student(), url=url, told=say,
            tour=read_trials(recipe("cattle")), truth=folder / ORACLE if day == 0 else None,
            trust=folder / "cloud" / "ota" / "trust", day=day, soak_driving_s=5.0,
            workers=VEHICLES,
        )
    )  # fmt: skip


def fleet_table(report: FleetReport) -> Table:
    """What each vehicle did."""
    from rich.table import Table

    table = Table("vehicle", "home", "km", "seconds", "fires", "clips kept", "in the cloud",
                  "taken over")  # fmt: skip
    for row in report.vehicles:
        table.add_row(
            row.vehicle_id, row.home, f"{row.km:.1f}", f"{row.driven_s:.0f}", str(row.fires),
            str(row.clips), str(row.uploaded), str(row.disengagements),
        )  # fmt: skip
    return table
