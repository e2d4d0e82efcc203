"""A `DriveRuntime` on real parts (ring, ledger, budget), fed by hand; models made to order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contracts.clock import NS_PER_S, ClockQuality, VirtualClock
from contracts.ids import sha256_hex
from contracts.model_manifest import ModelManifest
from contracts.ota import Slot
from contracts.samples import Detection, ImageSample, PerceptionFrame, Sample, SignalSample
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.clips.pack import collect
from edge_agent.drive.ring import Ring
from edge_agent.ledger import Ledger
from edge_agent.ota.ports import Lineup, ModelRelease, SpecRelease
from edge_agent.perception.manifests import BUNDLED_MANIFESTS, read_manifest
from edge_agent.ports import SourceDescription
from edge_agent.runtime import BuiltIn, DriveEvents, DriveRuntime, DriveTally, RunningSet
from edge_agent.selection.budget import BudgetBook, Keep, Suppress, VehicleLimits
from edge_agent.selection.capture import CaptureBook, ClipJob
from kernels.clip.encoding import EncodedMessage
from kernels.triggers.engine import Fire, TickInputs

VEHICLE = "car-1"
BOOT = "boot-1"
STEP_NS = 20_000_000
SIGNALS = frozenset({"ego.speed_mps", "ego.accel_mps2", "autonomy.engaged", "driver.brake_pressed"})
CAMERA = "/camera/front"
CLASSES = ("car", "dog")

JPEG = simplejpeg.encode_jpeg(np.zeros((32, 48, 3), np.uint8), 80)
MANIFEST = read_manifest(next(iter(sorted(BUNDLED_MANIFESTS.glob("*.yaml")))))

Seen = Callable[[int], list[Detection]]


def spec(
    name: str = "brakes",
    version: int = 1,
    when: str = "ego.decel_mps2 > 2",
    more: str = "",
    cooldown: str = "0s",
) -> LoadedSpec:
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: expression\nid: {name}\nversion: {version}\n"
        f"owner: tests\nwhen: {when}\ncooldown: {cooldown}\ncapture: {{pre: 2s, post: 1s}}\n{more}",
        f"{name}.yaml",
    )


def release(loaded: LoadedSpec, *, shadow: bool = False) -> SpecRelease:
    return SpecRelease(Slot("trigger", loaded.spec.id, shadow), loaded)


def seen(
    class_name: str = "car", probability: float = 0.9, x: float = 0.0, side: float = 10.0
) -> Detection:
    box = (x, 0.0, x + side, side)
    return Detection(box, class_name, probability, np.array([probability], np.float32))


class MadeModel:
    """A model that sees what its script says on its n-th frame."""

    def __init__(
        self, name: str, script: Seen = lambda n: [seen()], classes: tuple[str, ...] = CLASSES
    ) -> None:
        self.digest = sha256_hex(name.encode())
        self.class_names = classes
        self.calls = 0
        self._script = script

    def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
        if image.channel == "/camera/trial":
            return self._frame(image, [seen(self.class_names[0])])
        self.calls += 1
        return self._frame(image, self._script(self.calls))

    def _frame(self, image: ImageSample, found: list[Detection]) -> PerceptionFrame:
        return PerceptionFrame(
            image.channel, image.mono_ns, self.digest, tuple(found), 0.5, 0.5, None
        )


def model_release(
    name: str,
    script: Seen = lambda n: [seen()],
    classes: tuple[str, ...] = CLASSES,
    *,
    shadow: bool = False,
) -> ModelRelease:
    model = MadeModel(name, script, classes)
    manifest: ModelManifest = MANIFEST.model_copy(
        update={"name": name, "sha256": model.digest, "classes": classes}
    )
    digest = sha256_hex(f"manifest of {name}".encode())
    return ModelRelease(Slot("model", shadow=shadow), digest, manifest, model)


class Rig:
    """One drive. `fires` and `clips` are what the agent would have kept and packed."""

    def __init__(
        self,
        folder: Path,
        built_in: BuiltIn,
        *,
        signals: frozenset[str] = SIGNALS,
        labels: dict[str, str] | None = None,
        ring_bytes: int = 4_000_000,
        shadow_every: int = 5,
        connected: Callable[[], bool] = lambda: False,
    ) -> None:
        self.now_ns = 0
        self.fires: list[tuple[str, int, int]] = []
        self.outcomes: list[str] = []
        self.shadow_fires: list[tuple[str, str]] = []
        self.clips: list[tuple[ClipJob, list[EncodedMessage]]] = []
        self.ticks: list[TickInputs] = []
        self.swaps: list[RunningSet] = []
        self.ring = Ring(ring_bytes)
        self.clock = VirtualClock()
        self.ledger = Ledger(folder / "ledger.sqlite", self.clock, BOOT)
        self.book = BudgetBook(self.ledger, VehicleLimits())
        description = SourceDescription(
            "drive", BOOT, 0, ClockQuality(synchronised=True), signals, (CAMERA,)
        )
        self.tally = DriveTally(connected)
        self.runtime = DriveRuntime(
            VEHICLE, description, built_in, labels or {}, self.ring,
            DriveEvents(
                self._fire, self._job, self._shadow_fire, self.ticks.append, self.swaps.append
            ),
            self.ledger.totals, self.tally, shadow_every=shadow_every,
        )  # fmt: skip

    def _fire(self, fire: Fire, capture: CaptureBook) -> bool:
        loaded = fire.loaded
        self.fires.append((loaded.spec.id, loaded.spec.version, fire.fired_mono_ns))
        verdict = self.book.admit(loaded, fire.fired_mono_ns)
        outcome = "kept" if isinstance(verdict, Keep) else verdict.reason
        self.outcomes.append(outcome)
        self.tally.fired(outcome)
        return outcome == "kept"

    def _shadow_fire(self, fire: Fire) -> bool:
        verdict = self.book.admit(fire.loaded, fire.fired_mono_ns, shadow=True)
        assert isinstance(verdict, Suppress)
        self.shadow_fires.append((fire.loaded.spec.id, verdict.reason))
        return verdict.reason == "shadow"

    def _job(self, job: ClipJob) -> None:
        self.clips.append((job, list(collect(job, self.ring))))

    def feed(self, *samples: Sample) -> None:
        for sample in samples:
            self.clock.set_mono_ns(sample.mono_ns)
            self.runtime.feed(sample)

    def go(
        self,
        until_s: float,
        *,
        camera_hz: int = 0,
        mute: frozenset[str] = frozenset(),
        **values: float,
    ) -> None:
        """Drive on at 50 Hz with these signals, such as `speed=3, accel=-4, engaged=1`."""
        names = {
            "speed": "ego.speed_mps", "accel": "ego.accel_mps2", "engaged": "autonomy.engaged",
        }  # fmt: skip
        given = {"speed": 10.0, "accel": 0.0, "engaged": 0.0, **values}
        while self.now_ns < until_s * NS_PER_S:
            for short, value in given.items():
                if short not in mute:
                    self.feed(SignalSample(names[short], self.now_ns, value))
            if camera_hz and self.now_ns % (NS_PER_S // camera_hz) == 0:
                self.feed(ImageSample(CAMERA, self.now_ns, "jpeg", JPEG, 48, 32, "camera"))
            self.now_ns += STEP_NS

    def offer(self, *specs: SpecRelease, **more: object) -> None:
        self.runtime.offer(Lineup(specs, **more))  # type: ignore[arg-type]

    def states(self) -> dict[str, tuple[int, str, str]]:
        """Version, origin and state of each trigger; those in a shadow slot apart."""
        return {
            t.trigger_id + ("@shadow" if t.state == "shadow" else ""): (
                t.version, t.origin, t.state,
            )
            for t in self.runtime.report().triggers
        }  # fmt: skip
