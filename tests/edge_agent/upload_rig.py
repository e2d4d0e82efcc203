"""A vehicle's upload side on real parts: ledger, spool, key, transport; clips of given sizes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from contracts.clip import Cause, Window
from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import PART_BYTES, EventKey, PartHasher
from contracts.upload import EventRecord, UploadRequest
from edge_agent.disk import Disk, RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger
from edge_agent.ports import Link
from edge_agent.spool import ClipDescription, Entry, Spool
from edge_agent.upload import (
    CellularLimits,
    FixedLink,
    Receiver,
    Transport,
    TransportLimits,
    Uploader,
    WireMeter,
)
from tests.edge_agent.receiver_simulator import ReceiverSimulator

WIFI = Link("wifi")
FAST = TransportLimits(connect_s=5, answer_s=5, expect_s=0.5)
VEHICLE = "car-1"
BOOT = "boot-1"

LARGE = 2 * PART_BYTES + 12_345
SMALL = 10_000
HOUR_NS = 3600 * NS_PER_S


class JumpingClock(VirtualClock):
    """A virtual clock on which a sleep takes no time of ours."""

    async def sleep_ns(self, duration_ns: int) -> None:
        self.set_mono_ns(self.mono_ns() + max(0, duration_ns))
        await asyncio.sleep(0)


@cache
def clip_bytes(number: int, size_bytes: int) -> bytes:
    return random.Random(number).randbytes(size_bytes)


def request_for(content: bytes, number: int = 0, **changed: object) -> UploadRequest:
    hasher = PartHasher()
    hasher.update(content)
    fields: dict[str, object] = {
        "clip_id": hasher.clip_id(),
        "size_bytes": len(content),
        "part_digests": tuple(digest.hex() for digest in hasher.part_digests()),
        "event": EventKey(
            vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=number, end_mono_ns=number + 10
        ),
        "window": Window(start_mono_ns=number, end_mono_ns=number + 10),
        "trigger_ids": ("hard-brake",),
    }
    return UploadRequest.model_validate({**fields, **changed})


def cause(trigger_id: str = "hard-brake", fired_mono_ns: int = 0, **changed: object) -> Cause:
    fields: dict[str, object] = {
        "trigger_id": trigger_id,
        "trigger_version": 1,
        "spec_digest": "a" * 64,
        "kind": "hard_brake",
        "fired_mono_ns": fired_mono_ns,
        "start_mono_ns": fired_mono_ns,
        "end_mono_ns": fired_mono_ns + 5,
        "score": 1.0,
    }
    return Cause.model_validate({**fields, **changed})


def record(number: int = 0, **changed: object) -> EventRecord:
    event = EventKey(vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=number, end_mono_ns=number + 5)
    fields = {"event": event, "utc_ns": 5, "cause": cause(fired_mono_ns=number)}
    return EventRecord.model_validate({**fields, "outcome": "captured", **changed})


def describe(path: Path) -> ClipDescription:
    """Stands for the clip reader: any file is a clip but one that ends in `TRUNCATED`."""
    from contracts.errors import CorruptError

    content = path.read_bytes()
    if content.endswith(b"TRUNCATED"):
        raise CorruptError("the file ends early", str(path))
    made = request_for(content)
    return ClipDescription(
        event=made.event,
        window=made.window,
        trigger_ids=made.trigger_ids,
        safety=False,
        stream="triggered",
        scene_hash=None,
        priority="normal",
        cellular="forbidden",
        value=1.0,
    )


def open_spool(
    folder: Path,
    ledger: Ledger,
    clock: VirtualClock,
    quota_bytes: int = 10**9,
    disk: Disk | None = None,
    floor_free_bytes: int = 0,
) -> Spool:
    return Spool(folder, quota_bytes, floor_free_bytes, clock, disk or RealDisk(), ledger, describe)


def add_clip(
    spool: Spool,
    content: bytes,
    number: int = 0,
    priority: str = "normal",
    cellular: str = "allowed",
    value: float = 1.0,
    **changed: object,
) -> Entry:
    path = spool.begin(f"clip-{number}")
    path.write_bytes(content)
    request = request_for(content, number, **changed)
    return spool.commit(path, request, priority, cellular, value)  # type: ignore[arg-type]


@dataclass
class Rig:
    """One vehicle. `restart` is what a crash and a new process leave: the same files."""

    folder: Path
    base_url: str
    clock: VirtualClock
    link: FixedLink
    limits: CellularLimits
    other_origins: tuple[str, ...] = ()
    transport_limits: TransportLimits = FAST
    spans: int = 1

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        self.ledger = Ledger(self.folder / "ledger.sqlite", self.clock, BOOT)
        self.spool = open_spool(self.folder / "spool", self.ledger, self.clock)
        self.key = VehicleKey.load_or_create(self.folder / "key.pem", VEHICLE, RealDisk())
        self.meter = WireMeter()
        self.transport = Transport(
            self.base_url,
            self.clock,
            self.meter,
            self.transport_limits,
            other_origins=self.other_origins,
            connections=self.spans,
        )
        rng = random.Random(7)
        self.receiver = Receiver(self.transport, self.key, self.clock, rng)
        self.uploader = Uploader(
            self.spool,
            self.ledger,
            self.transport,
            self.receiver,
            self.link,
            self.clock,
            self.limits,
            rng,
            self.spans,
        )

    async def close(self) -> None:
        await self.uploader.close()
        # The transports' sockets close on the loop's next turns.
        await asyncio.sleep(0)
        self.ledger.close()

    async def restart(self) -> None:
        await self.close()
        self.start()


def rig(folder: Path, base_url: str, link: Link = WIFI, **limits: int) -> Rig:
    return Rig(folder, base_url, JumpingClock(), FixedLink(link), CellularLimits(**limits))


Body = Callable[[Rig, ReceiverSimulator], Awaitable[None]]


def run(folder: Path, simulator: ReceiverSimulator, body: Body, **options: object) -> None:
    """Run `body` on a vehicle that is enrolled with the simulator."""

    async def go() -> None:
        async with simulator.serve() as base_url:
            vehicle = rig(folder, base_url, **options)  # type: ignore[arg-type]
            try:
                await vehicle.receiver.enrol(None)
                await body(vehicle, simulator)
            finally:
                await vehicle.close()

    asyncio.run(go())


def deadline(vehicle: Rig, hours: float = 1.0) -> int:
    return vehicle.clock.mono_ns() + int(hours * HOUR_NS)
