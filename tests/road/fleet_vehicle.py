"""Vehicles with a real updater over real HTTP and a small runtime, stepped by hand."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contracts.clock import ClockQuality
from edge_agent.config import OtaConfig
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger
from edge_agent.ota.manifest import VehicleFacts
from edge_agent.ota.opening import open_updater
from edge_agent.ota.updater import Updater
from edge_agent.ports import Link
from edge_agent.selection.budget import VehicleLimits
from edge_agent.spool import Spool
from edge_agent.upload import (
    CellularLimits,
    FixedLink,
    Receiver,
    Transport,
    TransportLimits,
    WireMeter,
)
from tests.edge_agent.ota_rig import FakeRuntime
from tests.edge_agent.upload_rig import describe
from tests.road.updates_rig import HastyClock, Office

BOOT = "parked"


@dataclass
class FleetVehicle:
    """One vehicle; `running` is what its runtime was brought to run."""

    vehicle_id: str
    updater: Updater
    runtime: FakeRuntime = field(default_factory=FakeRuntime)

    async def round(self) -> None:
        """One turn of each of the updater's tasks."""
        await self.updater.poll_once()
        await self.updater.stage_once()
        await self.updater.watch_once()

    @property
    def running(self) -> dict[str, str]:
        return self.runtime.names()

    @property
    def offered_models(self) -> set[str]:
        """Manifest digests of all models that were ever offered to the runtime."""
        return {lineup.model.digest for lineup in self.runtime.offers if lineup.model is not None}


@asynccontextmanager
async def fleet_vehicle(
    folder: Path, office: Office, vehicle_id: str
) -> AsyncIterator[FleetVehicle]:
    """An enrolled vehicle."""
    folder.mkdir(parents=True)
    clock, runtime = HastyClock(), FakeRuntime()
    ledger = Ledger(folder / "ledger.sqlite", clock, BOOT)
    spool = Spool(folder / "spool", 10**9, 0, clock, RealDisk(), ledger, describe)
    key = VehicleKey.load_or_create(folder / "key.pem", vehicle_id, RealDisk())
    transport = Transport(office.url, clock, WireMeter(), TransportLimits())
    rng = random.Random(vehicle_id)
    facts = VehicleFacts(
        BOOT, lambda: ClockQuality(synchronised=True), VehicleLimits(), CellularLimits(), 10**9
    )
    updater = open_updater(
        OtaConfig(trust=office.trust, allow_demo_keys=True), folder, signer=key,
        transport=transport, runtime=runtime, ledger=ledger, spool=spool,
        links=FixedLink(Link("ethernet")), facts=facts, floor_free_bytes=0, clock=clock, rng=rng,
    )  # fmt: skip
    if not isinstance(updater, Updater):
        raise TypeError(updater.status().note)
    try:
        await Receiver(transport, key, clock, rng).enrol(None)
        await updater.start()
        yield FleetVehicle(vehicle_id, updater, runtime)
    finally:
        await updater.close()
        ledger.close()


@asynccontextmanager
async def fleet_vehicles(
    folder: Path, office: Office, count: int
) -> AsyncIterator[list[FleetVehicle]]:
    async with AsyncExitStack() as stack:
        names = [f"car-{number}" for number in range(1, count + 1)]
        yield [
            await stack.enter_async_context(fleet_vehicle(folder / name, office, name))
            for name in names
        ]
