"""When a bird's-eye model runs, and on what.

A *frame set* is one instant of all sensors. The lead opens it: the first camera of the model's
that is alive, or else the lidar, or else the radar; a sensor that has said nothing for
`SILENT_NS` is not alive, so one that stops or was never there hands the lead on. The set is
judged as soon as a sample of a later time comes (or the drive ends): by then all samples of the
instant are there, in whatever order they came. Frames of the lead nearer than `LEAST_PERIOD_NS`
to the last set open none, so that a lead of 20 Hz is judged at 10 Hz.

Nothing waits for a sensor: what is late is simply the newest of before, and what is too old or
was never there is absent (`kernels.bev.window` has the ages). Pictures are decoded in threads
beside the drive's: those of an open set as they come, others when it is judged; each at most once
for all models of equal inputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from contracts.errors import LongtailError
from contracts.geometry import checked_SE3
from contracts.model_manifest import ImageInput
from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    MountSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from edge_agent.perception.pixels import decode_pixels
from edge_agent.ports import BevSpec
from kernels.bev.lift import view_of
from kernels.bev.window import CAMERA_MAX_AGE_NS, BevSample, BevTensors, BevWindow

SILENT_NS = CAMERA_MAX_AGE_NS
LEAST_PERIOD_NS = 75_000_000
_SWEEPS, _TRACKS, _POSES = 8, 16, 256
_DECODERS = 2
_WINDOWS = 2
"""A model and a candidate beside it; inputs of others are let go."""

U8s = NDArray[np.uint8]
BadPicture = Callable[[ImageSample, LongtailError], None]


class FrameClock:
    """Says which instants are judged. `cameras` are the model's, in order."""

    def __init__(self, cameras: tuple[str, ...]) -> None:
        self._rank = {channel: rank for rank, channel in enumerate(cameras)}
        self._alive_ns: dict[int, int] = {}
        self._last_ns: int | None = None
        self._open_ns: int | None = None

    def see(self, sample: Sample) -> None:
        """Take a sample, after `due` was asked for its time."""
        match sample:
            case ImageSample(channel=channel) if channel in self._rank:
                rank = self._rank[channel]
            case LidarSample():
                rank = len(self._rank)
            case RadarSample():
                rank = len(self._rank) + 1
            case _:
                return
        now_ns = sample.mono_ns
        self._alive_ns[rank] = now_ns
        lead = min(r for r, at_ns in self._alive_ns.items() if now_ns - at_ns <= SILENT_NS)
        if rank == lead and (self._last_ns is None or now_ns - self._last_ns >= LEAST_PERIOD_NS):
            self._open_ns = self._last_ns = now_ns

    @property
    def is_open(self) -> bool:
        """Whether what comes now is of an instant that will be judged."""
        return self._open_ns is not None

    def due(self, before_ns: int | None) -> int | None:
        """The open set, if all of it lies before this time (None: the drive is over)."""
        at_ns = self._open_ns
        if at_ns is None or (before_ns is not None and at_ns >= before_ns):
            return None
        self._open_ns = None
        return at_ns


class BevFrames:
    """The last moments of a drive's sensors, as inputs for any number of bird's-eye models.

    Models of equal inputs share them; a model that comes in mid-drive gets what is known.
    Serves one thread; the arrays of one answer hold until the next for the same inputs.

    Args:
        on_bad: told once of each picture that cannot be decoded; its camera is absent then.
    """

    def __init__(self, on_bad: BadPicture = lambda _sample, _error: None) -> None:
        self._on_bad = on_bad
        self._calibrations: dict[str, CalibrationSample] = {}
        self._mounts: dict[str, MountSample] = {}
        self._sweeps: deque[LidarSample] = deque(maxlen=_SWEEPS)
        self._tracks: deque[RadarSample] = deque(maxlen=_TRACKS)
        self._poses: deque[PoseSample] = deque(maxlen=_POSES)
        self._newest: dict[str, ImageSample] = {}
        self._decoded: dict[tuple[str, tuple[int, int]], tuple[ImageSample, U8s | None]] = {}
        self._begun: dict[tuple[str, tuple[int, int]], tuple[ImageSample, Future[U8s]]] = {}
        self._broken: dict[str, ImageSample] = {}
        self._beside = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self._windows: list[tuple[BevSpec, BevWindow]] = []
        self._answers: dict[int, tuple[int, BevTensors]] = {}

    def add(self, sample: Sample) -> None:
        """Take a sample. Raises `InputError` for a mount or calibration that is none."""
        match sample:
            case SignalSample():
                return  # first, since most samples are signals
            case ImageSample():
                self._newest[sample.channel] = sample
                return
            case CalibrationSample():
                view_of(sample, 1, 1)
                checked_SE3(sample.ego_SE3_camera)
                self._calibrations[sample.channel] = sample
            case MountSample():
                checked_SE3(sample.ego_SE3_sensor)
                self._mounts[sample.frame_id] = sample
            case LidarSample():
                self._sweeps.append(sample)
            case RadarSample():
                self._tracks.append(sample)
            case PoseSample():
                if self._poses and sample.mono_ns <= self._poses[-1].mono_ns:
                    return  # late or told twice: the way driven is known already
                self._poses.append(sample)
            case _:
                return
        for _, window in self._windows:
            window.add(sample)

    def expect(self, image: ImageSample, spec: BevSpec) -> None:
        """Begin to decode a picture that was added, when it is of an instant that this model will
        judge.
        """
        if image.channel in spec.bev.cameras:
            least = _least(spec.image)
            task = self._beside.submit(decode_pixels, image, least)
            self._begun[image.channel, least] = image, task

    def tensors(self, spec: BevSpec, now_ns: int) -> BevTensors:
        """The inputs of an instant. Raises `UnknownMotionError` (`kernels.bev.motion`) when ego
        motion is unknown, `InputError` when samples cannot be used.
        """
        window = self._window(spec)
        known = self._answers.get(id(window))
        if known is not None and known[0] == now_ns:
            return known[1]
        self._answers.pop(id(window), None)
        pictures = [
            image
            for image in map(self._newest.get, spec.bev.cameras)
            if image is not None and 0 <= now_ns - image.mono_ns <= CAMERA_MAX_AGE_NS
        ]
        decoding = self._begin_decoding(pictures, spec.image)
        try:
            points = window.fill_points(now_ns, self._beside)
        finally:
            self._end_decoding(decoding, spec.image)
        for image in pictures:
            _, pixels = self._decoded[image.channel, _least(spec.image)]
            if pixels is not None:
                window.add_pixels(image.channel, image.mono_ns, pixels)
        answer = window.with_pictures(now_ns, points)
        self._answers[id(window)] = now_ns, answer
        return answer

    def _begin_decoding(
        self, pictures: list[ImageSample], how: ImageInput
    ) -> list[tuple[ImageSample, Future[U8s] | None]]:
        """Those that are not decoded yet; None for one that is known to be broken.

        Each is decoded once for each size of input, so that no model's picture depends on what
        runs beside it.
        """
        least = _least(how)
        begun: list[tuple[ImageSample, Future[U8s] | None]] = []
        for image in pictures:
            held = self._decoded.get((image.channel, least))
            if held is None or held[0] is not image:
                begun.append((image, self._task(image, least)))
        return begun

    def _task(self, image: ImageSample, least: tuple[int, int]) -> Future[U8s] | None:
        if self._broken.get(image.channel) is image:
            return None
        expected = self._begun.pop((image.channel, least), None)
        if expected is not None and expected[0] is image:
            return expected[1]
        return self._beside.submit(decode_pixels, image, least)

    def _end_decoding(
        self, begun: list[tuple[ImageSample, Future[U8s] | None]], how: ImageInput
    ) -> None:
        """Wait for pictures uint8 [h, w, 3] RGB, no smaller than the input; None: broken."""
        for image, task in begun:
            pixels: U8s | None = None
            try:
                pixels = None if task is None else task.result()
            except LongtailError as error:
                self._broken[image.channel] = image
                self._on_bad(image, error)
            self._decoded[image.channel, _least(how)] = image, pixels

    def _window(self, spec: BevSpec) -> BevWindow:
        for number, (known, window) in enumerate(self._windows):
            if known == spec:
                self._windows.append(self._windows.pop(number))
                return window
        window = BevWindow(spec.image, spec.bev)
        for sample in self._known():
            window.add(sample)
        self._windows.append((spec, window))
        for _, unused in self._windows[:-_WINDOWS]:
            self._answers.pop(id(unused), None)
        del self._windows[:-_WINDOWS]
        return window

    def _known(self) -> Iterator[BevSample]:
        yield from self._calibrations.values()
        yield from self._mounts.values()
        yield from self._poses
        yield from self._sweeps
        yield from self._tracks


def _least(how: ImageInput) -> tuple[int, int]:
    """Height and width that a picture must have for such an input."""
    return how.height, how.width
