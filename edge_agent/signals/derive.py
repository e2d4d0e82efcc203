"""The signal table: newest value of every catalogued signal, and those derived from others.

Guarantees: a trigger sees NaN for a signal that is absent or older than its `max_age_s`. A
signal that the vehicle measures itself is never derived over.

Slopes (acceleration from speed, jerk from acceleration) are least-squares fits over a short
trailing window: unlike a difference of two samples their noise does not depend on the rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.samples import PerceptionFrame, SignalSample
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from edge_agent.signals.frame_signals import DRIFT, MISSED, UNEXPLAINED
from edge_agent.signals.plan_match import Divergence
from kernels.triggers.likeness import NO_REFERENCES, References

ACCEL_WINDOW_S = 0.4
JERK_WINDOW_S = 0.3
MIN_CLOSING_MPS = 0.1
_HISTORY = 256

_SPEED = SIGNAL_INDEX["ego.speed_mps"]
_ACCEL = SIGNAL_INDEX["ego.accel_mps2"]
_DECEL = SIGNAL_INDEX["ego.decel_mps2"]
_JERK = SIGNAL_INDEX["ego.jerk_mps3"]
_YAW_RATE = SIGNAL_INDEX["ego.yaw_rate_radps"]
_LAT_ACCEL = SIGNAL_INDEX["ego.lat_accel_mps2"]
_DISTANCE = SIGNAL_INDEX["lead.distance_m"]
_CLOSING = SIGNAL_INDEX["lead.closing_mps"]
_TTC = SIGNAL_INDEX["lead.ttc_s"]


@njit(cache=True, nogil=True)
def push_and_slope(
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    count: int,
    t_s: float,
    value: float,
    window_s: float,
) -> tuple[int, float]:
    """Append to a history and fit a line to its trailing window.

    `times_s` and `values` float64 [h] hold `count` samples, oldest first. Gives the new count
    and the slope in units per second; NaN until the window is at least half filled.
    """
    first = 0
    while first < count and times_s[first] < t_s - window_s:
        first += 1
    if count - first == len(times_s):
        first += 1
    kept = count - first
    for i in range(kept):
        times_s[i] = times_s[first + i]
        values[i] = values[first + i]
    times_s[kept] = t_s
    values[kept] = value
    kept += 1
    if kept < 3 or t_s - times_s[0] < 0.5 * window_s:
        return kept, np.nan
    mean_t = np.mean(times_s[:kept])
    mean_v = np.mean(values[:kept])
    over = 0.0
    under = 0.0
    for i in range(kept):
        over += (times_s[i] - mean_t) * (values[i] - mean_v)
        under += (times_s[i] - mean_t) ** 2
    return kept, over / under


class _Slope:
    """Trailing-window derivative of one signal."""

    def __init__(self, window_s: float) -> None:
        self._times_s = np.zeros(_HISTORY)
        self._values = np.zeros(_HISTORY)
        self._count = 0
        self._start_ns: int | None = None
        self._last_ns = 0
        self._window_s = window_s

    def push(self, mono_ns: int, value: float) -> float:
        if self._start_ns is None:
            self._start_ns = mono_ns
        elif mono_ns <= self._last_ns:
            return float("nan")
        self._last_ns = mono_ns
        self._count, slope = push_and_slope(
            self._times_s, self._values, self._count, (mono_ns - self._start_ns) / NS_PER_S,
            value, self._window_s,
        )  # fmt: skip
        return float(slope)


class SignalTable:
    """Newest values, float64 [catalogue], with their times.

    Args:
        measured: names that the source publishes; these are never derived.
        class_names: the running model's classes, in the order of `class_scores`.
        references: scenes the likeness to which stands behind the classes.
    """

    def __init__(
        self,
        measured: frozenset[str],
        class_names: tuple[str, ...] = (),
        references: References = NO_REFERENCES,
    ) -> None:
        self._values = np.full(len(CATALOGUE), np.nan)
        self._stamps_ns = np.full(len(CATALOGUE), np.iinfo(np.int64).min // 2)
        self._max_age_ns = np.array([round(s.max_age_s * NS_PER_S) for s in CATALOGUE])
        self._derives = frozenset(range(len(CATALOGUE))) - {
            SIGNAL_INDEX[name] for name in measured if name in SIGNAL_INDEX
        }
        self._accel = _Slope(ACCEL_WINDOW_S)
        self._jerk = _Slope(JERK_WINDOW_S)
        self.frame_number = 0
        self.horizon_s = 0.0
        self.set_classes(class_names, references)

    def set_classes(
        self, class_names: tuple[str, ...], references: References = NO_REFERENCES
    ) -> None:
        """Another model runs: its classes, none of them seen yet. Signals and times stay."""
        self._references = dict(references)
        self._class_rows = {name: i for i, name in enumerate(class_names)}
        self.class_scores = np.zeros(max(1, len(class_names) + len(references)))

    def set_references(self, references: References) -> None:
        """The same model goes on beside other references; what it has seen of classes stays."""
        known = dict(zip(self._references, self._likenesses().tolist(), strict=True))
        classes, seen = tuple(self._class_rows), self.class_scores
        self.set_classes(classes, references)
        self.class_scores[: len(classes)] = seen[: len(classes)]
        self._likenesses()[:] = [known.get(name, 0.0) for name in references]

    def _likenesses(self) -> NDArray[np.float64]:
        """The columns [references] of `class_scores` behind the classes."""
        first = len(self._class_rows)
        return self.class_scores[first : first + len(self._references)]

    def put(self, sample: SignalSample) -> list[SignalSample]:
        """Take a checked sample; gives the signals derived from it, to be recorded beside it."""
        derived: list[SignalSample] = []
        self._put(SIGNAL_INDEX[sample.name], sample.mono_ns, sample.value, derived)
        return derived

    def _put(self, row: int, mono_ns: int, value: float, derived: list[SignalSample]) -> None:
        self._values[row] = value
        self._stamps_ns[row] = mono_ns
        if row == _SPEED:
            self._derive(_ACCEL, mono_ns, self._accel_of(mono_ns, value), derived)
            self._derive_lateral(mono_ns, derived)
        elif row == _YAW_RATE:
            self._derive_lateral(mono_ns, derived)
        elif row == _ACCEL:
            self._derive(_DECEL, mono_ns, -value, derived)
            self._derive(_JERK, mono_ns, self._jerk.push(mono_ns, value), derived)
        elif row in (_DISTANCE, _CLOSING):
            self._derive_ttc(mono_ns, derived)

    def _derive(self, row: int, mono_ns: int, value: float, derived: list[SignalSample]) -> None:
        signal = CATALOGUE[row]
        if row not in self._derives or not signal.low <= value <= signal.high:
            return
        derived.append(SignalSample(signal.name, mono_ns, value))
        self._put(row, mono_ns, value, derived)

    def _accel_of(self, mono_ns: int, speed_mps: float) -> float:
        return self._accel.push(mono_ns, speed_mps) if _ACCEL in self._derives else float("nan")

    def _derive_lateral(self, mono_ns: int, derived: list[SignalSample]) -> None:
        lateral_mps2 = self._fresh(_SPEED, mono_ns) * self._fresh(_YAW_RATE, mono_ns)
        self._derive(_LAT_ACCEL, mono_ns, lateral_mps2, derived)

    def _derive_ttc(self, mono_ns: int, derived: list[SignalSample]) -> None:
        closing_mps = self._fresh(_CLOSING, mono_ns)
        if closing_mps > MIN_CLOSING_MPS:
            ttc_s = self._fresh(_DISTANCE, mono_ns) / closing_mps
            self._derive(_TTC, mono_ns, ttc_s, derived)
        elif _TTC in self._derives:
            self._values[_TTC] = np.nan

    def put_perception(self, frame: PerceptionFrame) -> list[SignalSample]:
        """Take what the model saw; gives the frame's signals."""
        self.frame_number += 1
        self.class_scores[:] = 0.0
        for found in frame.detections:
            row = self._class_rows.get(found.class_name)
            if row is not None:
                self.class_scores[row] = max(self.class_scores[row], found.probability)
        self._likenesses()[:] = [one.likeness(frame) for one in self._references.values()]
        derived: list[SignalSample] = []
        row = SIGNAL_INDEX["perception.object_count"]
        self._derive(row, frame.mono_ns, float(len(frame.detections)), derived)
        if frame.detections:
            for name, value in (("uncertainty", frame.uncertainty), ("margin", frame.margin)):
                self._derive(SIGNAL_INDEX[f"perception.{name}"], frame.mono_ns, value, derived)
        else:
            self._values[SIGNAL_INDEX["perception.uncertainty"]] = np.nan
            self._values[SIGNAL_INDEX["perception.margin"]] = np.nan
        return derived

    def misfits(self, frame: PerceptionFrame) -> list[str]:
        """Columns of references that a frame of their own model cannot be compared with."""
        return [
            name for name, one in self._references.items()
            if frame.model_digest == one.space and not one.fits(frame)
        ]  # fmt: skip

    def put_derived(self, samples: Iterable[SignalSample]) -> list[SignalSample]:
        """Take signals that follow from others elsewhere (frames, a candidate model); gives those
        that the catalogue allows and the vehicle does not measure itself.
        """
        derived: list[SignalSample] = []
        for sample in samples:
            self._derive(SIGNAL_INDEX[sample.name], sample.mono_ns, sample.value, derived)
        return derived

    def put_divergence(self, divergence: Divergence) -> list[SignalSample]:
        """Take how far plan and drive have parted."""
        self.horizon_s = divergence.horizon_s
        derived: list[SignalSample] = []
        for name, value in (
            ("planner.ade_m", divergence.ade_m),
            ("planner.fde_m", divergence.fde_m),
        ):
            self._derive(SIGNAL_INDEX[name], divergence.mono_ns, value, derived)
        return derived

    def at(self, now_ns: int) -> NDArray[np.float64]:
        """Values as a trigger may see them now: NaN where absent or too old."""
        fresh = now_ns - self._stamps_ns <= self._max_age_ns
        return np.where(fresh, self._values, np.nan)

    def _fresh(self, row: int, now_ns: int) -> float:
        """One of `at`."""
        is_fresh = now_ns - int(self._stamps_ns[row]) <= int(self._max_age_ns[row])
        return float(self._values[row]) if is_fresh else math.nan


def available_signals(
    measured: frozenset[str],
    *,
    camera: bool,
    plan: bool,
    radar: bool,
    lidar: bool = False,
    pictures: bool = False,
    candidate: bool = False,
) -> frozenset[str]:
    """Which signals will exist: those measured and all that can be derived from them.

    Args:
        camera: a model looks at the road, `pictures`: cameras do; `candidate`: another model runs
            in shadow.
    """
    found = set(measured)
    if "ego.speed_mps" in found:
        found.add("ego.accel_mps2")
    if "ego.accel_mps2" in found:
        found |= {"ego.decel_mps2", "ego.jerk_mps3"}
    if {"ego.speed_mps", "ego.yaw_rate_radps"} <= found:
        found.add("ego.lat_accel_mps2")
    if {"lead.distance_m", "lead.closing_mps"} <= found or radar:
        found |= {"lead.distance_m", "lead.closing_mps", "lead.ttc_s"}
    if camera:
        of_lidar = {*UNEXPLAINED, *MISSED}
        seen = {s.name for s in CATALOGUE if s.name.startswith("perception.")}
        found |= seen if lidar else seen - of_lidar
        if candidate:
            found |= {s.name for s in CATALOGUE if s.name.startswith("shadow.")}
    if lidar and pictures:
        found.add(DRIFT)
    if plan:
        found |= {"planner.ade_m", "planner.fde_m"}
    return frozenset(found)
