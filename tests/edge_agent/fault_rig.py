"""A vehicle's durable half on real parts, over a disk that fails where it is told to.

Fires are admitted, told, packed into clips, kept, evicted and sent to the simulated receiver, as
`edge_agent.drive_side` and `edge_agent.cloud_side` do it. A process that dies leaves its folder;
`Trip.start` is the next one.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import LongtailError, TransientError
from contracts.ids import EventKey
from contracts.samples import ImageSample, SignalSample
from contracts.trigger_spec import LoadedSpec, parse_spec
from contracts.upload import EventRecord
from edge_agent.clips.describe import describe_clip
from edge_agent.clips.event_records import EventTeller
from edge_agent.clips.pack import DriveFacts
from edge_agent.clips.packer import PackedClip, Packer
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger
from edge_agent.ports import Link
from edge_agent.selection.allowances import Allowances
from edge_agent.selection.budget import BudgetBook, Keep, VehicleLimits
from edge_agent.selection.capture import CaptureBook
from edge_agent.selection.clip_gate import ClipGate
from edge_agent.selection.recovered import settle_recovered
from edge_agent.selection.thresholds import ThresholdBook
from edge_agent.spool import Spool
from edge_agent.upload import (
    CellularLimits,
    FixedLink,
    Receiver,
    Transport,
    TransportLimits,
    Uploader,
    WireMeter,
)
from edge_agent.upload.policy import is_metered
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.triggers.adapt import Threshold
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire
from tests.edge_agent.failing_disk import FailingDisk
from tests.edge_agent.receiver_simulator import ReceiverSimulator
from tests.edge_agent.upload_rig import BOOT, VEHICLE, JumpingClock

CAP_BYTES = 260_000
LIMITS = CellularLimits(
    bytes_per_day=CAP_BYTES, bytes_per_month=CAP_BYTES, event_reserve_bytes=60_000,
    slack_bytes=20_000,
)  # fmt: skip
CELLULAR = Link("cellular")
WIFI = Link("wifi")
QUICK = TransportLimits(connect_s=5, answer_s=5, expect_s=0.5)
FACTS = DriveFacts("d", 0, ClockQuality(synchronised=True), None, {})
QUOTA_BYTES = 90_000
"""Room for two clips: the third drives one out."""

_HEAD = (
    "apiVersion: longtail/v1\nversion: 1\nowner: x\nupload: {priority: %s, cellular: allowed}\n"
    "budget: {fires_per_day: 1000, clips_per_drive: 1000, cellular_bytes_per_day: 1GB%s}\n"
)
SAFETY = _HEAD % ("safety", "") + "kind: hard_brake\nid: hard-brake\ncooldown: 0 s\n"
ORDINARY = (
    _HEAD % ("normal", ", clips_per_scene: 1000")
    + "kind: expression\nid: fast\nwhen: ego.speed_mps > 20\ncooldown: 0 s\n"
)


@cache
def spec(text: str) -> LoadedSpec:
    return parse_spec(text, "spec.yaml")


@cache
def picture(number: int) -> bytes:
    """A picture of its own, about 20 kB."""
    pixels = np.random.default_rng(number).integers(0, 255, (96, 160, 3), np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=80))


def messages(number: int) -> list[EncodedMessage]:
    at_ns = number * 60 * NS_PER_S
    signals = {
        "ego.speed_mps": 20.0 + number, "gnss.lat_deg": 48.0 + number, "gnss.lon_deg": 11.0,
        "gnss.bearing_rad": 0.5,
    }  # fmt: skip
    return [
        *(encode_sample(SignalSample(name, at_ns, value), 0) for name, value in signals.items()),
        encode_sample(ImageSample("/camera/a", at_ns, "jpeg", picture(number), 0, 0, "a"), 0),
    ]


@dataclass
class Trip:
    """One vehicle over its whole life. `disk` is that of the process that runs now."""

    folder: Path
    base_url: str
    simulator: ReceiverSimulator
    clock: JumpingClock = field(default_factory=JumpingClock)
    link: FixedLink = field(default_factory=lambda: FixedLink(CELLULAR))
    disk: FailingDisk = field(default_factory=FailingDisk)
    quota_bytes: int = QUOTA_BYTES
    metered_bytes: int = 0
    """Wire bytes that went while the link was metered, over all processes."""
    packed: list[PackedClip] = field(default_factory=list)
    """Clips that a process was told are durable, over all processes."""
    lost: int = 0
    lost_first: int = 0
    """Clips that the first process told as lost."""
    packer: Packer | None = None

    def start(self) -> None:
        """A process comes up on what is in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = VehicleKey.load_or_create(self.folder / "key.pem", VEHICLE, self.disk)
        self.ledger = Ledger(self.folder / "ledger.sqlite", self.clock, BOOT, self.disk.connection)
        self.spool = Spool(
            self.folder / "spool",
            self.quota_bytes, 0, self.clock, self.disk, self.ledger,
            describe_clip,
        )  # fmt: skip
        allowances = Allowances(self.folder / "allowances.json", "d", self.disk)
        self.book = BudgetBook(self.ledger, VehicleLimits(), self.spool.has_room, allowances)
        self.gate = ClipGate(
            self.book, self.ledger.budget_day, self.folder / "scenes.json",
            disk=self.disk,
        )  # fmt: skip
        self.thresholds = ThresholdBook(self.folder / "thresholds.json", self.disk)
        settle_recovered(self.spool, self.book)
        self.events = EventTeller(self.ledger, 0)
        self.packer = Packer(self.spool, self.book, self.events, FACTS, self._on_packed)
        self.meter = WireMeter()
        self._counted_bytes = 0
        self.transport = Transport(self.base_url, self.clock, self.meter, QUICK)
        rng = random.Random(7)
        self.receiver = Receiver(self.transport, self.key, self.clock, rng)
        self.uploader = Uploader(
            self.spool, self.ledger, self.transport, self.receiver, self.link, self.clock,
            LIMITS, rng,
        )  # fmt: skip

    def drive(self, number: int, text: str) -> None:
        """One fire, from the trigger to the spool."""
        at_ns = number * 60 * NS_PER_S
        fire = Fire(spec(text), at_ns, at_ns, at_ns, 1.0 + number, {"decel_mps2": 4.0}, "")
        capture = CaptureBook(VEHICLE, BOOT)
        try:
            if not isinstance(self.book.admit(fire.loaded, at_ns), Keep):
                return
        except LongtailError:
            return  # without a ledger nothing may be spent; the drive goes on
        self.events.tell(capture.event_of(fire), cause_of(fire), "captured")
        capture.add(fire)
        (job,) = capture.flush()
        passed = self.gate.judge(job, messages(number), None)
        assert passed is not None, "each scene is met for the first time"
        assert self.packer is not None
        self.packer.pack(passed, messages(number), FACTS)
        self.thresholds.update({f"{number}" * 64: Threshold(float(number), 10.0, 3, 7)})
        with suppress(LongtailError):
            self.thresholds.save()

    def _on_packed(self, packed: PackedClip) -> None:
        self.packed.append(packed)
        self.gate.packed(packed.event)

    async def upload(self, link: Link, hours: float = 1.0) -> None:
        """Send what may go over this link."""
        self.count()
        self.link.change(link)
        for _ in range(2):  # as often as it takes, on a vehicle
            with suppress(TransientError):
                await self.uploader.enrol(None)
                break
        await self.uploader.drain(self.clock.mono_ns() + int(hours * 3600 * NS_PER_S))
        self.count()

    def close(self) -> None:
        """The process ends in order."""
        with suppress(LongtailError):
            self.ledger.close()

    def count(self) -> None:
        """Book the wire bytes so far under the link that there was."""
        total_bytes = self.meter.total_bytes()
        if is_metered(self.link.link()):
            self.metered_bytes += total_bytes - self._counted_bytes
        self._counted_bytes = total_bytes

    async def end(self) -> None:
        """The process is no more, in order or not."""
        if self.packer is None:
            return
        self.count()
        self.lost += self.packer.counts["lost"]
        self.packer = None
        await self.transport.close()
        self.disk.abandon()

    def told(self) -> list[EventRecord]:
        """Event records that the cloud has, each once."""
        return self.simulator.events


def event_of(number: int) -> EventKey:
    at_ns = number * 60 * NS_PER_S
    return EventKey(vehicle_id=VEHICLE, boot_id=BOOT, start_mono_ns=at_ns, end_mono_ns=at_ns)
