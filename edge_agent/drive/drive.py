"""One drive: samples in, clip jobs out. The agent's hot path, on one thread.

For each sample: the door, the ring, the signal table; for each image, or each instant of all
sensors (`edge_agent.perception.frames`), also the model. Triggers run on a fixed grid of drive
time, always on what was known before the sample that crosses a tick, so that a replay of the
same drive fires at the same ticks.

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
from time import perf_counter_ns

import numpy as np
import simplejpeg
import structlog
from numpy.typing import NDArray

from contracts.channels import BEV
from contracts.clock import NS_PER_S
from contracts.errors import InputError, LongtailError
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
from contracts.trigger_spec import LoadedSpec
from edge_agent.drive.door import Door, Rejection
from edge_agent.drive.ring import Ring
from edge_agent.drive.timing import FrameTimer
from edge_agent.perception.frames import BevFrames, FrameClock
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.views import BevView, ImageView, View, look
from edge_agent.ports import BevModel, ImageModel, PerceptionModel, SourceDescription
from edge_agent.selection.capture import CaptureBook, ClipJob
from edge_agent.signals.derive import SignalTable
from edge_agent.signals.frame_signals import FrameSignals
from edge_agent.signals.plan_match import PlanMatcher
from edge_agent.signals.suitable import split_specs
from kernels.bev.motion import UnknownMotionError
from kernels.clip.encoding import encode_mount, encode_sample
from kernels.clip.perception import encode_perception
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine
from kernels.triggers.likeness import NO_REFERENCES, References, references_of, score_names
from kernels.triggers.table import signals_wanted

TICK_NS = 20_000_000
"""Triggers are evaluated at 50 Hz of drive time."""

MAX_SILENCE_NS = 2 * NS_PER_S
"""Over a longer silence no ticks are made up: every signal is stale anyway."""

JPEG_QUALITY = 90

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame after the model: what it saw, or the error it raised instead.

    `view` is what the model was given, None without a model; `total_ns` is the hot path's time
    for the frame, its ticks included, 0 for one that failed.
    """

    view: View | None
    frame: PerceptionFrame | None
    error: LongtailError | None
    total_ns: int


class Drive:
    """The state of one drive. Not thread-safe.

    Args:
        on_fire: asked for every fire; True keeps it, which opens or widens a capture window.
        on_job: takes each clip whose window has closed, with its messages.
        on_tick: sees the inputs of each evaluation before it, as the signal log does.
        on_frame: sees each frame after it was judged, outside of its time.
        on_engine_error: asked when an evaluation fails; False ends the drive with the error.

    Attributes:
        blind: frames that no model could be asked about, by reason.
        wanted: signals that a spec which runs, or counts in shadow, reads.
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
        active, self.inactive = split_specs(specs, description, model)
        self._description = description
        self._ring = ring
        self._on_fire = on_fire
        self._on_job = on_job
        self._on_tick = on_tick
        self._on_frame = on_frame
        self._on_engine_error = on_engine_error
        self._offset_ns = description.utc_minus_mono_ns
        references = references_of(active)
        self._engine = TriggerEngine(
            active, f"{vehicle_id}/{description.boot_id}", score_names(class_names, references)
        )
        self._table = SignalTable(description.signals, class_names, references)
        self.wanted = signals_wanted(active)
        self._frame_signals = FrameSignals(self.wanted)
        self._plans = PlanMatcher()
        self._capture = CaptureBook(vehicle_id, description.boot_id)
        self._frames = BevFrames(self._bad_picture)
        self._use(model)
        self._next_tick_ns: int | None = None
        self._between_ns = 0
        self.door = Door()
        self.timer = FrameTimer()
        self.counts: Counter[str] = Counter()
        self.blind: Counter[str] = Counter()
        self.now_ns = 0

    @property
    def active_specs(self) -> tuple[LoadedSpec, ...]:
        return self._engine.specs

    @property
    def engine(self) -> TriggerEngine:
        return self._engine

    @property
    def model(self) -> PerceptionModel | None:
        return self._model

    def swap(
        self,
        engine: TriggerEngine,
        model: PerceptionModel | None,
        references: References = NO_REFERENCES,
        in_shadow: Sequence[LoadedSpec] = (),
    ) -> None:
        """Go on with another engine and model, between two samples; `in_shadow` are the specs that
        others evaluate on this drive's ticks.

        The engine takes over the state of the specs that stay. Raises `InputError`, and
        changes nothing, when it was compiled for other classes than the model's.
        """
        class_names = model.class_names if model is not None else ()
        if engine.class_names != score_names(class_names, references):
            raise InputError("the specs were compiled for another model's classes")
        before = self._engine.class_names
        engine.take_over(self._engine)
        self._engine = engine
        self.wanted = signals_wanted((*engine.specs, *in_shadow))
        self._frame_signals.want(self.wanted)
        if model is self._model:
            self._table.set_references(references)
        elif engine.class_names != before:
            self._table.set_classes(class_names, references)
        if model is not self._model:
            self._use(model)

    def _use(self, model: PerceptionModel | None) -> None:
        # Once: to tell a protocol takes Python half as long as a picture takes into the ring.
        self._model = model
        self._image_model = model if isinstance(model, ImageModel) else None
        self._bev_model = model if isinstance(model, BevModel) else None
        cameras = None if self._bev_model is None else self._bev_model.spec.bev.cameras
        self._frame_clock = None if cameras is None else FrameClock(cameras)

    def tell(self, samples: Sequence[SignalSample]) -> None:
        """Take signals that somebody beside the drive derives from it, for the next tick on."""
        self._ring.push_signals(self._table.put_derived(samples))

    def feed(self, sample: Sample) -> None:
        """Take the next sample. Bad samples are counted, logged and left out."""
        rejection = self.door.check(sample)
        if rejection is not None:
            self._reject(rejection)
            return
        self._judge_instant(sample.mono_ns)
        self._run_ticks(sample.mono_ns)
        self.now_ns = max(self.now_ns, sample.mono_ns)
        try:
            self._take(sample)
            self._frames.add(sample)
            told = self._frame_signals.see(sample)
            if told:
                self.tell(told)
            if self._frame_clock is not None:
                self._foresee(self._frame_clock, sample)
        except LongtailError as error:
            channel = getattr(sample, "channel", type(sample).__name__)
            self._unusable(channel, sample.mono_ns, error)
        self.counts[type(sample).__name__] += 1

    def finish(self) -> None:
        """The drive is over: judge its last frame, then close all open windows."""
        self._judge_instant(None)
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

    def _unusable(self, channel: str, mono_ns: int, error: LongtailError) -> None:
        self.door.rejections[(channel, "cannot be used")] += 1
        count = self.door.rejections[(channel, "cannot be used")]
        self._reject(Rejection(channel, mono_ns, str(error), count))

    def _bad_picture(self, image: ImageSample, error: LongtailError) -> None:
        self._unusable(image.channel, image.mono_ns, error)

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
                self._ring.push_sample(sample, self._offset_ns)
                for divergence in self._plans.put_pose(sample):
                    self._ring.push_signals(self._table.put_divergence(divergence))
            case PlanSample():
                self._ring.push_sample(sample, self._offset_ns)
                self._plans.put_plan(sample)
            case FixSample():
                self._ring.push_sample(sample, self._offset_ns)
                self._fix(sample)
            case _:
                self._ring.push_sample(sample, self._offset_ns)

    def _signal(self, sample: SignalSample) -> None:
        self._ring.push_signals((sample, *self._table.put(sample)))

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
        model = self._image_model
        pixels: NDArray[np.uint8] | None = None
        if model is not None or sample.encoding == "rgb8":
            pixels = decode_pixels(sample)
        if sample.encoding == "rgb8" and pixels is not None:
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=JPEG_QUALITY)
            stored = replace(sample, encoding="jpeg", content=jpeg)
        else:
            stored = sample
        self._ring.push_sample(stored, self._offset_ns)
        if self._bev_model is not None:
            self._between_ns += perf_counter_ns() - start_ns  # part of the instant's frame
        elif model is None or pixels is None:
            self._seen(None, None, start_ns, 0)
        else:
            view = ImageView(sample, pixels)
            self._look(model, view, start_ns)

    def _foresee(self, clock: FrameClock, sample: Sample) -> None:
        clock.see(sample)
        if isinstance(sample, ImageSample) and clock.is_open and self._bev_model is not None:
            self._frames.expect(sample, self._bev_model.spec)

    def _judge_instant(self, before_ns: int | None) -> None:
        """Run a bird's-eye model on the instant that is complete before this time, if any."""
        at_ns = self._frame_clock.due(before_ns) if self._frame_clock is not None else None
        model = self._bev_model
        if at_ns is None or model is None:
            return
        start_ns = perf_counter_ns()
        try:
            self._frames.tensors(model.spec, at_ns)
        except UnknownMotionError as error:
            self._is_blind("ego motion is unknown", at_ns, error)
            return
        except LongtailError as error:
            self._is_blind("samples cannot be used", at_ns, error)
            return
        try:
            self._look(model, BevView(at_ns, self._frames), start_ns)
        except LongtailError as error:
            self._unusable(BEV, at_ns, error)

    def _is_blind(self, reason: str, at_ns: int, error: LongtailError) -> None:
        self.blind[reason] += 1
        self._reject(Rejection(BEV, at_ns, f"{reason}: {error}", self.blind[reason]))

    def _look(self, model: PerceptionModel, view: View, start_ns: int) -> None:
        """Judge a frame. Raises the `LongtailError` of a model that fails, after telling it."""
        before_ns = perf_counter_ns()
        if isinstance(view, BevView):
            self._frame_signals.begin(view.mono_ns)
        try:
            frame = look(model, view)
        except LongtailError as error:
            self._on_frame(FrameSeen(view, None, error, 0))
            raise
        model_ns = perf_counter_ns() - before_ns
        self._ring.push_signals(self._table.put_perception(frame))
        self.tell(self._frame_signals.of(frame))
        for name in self._table.misfits(frame):
            why = InputError(f"{name} cannot be compared with this model's embedding")
            self._unusable(frame.channel, frame.mono_ns, why)
        for message in encode_perception(frame, self._offset_ns):
            self._ring.push(message)
        self._seen(view, frame, start_ns, model_ns)

    def _seen(
        self, view: View | None, frame: PerceptionFrame | None, start_ns: int, model_ns: int
    ) -> None:
        total_ns = perf_counter_ns() - start_ns + self._between_ns
        self.timer.add(total_ns, model_ns)
        self._between_ns = 0
        self._on_frame(FrameSeen(view, frame, None, total_ns))

    def _run_ticks(self, until_ns: int) -> None:
        """Evaluate at every grid time before `until_ns`."""
        if self._next_tick_ns is not None and self._next_tick_ns >= until_ns:
            return
        if self._next_tick_ns is None or until_ns - self._next_tick_ns > MAX_SILENCE_NS:
            self._next_tick_ns = -(-until_ns // TICK_NS) * TICK_NS
        start_ns = perf_counter_ns()
        while self._next_tick_ns < until_ns:
            now_ns = self._next_tick_ns
            # First: a tick that fails must not be tried again with every sample to come.
            self._next_tick_ns += TICK_NS
            self._tick(now_ns)
        self._between_ns += perf_counter_ns() - start_ns

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
