"""Each sample goes into the drive, or it is told why not.

Guarantees: a failure while a sample is taken costs that sample and no other; only when nothing
gets through any more does the drive end. A parked vehicle and one in a no-record zone record
nothing: open windows close as they begin, so that what came before is kept, and the ring gets
nothing until they are over. What describes the sensors (calibration, mounts) always passes.

`take` and `finish` are the drive's thread's; `park` and `resume` may be called from another, also
while the drive's thread waits for a source that is silent.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from contracts.clock import NS_PER_S
from contracts.samples import CalibrationSample, FixSample, MountSample, Sample, SignalSample
from edge_agent.drive.drive import MAX_SILENCE_NS
from edge_agent.drive.ring import Ring
from edge_agent.redaction.zones import ZoneGuard
from edge_agent.runtime import DriveRuntime
from edge_agent.supervisor.supervisor import Restarts
from edge_agent.supervisor.watchdog import DriveBeat
from kernels.clip.encoding import encode_log

TASK = "drive"
FAILURES_IN_A_ROW = 200
"""About a second of a vehicle's samples: when none of them gets through, the drive is broken."""
PARKED = "parked"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Gaps:
    """Silences of the whole source."""

    count: int = 0
    total_ns: int = 0


class SupervisedDrive:
    """Feeds a runtime.

    Args:
        ring: takes a line where recording stops and where it goes on.
        utc_minus_mono_ns: the drive's, for those lines.
        guard: follows the vehicle about no-record zones, None without any.
        close_log: ends the signal log's file.

    Attributes:
        not_recorded: samples left out whole, by reason.
        beat: what the drive's thread is at, for the watchdog.
    """

    def __init__(
        self,
        runtime: DriveRuntime,
        ring: Ring,
        utc_minus_mono_ns: int,
        guard: ZoneGuard | None,
        restarts: Restarts,
        close_log: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._ring = ring
        self._offset_ns = utc_minus_mono_ns
        self._guard = guard
        self._restarts = restarts
        self._close_log = close_log
        self._lock = threading.Lock()
        self._parked = False
        self._zone = guard.state(0).reason if guard is not None else ""
        self._lat: tuple[int, float] | None = None
        self._newest_ns: int | None = None
        self._failures = 0
        self.not_recorded: Counter[str] = Counter()
        self.gaps = Gaps()
        self.beat = DriveBeat()

    @property
    def not_recording(self) -> str:
        """Why nothing is recorded now, empty when it is."""
        return PARKED if self._parked else self._zone

    def take(self, sample: Sample) -> bool:
        """Feed one sample. False: the drive is broken and has to end."""
        with self._lock:
            self._see_gap(sample.mono_ns)
            if self._parked:
                self.not_recorded[PARKED] += 1
                return True
            self.beat.now("working")
            try:
                if self._may_record(sample):
                    self._runtime.feed(sample)
                else:
                    self.not_recorded[self._zone] += 1
                self._failures = 0
            except Exception as error:
                self.not_recorded["failure"] += 1
                # The first is news; after that every power of ten is.
                if str(self.not_recorded["failure"]).strip("0") == "1":
                    log.exception("a sample was lost", sample=type(sample).__name__)
                return self._lose(error)
            self.beat.now("waiting")
            return True

    def finish(self) -> None:
        """The drive is over."""
        with self._lock:
            if not self._parked:
                self._runtime.finish(self._close_log)
            self.beat.now("over")

    def park(self) -> None:
        """Close open windows, and record nothing until `resume`. Any thread; may block."""
        with self._lock:
            if not self._parked and self.beat.activity != "over":
                self._parked = True
                self._runtime.finish(self._close_log)
                self.beat.now("pausing")

    def resume(self) -> None:
        """Record again. Any thread."""
        with self._lock:
            if self._parked:
                self._parked = False
                self._newest_ns = None  # what was parked through is no gap of the source
                self.beat.now("waiting")

    def _see_gap(self, now_ns: int) -> None:
        newest_ns = self._newest_ns
        if newest_ns is not None and now_ns - newest_ns > MAX_SILENCE_NS:
            self.gaps.count += 1
            self.gaps.total_ns += now_ns - newest_ns
            log.warning("source was silent", seconds=round((now_ns - newest_ns) / NS_PER_S, 3))
        self._newest_ns = now_ns if newest_ns is None else max(newest_ns, now_ns)

    def _lose(self, error: Exception) -> bool:
        """Go on after a sample that could not be taken, unless too many of them could not."""
        self._failures += 1
        self._restarts.lost(TASK)
        self.beat.now("waiting")
        if self._failures < FAILURES_IN_A_ROW:
            return True
        reason = f"{type(error).__name__}: {error}"
        self._restarts.end(f"{self._failures} samples in a row failed, last: {reason}")
        return False

    def _may_record(self, sample: Sample) -> bool:
        if self._guard is None or isinstance(sample, CalibrationSample | MountSample):
            return True
        self._locate(self._guard, sample)
        state = self._guard.state(sample.mono_ns)
        if state.reason != self._zone:
            self._crossed(state.reason, sample.mono_ns)
        return state.recording

    def _locate(self, guard: ZoneGuard, sample: Sample) -> None:
        """Take a fix, or the two signals of one, or how fast the vehicle goes."""
        match sample:
            case FixSample(mono_ns=at_ns, lat_deg=lat, lon_deg=lon):
                _fix(guard, at_ns, lat, lon)
            case SignalSample(name="ego.speed_mps", mono_ns=at_ns, value=speed):
                guard.speed(at_ns, speed)
            case SignalSample(name="gnss.lat_deg", mono_ns=at_ns, value=lat):
                self._lat = at_ns, lat
            case SignalSample(name="gnss.lon_deg", mono_ns=at_ns, value=lon):
                if self._lat is not None and self._lat[0] == at_ns:
                    _fix(guard, at_ns, self._lat[1], lon)

    def _crossed(self, reason: str, now_ns: int) -> None:
        """Recording stops, goes on, or stays off for another reason."""
        was, self._zone = self._zone, reason
        log.info("recording", on=not reason, why=reason or was)
        if was and reason:
            return
        told = f"recording stopped: {reason}" if reason else f"recording goes on after: {was}"
        self._ring.push(encode_log(now_ns, self._offset_ns, "no-record zone", told))
        if reason:
            self._runtime.drive.finish()


def _fix(guard: ZoneGuard, at_ns: int, lat_deg: float, lon_deg: float) -> None:
    # What is not on Earth, NaN included, is no fix; the door counts it when it is recorded.
    if abs(lat_deg) <= 90.0 and abs(lon_deg) <= 180.0:
        guard.fix(at_ns, lat_deg, lon_deg)
