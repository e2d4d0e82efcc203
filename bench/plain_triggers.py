"""The built-in triggers in plain Python: the peer that the step kernel is measured against.

The same arithmetic on floats, one small class a kind, as one would write it without numba; a
test holds it to the kernel's fires, tick by tick. It keeps no evidence, no scores and no thresholds
that adapt, so it does a little less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from contracts.ids import sha256_hex
from contracts.signals import SIGNAL_INDEX
from contracts.trigger_spec import (
    DisengagementSpec,
    HardAccelSpec,
    HardBrakeSpec,
    JerkSpec,
    LoadedSpec,
    LowConfidenceSpec,
    OperatorBookmarkSpec,
    PlannerDivergenceSpec,
    RandomBaselineSpec,
    RareClassSpec,
    SensorDisagreementSpec,
    ShadowDisagreementSpec,
    SwerveSpec,
    TrackFlickerSpec,
    TriggerSpec,
    TtcSpec,
    UnknownObjectSpec,
)
from contracts.trigger_when import KOfN
from kernels.triggers.layout import CAUSE_LOOKBACK_NS, CAUSES

ROW = SIGNAL_INDEX
_NAN = math.nan
_MASK = 2**64 - 1


class Tick:
    """What a condition sees: `values` by catalogue row, NaN where absent."""

    __slots__ = ("class_scores", "dt_s", "new_frame", "now_ns", "since_start_s", "values")

    def __init__(self) -> None:
        self.values: Sequence[float] = ()
        self.class_scores: Sequence[float] = ()
        self.now_ns = 0
        self.since_start_s = 0.0
        self.dt_s = 0.0
        self.new_frame = False


Condition = Callable[[Tick], bool]


class PlainTriggers:
    """A set of built-in specs with its state; `step` gives the rows that fire."""

    def __init__(
        self, specs: Sequence[LoadedSpec], drive: str, class_names: Sequence[str] = ()
    ) -> None:
        key = int(sha256_hex(drive.encode())[:16], 16)
        self._rows = [_Row(each.spec, _condition(each.spec, key, class_names)) for each in specs]
        self._tick = Tick()
        self._start_ns: int | None = None
        self._frame = 0

    def step(
        self, now_ns: int, values: Sequence[float], class_scores: Sequence[float], frame: int
    ) -> list[int]:
        tick = self._tick
        if self._start_ns is None:
            self._start_ns = tick.now_ns = now_ns
        tick.values, tick.class_scores = values, class_scores
        tick.since_start_s = (now_ns - self._start_ns) / 1e9
        tick.dt_s = (now_ns - tick.now_ns) / 1e9
        tick.new_frame = frame != self._frame
        tick.now_ns = now_ns
        self._frame = frame
        return [row for row, each in enumerate(self._rows) if each.fires(tick)]


class _Row:
    """Hold time, edge and level of one spec."""

    def __init__(self, spec: TriggerSpec, condition: Condition) -> None:
        self._condition = condition
        self._hold_ns = spec.hold
        self._refire_ns = max(spec.cooldown, 1_000_000) if spec.mode == "level" else None
        self._since_ns: int | None = None
        self._fired_ns: int | None = None

    def fires(self, tick: Tick) -> bool:
        if not self._condition(tick):
            self._since_ns = self._fired_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = tick.now_ns
        if tick.now_ns - self._since_ns < self._hold_ns:
            return False
        if self._fired_ns is not None and (
            self._refire_ns is None or tick.now_ns - self._fired_ns < self._refire_ns
        ):
            return False
        self._fired_ns = tick.now_ns
        return True


class _LowPass:
    def __init__(self, tau_s: float) -> None:
        self._tau_s = tau_s
        self._value = _NAN

    def push(self, x: float, dt_s: float) -> float:
        if math.isnan(x) or math.isnan(self._value) or self._tau_s <= 0:
            self._value = x
        else:
            self._value += (1 - math.exp(-dt_s / self._tau_s)) * (x - self._value)
        return self._value


class _KOfN:
    def __init__(self, frames: int, of_frames: int) -> None:
        self._frames = frames
        self._mask = (1 << of_frames) - 1
        self._history = 0

    def push(self, hit: bool) -> None:
        self._history = ((self._history << 1) | hit) & self._mask

    def clear(self) -> None:
        self._history = 0

    def holds(self) -> bool:
        return self._history.bit_count() >= self._frames


def _condition(spec: TriggerSpec, drive_key: int, class_names: Sequence[str]) -> Condition:
    match spec:
        case HardBrakeSpec(when=w):
            return _beyond(ROW["ego.accel_mps2"], lambda x: -x, w.decel_mps2, w.filter_s)
        case HardAccelSpec(when=w):
            return _beyond(ROW["ego.accel_mps2"], lambda x: x, w.accel_mps2, w.filter_s)
        case JerkSpec():
            return _jerk(spec)
        case SwerveSpec():
            return _Swerve(spec)
        case DisengagementSpec():
            return _Disengagement(spec)
        case LowConfidenceSpec():
            return _low_confidence(spec)
        case RareClassSpec():
            return _rare_class(spec, class_names)
        case TtcSpec():
            return _ttc(spec)
        case RandomBaselineSpec():
            return _random_baseline(spec, drive_key)
        case PlannerDivergenceSpec():
            return _planner_divergence(spec)
        case TrackFlickerSpec(when=w):
            row, least = ROW["perception.flickers"], float(w.flickers)
            return _in_frames(w, lambda v: None if math.isnan(v[row]) else v[row] >= least)
        case UnknownObjectSpec(when=w):
            return _in_frames(w, _unexplained(spec))
        case SensorDisagreementSpec(when=w):
            return _in_frames(w, _seen_through(spec))
        case ShadowDisagreementSpec():
            return _shadow_disagreement(spec)
        case OperatorBookmarkSpec():
            button = ROW["driver.bookmark"]
            return lambda tick: tick.values[button] > 0.5
    raise ValueError(f"{spec.kind} is not built in")


def _beyond(row: int, sign: Callable[[float], float], bound: float, tau_s: float) -> Condition:
    low_pass = _LowPass(tau_s)
    return lambda tick: low_pass.push(sign(tick.values[row]), tick.dt_s) > bound


def _jerk(spec: JerkSpec) -> Condition:
    low_pass, bound, row = _LowPass(spec.when.filter_s), spec.when.jerk_mps3, ROW["ego.jerk_mps3"]
    return lambda tick: abs(low_pass.push(tick.values[row], tick.dt_s)) > bound


class _Swerve:
    def __init__(self, spec: SwerveSpec) -> None:
        self._when = spec.when
        self._lateral, self._yaw = _LowPass(spec.when.filter_s), _LowPass(spec.when.filter_s)
        self._left_s = self._right_s = _NAN

    def __call__(self, tick: Tick) -> bool:
        when, values = self._when, tick.values
        lateral = self._lateral.push(values[ROW["ego.lat_accel_mps2"]], tick.dt_s)
        yaw = self._yaw.push(values[ROW["ego.yaw_rate_radps"]], tick.dt_s)
        speed = values[ROW["ego.speed_mps"]]
        beyond = abs(lateral) > when.lat_accel_mps2
        if math.isnan(yaw) or math.isnan(speed) or speed < when.min_speed_mps:
            self._left_s = self._right_s = _NAN
            return beyond
        since_other_s = _NAN
        if yaw > when.yaw_rate_radps:
            self._left_s = tick.since_start_s
            since_other_s = tick.since_start_s - self._right_s
        elif yaw < -when.yaw_rate_radps:
            self._right_s = tick.since_start_s
            since_other_s = tick.since_start_s - self._left_s
        return beyond or since_other_s <= when.reversal_s


class _Disengagement:
    def __init__(self, spec: DisengagementSpec) -> None:
        self._causes = frozenset(spec.when.causes)
        self._engaged = False
        self._counts: bool | None = None
        self._pressed_ns = dict.fromkeys(CAUSES, -(2**62))

    def __call__(self, tick: Tick) -> bool:
        values = tick.values
        for name, signal in (
            ("driver_brake", "driver.brake_pressed"), ("driver_steer", "driver.steer_override"),
            ("driver_gas", "driver.gas_pressed"),
        ):  # fmt: skip
            if values[ROW[signal]] > 0.5:
                self._pressed_ns[name] = tick.now_ns
        engaged = values[ROW["autonomy.engaged"]]
        if math.isnan(engaged) or engaged > 0.5:
            self._counts = None
        elif self._engaged:
            self._counts = self._cause(tick) in self._causes
        self._engaged = engaged > 0.5
        return bool(self._counts)

    def _cause(self, tick: Tick) -> str:
        if tick.values[ROW["autonomy.emergency_stop"]] > 0.5:
            return "emergency_stop"
        if tick.values[ROW["autonomy.fault"]] > 0.5:
            return "system"
        recent = (n for n, at in self._pressed_ns.items() if at >= tick.now_ns - CAUSE_LOOKBACK_NS)
        return next(recent, "system")


def _low_confidence(spec: LowConfidenceSpec) -> Condition:
    when, seen = spec.when, _KOfN(spec.when.frames, spec.when.of_frames)

    def condition(tick: Tick) -> bool:
        objects = tick.values[ROW["perception.object_count"]]
        if math.isnan(objects):
            seen.clear()
            return False
        if tick.new_frame:
            unsure = tick.values[ROW["perception.uncertainty"]] > when.uncertainty
            close = tick.values[ROW["perception.margin"]] < when.margin
            seen.push(objects >= when.min_objects and (unsure or close))
        return seen.holds()

    return condition


Verdict = Callable[[Sequence[float]], bool | None]
"""Of one frame's values; None when it cannot be known."""


def _in_frames(when: KOfN, verdict: Verdict) -> Condition:
    seen = _KOfN(when.frames, when.of_frames)

    def condition(tick: Tick) -> bool:
        hit = verdict(tick.values)
        if hit is None:
            seen.clear()
            return False
        if tick.new_frame:
            seen.push(hit)
        return seen.holds()

    return condition


def _unexplained(spec: UnknownObjectSpec) -> Verdict:
    points, away = ROW["perception.unexplained_points"], ROW["perception.unexplained_m"]
    least, within_m = spec.when.points, spec.when.within_m

    def verdict(values: Sequence[float]) -> bool | None:
        if least is None or math.isnan(values[points]):
            return None
        return values[away] <= within_m and values[points] >= least

    return verdict


def _seen_through(spec: SensorDisagreementSpec) -> Verdict:
    missed, checked = ROW["perception.lidar_missed"], ROW["perception.lidar_checked"]
    least, share = spec.when.missed, spec.when.share

    def verdict(values: Sequence[float]) -> bool | None:
        if least is None or math.isnan(values[missed]) or math.isnan(values[checked]):
            return None
        return values[missed] >= share * values[checked] and values[missed] >= least

    return verdict


def _shadow_disagreement(spec: ShadowDisagreementSpec) -> Condition:
    when, seen, last = spec.when, _KOfN(spec.when.frames, spec.when.of_frames), math.nan

    def condition(tick: Tick) -> bool:
        nonlocal last
        share, frames = tick.values[ROW["shadow.disagreement"]], tick.values[ROW["shadow.frames"]]
        if math.isnan(share) or math.isnan(frames):
            seen.clear()
            last = math.nan
            return False
        if frames != last:
            seen.push(share >= when.disagreement)
            last = frames
        return seen.holds()

    return condition


def _rare_class(spec: RareClassSpec, class_names: Sequence[str]) -> Condition:
    when, seen = spec.when, _KOfN(spec.when.frames, spec.when.of_frames)
    rows = [row for row, name in enumerate(class_names) if name in when.classes]

    def condition(tick: Tick) -> bool:
        if tick.new_frame:
            best = max((tick.class_scores[row] for row in rows), default=0.0)
            seen.push(best >= when.probability)
        return seen.holds()

    return condition


def _ttc(spec: TtcSpec) -> Condition:
    when, row, speed = spec.when, ROW["lead.ttc_s"], ROW["ego.speed_mps"]
    return lambda t: t.values[row] < when.ttc_s and t.values[speed] > when.min_speed_mps


def _planner_divergence(spec: PlannerDivergenceSpec) -> Condition:
    when = spec.when

    def condition(tick: Tick) -> bool:
        ade, fde = tick.values[ROW["planner.ade_m"]], tick.values[ROW["planner.fde_m"]]
        speed = tick.values[ROW["ego.speed_mps"]]
        if math.isnan(ade) or math.isnan(fde) or speed <= when.min_speed_mps:
            return False
        return max(ade / when.ade_m, fde / when.fde_m) > 1.0

    return condition


def _random_baseline(spec: RandomBaselineSpec, drive_key: int) -> Condition:
    when, last = spec.when, -1

    def condition(tick: Tick) -> bool:
        nonlocal last
        slot = int(tick.since_start_s // when.slot_s)
        if slot == last:
            return False
        last = slot
        mixed = _splitmix64(_splitmix64(drive_key ^ _splitmix64(when.seed)) ^ slot)
        return (mixed >> 11) / 2.0**53 < when.probability

    return condition


def _splitmix64(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
