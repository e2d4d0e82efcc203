"""The demo's fleet: simulated vehicles whose planners drive by what the shipped student sees."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from sim_fleet.fleet import FleetReport

VEHICLES = 4
HOURS = 24.0
MINUTES_EACH = 0.5
"""Of driving in those hours, of each vehicle: enough for clips, and for a demonstration."""


def shipped_student() -> Path:
    """The student that comes with the package."""
    return Path(str(files("models"))) / "zoo" / "student-s.onnx"


def drive_fleet(folder: Path, url: str, seed: int, say: Callable[[str], None]) -> FleetReport:
    """Run the fleet against the cloud; its state lies under `folder`."""
    from sim_fleet.fleet import FleetOptions, run_fleet

    return run_fleet(
        FleetOptions(
            folder, VEHICLES, HOURS, seed, sensors="s", drive_minutes_per_day=MINUTES_EACH,
            model=shipped_student(), url=url, told=say,
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
