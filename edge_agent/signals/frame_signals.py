"""Signals that follow from what the model saw together with what else the vehicle senses.

Each is made only while a spec that runs (or counts in shadow) reads it, so that nobody pays for
what nobody asks. A signal that cannot be made (no sweep of that time, say) is not told, and the
signal table lets it grow absent.
"""

from __future__ import annotations

import numpy as np

from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    Sample,
    SignalSample,
)
from edge_agent.signals.drift_watch import DriftWatch
from edge_agent.signals.flicker import FlickerWatch
from edge_agent.signals.lidar_check import LidarCheck

FLICKERS = "perception.flickers"
UNKNOWN = "perception.unknown_probability"
UNEXPLAINED = ("perception.unexplained_points", "perception.unexplained_m")
MISSED = ("perception.lidar_missed", "perception.lidar_checked")
DRIFT = "calibration.drift_rad"
OF_FRAMES = frozenset({FLICKERS, UNKNOWN, *UNEXPLAINED, *MISSED, DRIFT})
"""What is made here; all but the first two need a lidar."""
_EGO = frozenset({"ego.speed_mps", "ego.yaw_rate_radps"})
LEAST_PROBABILITY = 0.2
MAX_AGE_NS = 500_000_000


class FrameSignals:
    """Makes the signals of `wanted`; used by the drive's thread.

    Samples are seen whether or not a signal is wanted now, so that one that comes to be wanted
    knows calibrations and mounts.
    """

    def __init__(self, wanted: frozenset[str] = frozenset()) -> None:
        self._flicker = FlickerWatch()
        self._lidar = LidarCheck()
        self._drift = DriftWatch()
        self._ego: dict[str, SignalSample] = {}
        self.want(wanted)

    def want(self, wanted: frozenset[str]) -> None:
        """From here on these signals are read."""
        self._wanted = wanted & OF_FRAMES

    def see(self, sample: Sample) -> list[SignalSample]:
        """Take a sample; signals that follow from it at once."""
        match sample:
            case SignalSample(name=name):
                if name in _EGO:
                    self._ego[name] = sample
            case MountSample() | CalibrationSample():
                self._lidar.see(sample)
                self._drift.see(sample)
            case ImageSample() if DRIFT in self._wanted:
                return self._drift_of(sample)
            case LidarSample() if self._wanted:
                self._lidar.see(sample)
                if DRIFT in self._wanted:
                    return self._drift_of(sample)
        return []

    def _drift_of(self, sample: ImageSample | LidarSample) -> list[SignalSample]:
        self._drift.see(sample)
        drift_rad = self._drift.look(self._now("ego.yaw_rate_radps", sample.mono_ns))
        return [] if drift_rad is None else [SignalSample(DRIFT, sample.mono_ns, drift_rad)]

    def begin(self, now_ns: int) -> None:
        """A frame of this instant is about to be judged: begin what needs nothing of it."""
        if not self._wanted.isdisjoint(UNEXPLAINED):
            speed_mps = self._now("ego.speed_mps", now_ns)
            yaw_radps = self._now("ego.yaw_rate_radps", now_ns)
            self._lidar.begin_unexplained(now_ns, speed_mps, yaw_radps)
        if not self._wanted.isdisjoint(MISSED):
            self._lidar.begin_missed(now_ns)

    def of(self, frame: PerceptionFrame) -> list[SignalSample]:
        """Signals of a frame that the model has judged."""
        found: dict[str, float] = {}
        speed_mps = self._now("ego.speed_mps", frame.mono_ns)
        yaw_radps = self._now("ego.yaw_rate_radps", frame.mono_ns)
        if FLICKERS in self._wanted:
            found[FLICKERS] = float(self._flicker.see(frame, speed_mps, yaw_radps))
        if UNKNOWN in self._wanted:
            found[UNKNOWN] = unknown_probability(frame)
        if not self._wanted.isdisjoint(UNEXPLAINED):
            cluster = self._lidar.unexplained(frame, speed_mps, yaw_radps)
            if cluster is not None:
                found[UNEXPLAINED[0]] = float(cluster[0])
                if np.isfinite(cluster[1]):
                    found[UNEXPLAINED[1]] = cluster[1]
        if not self._wanted.isdisjoint(MISSED):
            missed = self._lidar.missed(frame, speed_mps)
            if missed is not None:
                found[MISSED[0]], found[MISSED[1]] = float(missed[0]), float(missed[1])
        return [SignalSample(name, frame.mono_ns, value) for name, value in found.items()]

    def _now(self, name: str, now_ns: int) -> float:
        """The ego's speed or yaw rate; 0 where it is unknown, as of a vehicle that stands."""
        known = self._ego.get(name)
        return known.value if known and now_ns - known.mono_ns <= MAX_AGE_NS else 0.0


def unknown_probability(frame: PerceptionFrame) -> float:
    """Highest probability over the detections that something is there of another class than its
    best: P(anything) less P(best class), as `kernels.detection.presence` has the former. 0 of none.
    """
    found = [d for d in frame.detections if d.probability >= LEAST_PROBABILITY]
    most = 0.0
    for detection in found:
        spread = detection.distribution.astype(np.float64)
        total = float(spread.sum())
        share = float(spread.max()) / total if total > 0 else 1.0
        anything = min(1.0, detection.probability / share) if share > 0 else 0.0
        most = max(most, anything * (1.0 - share))
    return most
