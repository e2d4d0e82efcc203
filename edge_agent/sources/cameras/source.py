"""The two camera sources: a video file that is replayed, a stream that is watched.

A live stream that ends, errs or falls silent makes a gap: it is opened anew with growing pauses,
and pictures go on when it is back. So does one that is away at the start: what other sensors see,
and clips that wait, must not depend on one cable. After `give_up` without a picture the source
ends.

Does not do: undistortion; turning pictures that the file marks as rotated; sound. A network stream
that falls silent is left after 3 s; how long a device may block a read is its driver's matter.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from contracts.clock import NS_PER_S, Clock, ClockQuality, SystemClock
from contracts.errors import CorruptError, InputError, TransientError
from contracts.samples import ImageSample, Sample
from edge_agent.ports import SourceDescription
from edge_agent.sources.address import (
    as_name,
    fingerprint,
    machine_boot_id,
    machine_clock_quality,
)
from edge_agent.sources.cameras.calibration import CalibrationFile
from edge_agent.sources.cameras.pictures import Picture, Video
from edge_agent.sources.cameras.times import PictureTimes
from edge_agent.sources.device_time import WALL_FROM_NS, LiveTime
from edge_agent.sources.patience import Backoff

GIVE_UP_NS = 600 * NS_PER_S
MISSING_END_NS = NS_PER_S // 2
"""Sound may run on for so long behind the last picture."""
START_NS = NS_PER_S
"""Monotonic time of the first picture of a file."""

log = structlog.get_logger(__name__)


class Thinning:
    """Keeps at most so many pictures a second; None keeps all."""

    def __init__(self, max_hz: float | None) -> None:
        # A tenth of a period early still counts, or 30 Hz thinned to 10 would give 7.5.
        self._period_ns = round(0.9 * NS_PER_S / max_hz) if max_hz else 0
        self._last_ns: int | None = None

    def keeps(self, at_ns: int) -> bool:
        if self._last_ns is not None and at_ns - self._last_ns < self._period_ns:
            return False
        self._last_ns = at_ns
        return True


class CameraFileSource:
    """`SensorSource` over one video file. Attributes: `counts`: what was left out, by reason.

    A file that breaks off raises `CorruptError` after its last picture, since readers of video
    take the break for the end: it shows in the length that the file tells.

    Args:
        start_utc_ns: wall time of the first picture, None where nobody knows it.
        times_ns: one time a picture, in presentation order; they replace the file's own. From
            2001 on they are wall time, smaller ones monotonic.
    """

    def __init__(
        self,
        path: Path,
        channel: str,
        *,
        calibration: CalibrationFile | None = None,
        start_utc_ns: int | None = None,
        times_ns: list[int] | None = None,
        max_hz: float | None = None,
    ) -> None:
        self._path = path
        self._channel = channel
        self._calibration = calibration
        self._max_hz = max_hz
        self.counts: Counter[str] = Counter()
        video = self._open()
        try:
            self._own_times = self._paired(video, times_ns) if times_ns is not None else None
            next(video.pictures(Counter()), None)
        finally:
            video.close()
        wall_ns = times_ns[0] if times_ns is not None else start_utc_ns
        if wall_ns is not None and wall_ns < WALL_FROM_NS:
            wall_ns = None
        self._base_ns = wall_ns - START_NS if wall_ns is not None else 0
        self._has_wall_time = wall_ns is not None

    def _open(self) -> Video:
        return Video(str(self._path))

    def _paired(self, video: Video, times_ns: list[int]) -> dict[int, int]:
        ticks = video.presentation_times()
        if len(ticks) != len(times_ns) or len(set(ticks)) != len(ticks):
            raise InputError(
                f"{len(times_ns)} times for {len(set(ticks))} pictures", str(self._path)
            )
        return dict(zip(ticks, times_ns, strict=True))

    def describe(self) -> SourceDescription:
        name = as_name(self._path.stem, "video")
        return SourceDescription(
            drive_id=name,
            boot_id=f"camera-{name[:80]}-{fingerprint([self._path])}",
            utc_minus_mono_ns=self._base_ns,
            clock=ClockQuality(
                synchronised=False, source="recording" if self._has_wall_time else "none"
            ),
            camera_channels=(self._channel,),
        )

    def samples(self) -> Iterator[Sample]:
        """Each call reads the file anew; `counts` are those of the newest."""
        counts: Counter[str] = Counter()
        self.counts = counts
        video = self._open()
        times = PictureTimes(video.rate)
        thinning = Thinning(self._max_hz)
        first_ns: int | None = None
        begun = False
        try:
            for picture in video.pictures(counts):
                at_ns = times.next_ns(picture.ticks, picture.base)
                if self._own_times is not None and picture.ticks is not None:
                    at_ns = self._own_times[picture.ticks] - self._base_ns
                else:
                    first_ns = at_ns if first_ns is None else first_ns
                    at_ns += START_NS - first_ns
                if not thinning.keeps(at_ns):
                    continue
                if self._calibration is not None and not begun:
                    yield self._calibration.sample(self._channel, at_ns)
                begun = True
                yield _image(self._channel, at_ns, picture)
            if video.length_ns is not None and times.span_ns < video.length_ns - MISSING_END_NS:
                raise CorruptError(
                    f"the video breaks off: {times.span_ns / NS_PER_S:.2f} of "
                    f"{video.length_ns / NS_PER_S:.2f} s could be read",
                    str(self._path),
                )
        finally:
            video.close()
            counts["pictures without time"] += times.untimed
            counts["pictures that went back"] += times.turned_back
            log.info("camera source ended", channel=self._channel, counts=_told(counts))


class CameraStreamSource:
    """`LiveSource` over a device or URL. Attributes: `counts`; `gaps`: how often it was lost.

    Args:
        open_video: opens the stream; while it raises `TransientError` it is waited for.
        latency_ns: what passes between exposure and arrival, taken off.
        wait: waits for seconds, True as soon as the source is stopped.
    """

    def __init__(
        self,
        open_video: Callable[[], Video],
        channel: str,
        *,
        calibration: CalibrationFile | None = None,
        max_hz: float | None = None,
        latency_ns: int = 0,
        give_up_ns: int = GIVE_UP_NS,
        clock: Clock | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._open_video = open_video
        self._channel = channel
        self._calibration = calibration
        self._thinning = Thinning(max_hz)
        self._time = LiveTime(latency_ns)
        self._give_up_ns = give_up_ns
        self._clock = clock or SystemClock()
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self.counts: Counter[str] = Counter()
        self.gaps = 0
        self._begun = False
        name = channel.removeprefix("/camera/")
        self._description = SourceDescription(
            drive_id=as_name(f"camera-{name}-{self._clock.utc_ns() // NS_PER_S}"),
            boot_id=machine_boot_id(),
            utc_minus_mono_ns=self._clock.utc_ns() - self._clock.mono_ns(),
            clock=machine_clock_quality(),
            camera_channels=(channel,),
        )
        self._video: Video | None = None
        try:
            self._video = open_video()
        except TransientError as error:
            self.counts["cannot be opened"] += 1
            log.error("camera is away at the start", channel=channel, reason=str(error))

    def describe(self) -> SourceDescription:
        return self._description

    def stop(self) -> None:
        """End `samples()` before its next picture. Any thread."""
        self._stopped.set()

    def samples(self) -> Iterator[Sample]:
        """Pictures as they come; called again after its end, it opens the stream anew."""
        backoff = Backoff()
        seen_ns = self._clock.mono_ns()
        try:
            while not self._stopped.is_set():
                for sample in self._stretch():
                    backoff.reset()
                    seen_ns = self._clock.mono_ns()
                    yield sample
                if self._stopped.is_set():
                    return
                if self._clock.mono_ns() - seen_ns >= self._give_up_ns:
                    log.warning("camera given up", channel=self._channel)
                    return
                pause_s = backoff.next_s()
                log.warning("camera lost", channel=self._channel, pause_s=pause_s)
                self._wait(pause_s)
        finally:
            self._close()
            self.counts["clock set"] += self._time.jumps
            log.info("camera source ended", channel=self._channel, counts=_told(self.counts))

    def _stretch(self) -> Iterator[Sample]:
        """Pictures until the stream ends or fails, or is stopped."""
        if self._video is None:
            try:
                self._video = self._open_video()
            except (TransientError, InputError) as error:
                self.counts["cannot be opened"] += 1
                log.info("camera still away", channel=self._channel, reason=error.message)
                return
            self._time.restart()
        times = PictureTimes(self._video.rate)
        try:
            for picture in self._video.pictures(self.counts):
                if self._stopped.is_set():
                    return
                now_ns = self._clock.mono_ns()
                stream_ns = times.next_ns(picture.ticks, picture.base)
                at_ns = self._time.mono_ns(stream_ns, now_ns)
                if not self._thinning.keeps(at_ns):
                    continue
                if self._calibration is not None and not self._begun:
                    yield self._calibration.sample(self._channel, at_ns)
                self._begun = True
                yield _image(self._channel, at_ns, picture)
        except CorruptError as error:
            self.counts["stream failed"] += 1
            log.info("stream failed", channel=self._channel, reason=error.message)
        finally:
            self._close()
            self.counts["pictures without time"] += times.untimed
            self.counts["pictures that went back"] += times.turned_back
        self.gaps += 1

    def _close(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()


def _image(channel: str, at_ns: int, picture: Picture) -> ImageSample:
    return ImageSample(
        channel, at_ns, "jpeg", picture.content(), picture.width, picture.height,
        "camera_" + channel.removeprefix("/camera/"),
    )  # fmt: skip


def _told(counts: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items()) if count}
