"""One drive: samples in, clip jobs out. The agent's hot path, on one thread.

For each sample: the door, the ring, the signal table; for each image also the model. Triggers
run on a fixed grid of drive time, always on what was known before the sample that crosses a
tick, so that a replay of the same drive fires at the same ticks.

Specs and model may be swapped between two samples (`Drive.swap`): the ring, open windows and
the state of specs that stay are not touched, so a spec that fires just after it came has its
pre-roll from before.

It decides nothing about budgets or disks and writes nothing: `on_fire` and `on_job` do. What
runs, and when it may change, is `edge_agent.runtime`'s to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from time import perf_counter_ns

import numpy as np
import simplejpeg
import structlog
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError, LongtailError
from contracts.samples import (
    CalibrationSample,
    FixSample,
    ImageSample,
    MountSample,
    PerceptionFrame,
    PlanSample,
    PoseSample,
    Sample,
    SignalSample,
)
from contracts.trigger_spec import LoadedSpec, TriggerSpec
from edge_agent.capture import CaptureBook, ClipJob
from edge_agent.derive import SignalTable, available_signals
from edge_agent.door import Door, Rejection
from edge_agent.perception.pixels import decode_pixels
from edge_agent.plan_match import PlanMatcher
from edge_agent.ports import PerceptionModel, SourceDescription
from edge_agent.ring import Ring
from edge_agent.timing import FrameTimer
from kernels.clip.encoding import encode_mount, encode_perception, encode_sample
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine
from kernels.triggers.table import required_signals, unknown_classes

TICK_NS = 20_000_000
"""Triggers are evaluated at 50 Hz of drive time."""

MAX_SILENCE_NS = 2 * NS_PER_S
"""Over a longer silence no ticks are made up: every signal is stale anyway."""

JPEG_QUALITY = 90

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InactiveSpec:
    """A spec that cannot work on this vehicle, and why; it is reported, never silent."""

    loaded: LoadedSpec
    reason: str


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A camera frame after the model: what it saw, or the error it raised instead.

    `pixels` uint8 [h, w, 3] RGB; `total_ns` is the hot path's time for the frame, its ticks
    included, 0 for one that failed.
    """

    image: ImageSample
    pixels: NDArray[np.uint8] | None
    frame: PerceptionFrame | None
    error: LongtailError | None
    total_ns: int


def signals_of(description: SourceDescription, class_names: tuple[str, ...]) -> frozenset[str]:
    """Signals that will exist on this source with a model of these classes (none: no model)."""
    return available_signals(
        description.signals,
        camera=bool(description.camera_channels) and bool(class_names),
        plan=description.has_plan and description.has_pose,
        radar=description.has_radar,
    )


def inactive_reason(
    spec: TriggerSpec, signals: frozenset[str], class_names: tuple[str, ...]
) -> str:
    """Why a spec cannot work with these signals and classes; empty when it can."""
    missing = [name for name in required_signals(spec) if name not in signals]
    unknown = unknown_classes(spec, class_names)
    if missing:
        return f"the vehicle has no {', '.join(missing)}"
    if unknown and len(unknown) == len(getattr(spec.when, "classes", ())):
        return f"the model knows none of {', '.join(unknown)}"
    return "the spec is retired" if spec.status == "retired" else ""


def split_specs(
    specs: Sequence[LoadedSpec], description: SourceDescription, class_names: tuple[str, ...]
) -> tuple[list[LoadedSpec], list[InactiveSpec]]:
    """Specs that can run on this source with this model, and those that cannot."""
    signals = signals_of(description, class_names)
    active: list[LoadedSpec] = []
    inactive: list[InactiveSpec] = []
    for loaded in specs:
        reason = inactive_reason(loaded.spec, signals, class_names)
        if reason:
            inactive.append(InactiveSpec(loaded, reason))
        else:
            active.append(loaded)
    return active, inactive


def _checked(frame: PerceptionFrame) -> PerceptionFrame:
    """The frame, when all that triggers read of it is finite. Raises `CorruptError`."""
    finite = isfinite(frame.uncertainty) and isfinite(frame.margin)
    for found in frame.detections:
        finite = finite and isfinite(found.probability) and all(map(isfinite, found.box_px))
    if not finite:
        raise CorruptError("the model's output is not finite", frame.channel)
    return frame


def detect(
    model: PerceptionModel, image: ImageSample, pixels: NDArray[np.uint8]
) -> PerceptionFrame:
    """Run a model on one frame. Raises `LongtailError` for whatever goes wrong in it."""
    try:
        return _checked(model.detect(image, pixels))
    except LongtailError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise CorruptError(f"the model failed: {kind}: {error}", image.channel) from error


class Drive:
    """The state of one drive. Not thread-safe.

    Args:
        on_fire: asked for every fire; True keeps it, which opens or widens a capture window.
        on_job: takes each clip whose window has closed, with its messages.
        on_tick: sees the inputs of each evaluation before it, as the signal log does.
        on_frame: sees each camera frame after it was judged, outside of its time.
        on_engine_error: asked when an evaluation fails; False ends the drive with the error.
    """

    def __init__(
        self,
        vehicle_id: str,
        description: SourceDescription,
        specs: Sequence[LoadedSpec],
        model: PerceptionModel | None,
        ring: Ring,
        on_fire: Callable[[Fire, CaptureBook], bool],
        on_job: Callable[[ClipJob], None],
        on_tick: Callable[[TickInputs], None] = lambda _: None,
        on_frame: Callable[[FrameSeen], None] = lambda _: None,
        on_engine_error: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        class_names = model.class_names if model is not None else ()
        active, self.inactive = split_specs(specs, description, class_names)
        self._description = description
        self._model = model
        self._ring = ring
        self._on_fire = on_fire
        self._on_job = on_job
        self._on_tick = on_tick
        self._on_frame = on_frame
        self._on_engine_error = on_engine_error
        self._offset_ns = description.utc_minus_mono_ns
        self._engine = TriggerEngine(
            active, f"{vehicle_id}/{description.boot_id}", class_names or ("",)
        )
        self._table = SignalTable(description.signals, class_names)
        self._plans = PlanMatcher()
        self._capture = CaptureBook(vehicle_id, description.boot_id)
        self._next_tick_ns: int | None = None
        self._ticks_took_ns = 0
        self.door = Door()
        self.timer = FrameTimer()
        self.counts: Counter[str] = Counter()
        self.now_ns = 0

    @property
    def active_specs(self) -> tuple[LoadedSpec, ...]:
        return self._engine.specs

    @property
    def model(self) -> PerceptionModel | None:
        return self._model

    def swap(self, engine: TriggerEngine, model: PerceptionModel | None) -> None:
        """Go on with another engine and model, between two samples.

        The engine takes over the state of the specs that stay. Raises `InputError`, and
        changes nothing, when it was compiled for other classes than the model's.
        """
        class_names = model.class_names if model is not None else ()
        if engine.class_names != (class_names or ("",)):
            raise InputError("the specs were compiled for another model's classes")
        before = self._engine.class_names
        engine.take_over(self._engine)
        self._engine, self._model = engine, model
        if engine.class_names != before:
            self._table.set_classes(class_names)

    def feed(self, sample: Sample) -> None:
        """Take the next sample. Bad samples are counted, logged and left out."""
        rejection = self.door.check(sample)
        if rejection is not None:
            self._reject(rejection)
            return
        self._run_ticks(sample.mono_ns)
        self.now_ns = max(self.now_ns, sample.mono_ns)
        try:
            self._take(sample)
        except LongtailError as error:
            channel = getattr(sample, "channel", type(sample).__name__)
            self.door.rejections[(channel, "cannot be used")] += 1
            count = self.door.rejections[(channel, "cannot be used")]
            self._reject(Rejection(channel, sample.mono_ns, str(error), count))
        self.counts[type(sample).__name__] += 1

    def finish(self) -> None:
        """The drive is over: judge its last frame, then close all open windows."""
        self._run_ticks(self.now_ns + TICK_NS)
        for job in self._capture.flush():
            self._on_job(job)

    def _reject(self, rejection: Rejection) -> None:
        # The first of a kind is news; after that every power of ten is.
        if str(rejection.count).strip("0") == "1":
            log.warning(
                "sample rejected", channel=rejection.channel, mono_ns=rejection.mono_ns,
                reason=rejection.reason, count=rejection.count,
            )  # fmt: skip

    def _take(self, sample: Sample) -> None:
        match sample:
            case SignalSample():
                self._signal(sample)
            case ImageSample():
                self._image(sample)
            case CalibrationSample():
                mount = encode_mount(sample, self._offset_ns)
                self._ring.latch(sample.frame_id, mount)
                self._ring.latch("", encode_sample(sample, self._offset_ns))
            case MountSample():
                self._ring.latch(sample.frame_id, encode_sample(sample, self._offset_ns))
            case PoseSample():
                self._ring.push(encode_sample(sample, self._offset_ns))
                for divergence in self._plans.put_pose(sample):
                    self._record(self._table.put_divergence(divergence))
            case PlanSample():
                self._ring.push(encode_sample(sample, self._offset_ns))
                self._plans.put_plan(sample)
            case FixSample():
                self._ring.push(encode_sample(sample, self._offset_ns))
                self._fix(sample)
            case _:
                self._ring.push(encode_sample(sample, self._offset_ns))

    def _record(self, signals: list[SignalSample]) -> None:
        for signal in signals:
            self._ring.push(encode_sample(signal, self._offset_ns))

    def _signal(self, sample: SignalSample) -> None:
        self._record([sample])
        self._record(self._table.put(sample))

    def _fix(self, sample: FixSample) -> None:
        """A position is also three signals, unless the source publishes them itself."""
        values = (
            ("gnss.lat_deg", sample.lat_deg),
            ("gnss.lon_deg", sample.lon_deg),
            ("gnss.alt_m", sample.alt_m),
        )
        for name, value in values:
            if name not in self._description.signals:
                self._signal(SignalSample(name, sample.mono_ns, value))

    def _image(self, sample: ImageSample) -> None:
        start_ns = perf_counter_ns()
        pixels: NDArray[np.uint8] | None = None
        if self._model is not None or sample.encoding == "rgb8":
            pixels = decode_pixels(sample)
        if sample.encoding == "rgb8" and pixels is not None:
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=JPEG_QUALITY)
            stored = replace(sample, encoding="jpeg", content=jpeg)
        else:
            stored = sample
        self._ring.push(encode_sample(stored, self._offset_ns))
        model_ns = 0
        frame: PerceptionFrame | None = None
        if self._model is not None and pixels is not None:
            before_ns = perf_counter_ns()
            try:
                frame = detect(self._model, sample, pixels)
            except LongtailError as error:
                self._on_frame(FrameSeen(sample, pixels, None, error, 0))
                raise
            model_ns = perf_counter_ns() - before_ns
            self._record(self._table.put_perception(frame))
            for message in encode_perception(frame, self._offset_ns):
                self._ring.push(message)
        total_ns = perf_counter_ns() - start_ns + self._ticks_took_ns
        self.timer.add(total_ns, model_ns)
        self._ticks_took_ns = 0
        self._on_frame(FrameSeen(sample, pixels, frame, None, total_ns))

    def _run_ticks(self, until_ns: int) -> None:
        """Evaluate at every grid time before `until_ns`."""
        if self._next_tick_ns is None or until_ns - self._next_tick_ns > MAX_SILENCE_NS:
            self._next_tick_ns = -(-until_ns // TICK_NS) * TICK_NS
        start_ns = perf_counter_ns()
        while self._next_tick_ns < until_ns:
            self._tick(self._next_tick_ns)
            self._next_tick_ns += TICK_NS
        self._ticks_took_ns += perf_counter_ns() - start_ns

    def _tick(self, now_ns: int) -> None:
        inputs = TickInputs(
            now_ns, self._table.at(now_ns), self._table.class_scores, self._table.frame_number,
            self._table.horizon_s,
        )  # fmt: skip
        self._on_tick(inputs)
        for fire in self._evaluate(inputs):
            if self._on_fire(fire, self._capture):
                self._capture.add(fire)
        for job in self._capture.due(now_ns):
            self._on_job(job)

    def _evaluate(self, inputs: TickInputs) -> list[Fire]:
        try:
            return self._engine.step(inputs)
        except Exception as error:
            if not self._on_engine_error(error):
                raise
            return []
