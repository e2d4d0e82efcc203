"""What the conductor gives to a vehicle's process for one start, as JSON."""

from __future__ import annotations

from pathlib import Path

from sim_fleet.fleet.faults import PlannedFault
from sim_fleet.fleet.links import LinkTrace
from sim_fleet.fleet.schedule import Plain, Trip


class TruthSettings(Plain):
    """Where the truth of what is driven goes: FOLDER/<drive>/labels/, one every `every_s`."""

    folder: Path
    every_s: float


class OrderSettings(Plain):
    """How a vehicle takes orders over the air: its trust anchors, and the driving after which a new
    model is kept for good.
    """

    trust: Path
    soak_driving_s: float


class VehicleSettings(Plain):
    """What is the same at every start of a vehicle. `folder` holds all that is its own."""

    vehicle_id: str
    vehicle_type: str
    blind_to: tuple[str, ...]
    folder: Path
    seed: int
    sensors: str
    model: Path | None
    specs: tuple[Path, ...]
    trace: LinkTrace
    cellular_bytes_per_day: int
    clips_per_day: int
    bytes_per_day: int
    truth: TruthSettings | None = None
    orders: OrderSettings | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    def counts(self, boot_id: str) -> Path:
        """Where the relay counts the bytes of one start."""
        return self.folder / "bytes" / boot_id


class BootJob(Plain):
    """One start of a vehicle.

    Args:
        boot_id: names it.
        skip_s: how much of the trip was driven before a power cut.
        wall_error_ns: how wrong the vehicle's wall clock is when it starts.
        faults: those that may strike on this start.
        server: the receiver's host and port; `server_pid` the file that holds its process id.
        spool_quota_bytes: room for clips on this start.
    """

    vehicle: VehicleSettings
    trip: Trip
    boot_id: str
    skip_s: float
    wall_error_ns: int
    faults: tuple[PlannedFault, ...]
    server: tuple[str, int]
    server_pid: Path | None
    relay_port: int
    spool_quota_bytes: int
