"""A vehicle's updater on real parts against `OtaCloud`, with a runtime that keeps its port."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from contracts.check_in import RunningModel, RunningTrigger
from contracts.clock import NS_PER_S, ClockQuality, VirtualClock
from contracts.ids import sha256_hex
from contracts.ota import ReleaseId
from edge_agent.config import OtaConfig
from edge_agent.disk import Disk, RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger
from edge_agent.ota.manifest import VehicleFacts
from edge_agent.ota.opening import open_updater
from edge_agent.ota.ports import Lineup, RuntimeReport, SlotFault
from edge_agent.ota.updater import Updater
from edge_agent.ports import Link, SessionOpener
from edge_agent.selection.budget import VehicleLimits
from edge_agent.upload import CellularLimits, FixedLink, Transport, TransportLimits, WireMeter
from edge_agent.upload.receiver import Receiver
from tests.edge_agent.ota_cloud import OtaCloud
from tests.edge_agent.ota_repository import FIRST_UTC_NS, Ordered, spec_bytes
from tests.edge_agent.perception.test_perception_runtime import document_for, tiny_onnx
from tests.edge_agent.upload_rig import BOOT, VEHICLE, WIFI, JumpingClock, open_spool

FAST = TransportLimits(connect_s=5, answer_s=5, expect_s=0.5)
MIN_NS = 60 * NS_PER_S


def trigger(
    name: str, version: int = 1, decel: float = 3.0, *, shadow: bool = False, attempt: int = 1
) -> Ordered:
    """An order of a good spec."""
    release = ReleaseId("trigger", name, version)
    content = spec_bytes(name, version, decel)
    return Ordered(release.slot(shadow=shadow).text, release, (content,), attempt)


def network(
    version: int = 1, *, shadow: bool = False, attempt: int = 1, **changes: object
) -> Ordered:
    """An order of a small real model; `changes` are of its manifest."""
    release = ReleaseId("model", "tiny", version)
    content = tiny_onnx()
    document = document_for(content, **{"version": version, **changes})
    manifest = yaml.safe_dump(document).encode()
    return Ordered(release.slot(shadow=shadow).text, release, (manifest, content), attempt)


def digest_of(ordered: Ordered) -> str:
    return sha256_hex(ordered.contents[0])


@dataclass
class FakeRuntime:
    """Runs specs at once and models when `safe`; a fault stays while its release is offered."""

    safe: bool = True
    driving_ns: int = 0
    offers: list[Lineup] = field(default_factory=list)
    faults: list[SlotFault] = field(default_factory=list)
    running: Lineup = field(default_factory=Lineup)

    def offer(self, lineup: Lineup) -> None:
        self.offers.append(lineup)
        offered = {(one.slot, one.loaded.digest) for one in lineup.specs}
        models = (lineup.model, lineup.shadow_model)
        offered |= {(one.slot, one.digest) for one in models if one is not None}
        self.faults = [one for one in self.faults if (one.slot, one.digest) in offered]
        self.deliver()

    def deliver(self) -> None:
        if not self.offers:
            return
        newest = self.offers[-1]
        model = newest.model if self.safe else self.running.model
        self.running = Lineup(newest.specs, model, newest.shadow_model, newest.killed)

    def report(self) -> RuntimeReport:
        self.deliver()
        lineup = self.running
        triggers = tuple(
            RunningTrigger(
                trigger_id=one.loaded.spec.id,
                version=one.loaded.spec.version,
                digest=one.loaded.digest,
                origin="ota",
                state="killed"
                if one.loaded.spec.id in lineup.killed
                else ("shadow" if one.slot.shadow else "active"),
            )
            for one in lineup.specs
        )
        models = tuple(
            RunningModel(
                name=one.manifest.name,
                version=one.manifest.version,
                digest=one.digest,
                file_sha256=one.manifest.sha256,
                origin="ota",
                shadow=one.slot.shadow,
            )
            for one in (lineup.model, lineup.shadow_model)
            if one is not None
        )
        return RuntimeReport(
            triggers=triggers,
            models=models,
            faults=tuple(self.faults),
            driving_ns=self.driving_ns,
            waiting_for="" if self.safe else "the vehicle moves",
        )

    def names(self) -> dict[str, str]:
        """Running digests by slot, killed triggers left out."""
        found = {
            one.slot.text: one.loaded.digest
            for one in self.running.specs
            if one.loaded.spec.id not in self.running.killed
        }
        for one in (self.running.model, self.running.shadow_model):
            if one is not None:
                found[one.slot.text] = one.digest
        return found


@dataclass
class OtaRig:
    """One vehicle. `restart` is what a crash and a new process leave: the same files."""

    folder: Path
    base_url: str
    cloud: OtaCloud
    clock: VirtualClock
    link: FixedLink
    config: OtaConfig
    limits: CellularLimits
    transport_limits: TransportLimits = FAST
    disk: Disk = field(default_factory=RealDisk)
    floor_free_bytes: int = 0
    boot: int = 0
    opener: SessionOpener | None = None

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(self.folder / "ledger.sqlite", self.clock, BOOT)
        self.spool = open_spool(self.folder / "spool", self.ledger, self.clock)
        self.key = VehicleKey.load_or_create(self.folder / "key.pem", VEHICLE, RealDisk())
        self.meter = WireMeter()
        self.transport = Transport(self.base_url, self.clock, self.meter, self.transport_limits)
        self.runtime = FakeRuntime()
        self.boot += 1
        made = open_updater(
            self.config,
            self.folder,
            signer=self.key,
            transport=self.transport,
            runtime=self.runtime,
            ledger=self.ledger,
            spool=self.spool,
            links=self.link,
            facts=VehicleFacts(
                BOOT, lambda: ClockQuality(synchronised=True), VehicleLimits(), self.limits, 10**9,
                {"site": "test"},
            ),
            floor_free_bytes=self.floor_free_bytes,
            clock=self.clock,
            rng=random.Random(self.boot),
            disk=self.disk,
            opener=self.opener,
        )  # fmt: skip
        self.made = made

    @property
    def updater(self) -> Updater:
        assert isinstance(self.made, Updater), self.made.status()
        return self.made

    async def start(self) -> None:
        self.open()
        await Receiver(self.transport, self.key, self.clock, random.Random(1)).enrol(None)
        await self.made.start()

    async def close(self) -> None:
        await self.made.close()
        self.ledger.close()

    async def restart(self) -> None:
        """As after a crash: nothing ends in order."""
        await self.close()
        await self.start()

    async def round(self) -> None:
        """One turn of each task."""
        await self.updater.poll_once()
        await self.updater.stage_once()
        await self.updater.watch_once()

    async def drive(self, minutes: float) -> None:
        """The runtime drives; the updater watches."""
        self.runtime.driving_ns += int(minutes * MIN_NS)
        self.clock.set_mono_ns(self.clock.mono_ns() + int(minutes * MIN_NS))
        await self.updater.watch_once()

    def give(self, *ordered: Ordered, killed: tuple[str, ...] = ()) -> None:
        """Publish what is new and order all of it."""
        for one in ordered:
            known = self.cloud.image.roles[one.release.role].targets
            if one.release.path not in known:
                self.cloud.image.publish(one.release, *one.contents)
        self.cloud.director.order(*ordered, killed=killed)

    @property
    def running(self) -> dict[str, str]:
        return self.runtime.names()

    @property
    def note(self) -> str:
        return self.updater.note()

    @property
    def state_folder(self) -> Path:
        return self.folder / "ota"


@asynccontextmanager
async def ota_rig(
    folder: Path,
    link: Link = WIFI,
    *,
    demo: bool = False,
    allow_demo_keys: bool = False,
    start: bool = True,
    **limits: int,
) -> AsyncIterator[OtaRig]:
    clock = JumpingClock(1000 * NS_PER_S, FIRST_UTC_NS)
    cloud = OtaCloud(VEHICLE, clock, demo=demo)
    trust = folder / "trust"
    trust.mkdir(parents=True)
    (trust / "image.root.json").write_bytes(cloud.image.anchor())
    (trust / "director.root.json").write_bytes(cloud.director.anchor())
    config = OtaConfig(trust=trust, allow_demo_keys=allow_demo_keys)
    async with cloud.serve() as base_url:
        rig = OtaRig(
            folder / "vehicle", base_url, cloud, clock, FixedLink(link), config,
            CellularLimits(**limits),
        )  # fmt: skip
        if not start:
            yield rig
            return
        await rig.start()
        try:
            yield rig
        finally:
            await rig.close()


def play(folder: Path, scene: Callable[[OtaRig], Awaitable[None]], **options: object) -> None:
    async def go() -> None:
        async with ota_rig(folder, **options) as rig:  # type: ignore[arg-type]
            await scene(rig)

    asyncio.run(go())


async def settled(rig: OtaRig) -> None:
    """A vehicle with a spec that is kept, and an older state of the cloud behind it."""
    rig.give(trigger("jerk"))
    await rig.round()
    rig.give(trigger("jerk"), trigger("brake"))
    await rig.round()
    await rig.drive(0)
    await rig.drive(11)
    assert {held.state for held in rig.updater.status().held} == {"committed"}


async def refused(rig: OtaRig, *words: str) -> None:
    """One more round changes nothing; the next manifest tells why."""
    before = rig.running
    offers = len(rig.runtime.offers)
    assert before
    rig.cloud.announced = 10**6
    await rig.round()
    await rig.round()
    told = rig.cloud.check_ins[-1]
    reasons = " | ".join(
        [told.ota_note, *(f"{one.slot} {one.stage}: {one.reason}" for one in told.rejected),
         *(one.reason for one in told.held)]
    )  # fmt: skip
    for word in words:
        assert word in reasons, reasons
    assert rig.running == before
    assert len(rig.runtime.offers) == offers


def forget_caches(rig: OtaRig) -> None:
    for name in ("image", "director"):
        shutil.rmtree(rig.state_folder / name)
