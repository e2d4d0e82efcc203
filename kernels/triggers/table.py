"""Trigger specs as arrays: one row a spec, ready for the step kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.expression import Node, parse_expression, signals_read
from contracts.signals import CATALOGUE
from contracts.trigger_spec import (
    DisengagementSpec,
    ExpressionSpec,
    HardAccelSpec,
    HardBrakeSpec,
    JerkSpec,
    LoadedSpec,
    LowConfidenceSpec,
    NoveltySpec,
    OperatorBookmarkSpec,
    PlannerDivergenceSpec,
    RandomBaselineSpec,
    RareClassSpec,
    SensorDisagreementSpec,
    ShadowDisagreementSpec,
    SimilarToSpec,
    SwerveSpec,
    TrackFlickerSpec,
    TriggerSpec,
    TtcSpec,
    UnknownObjectSpec,
)
from kernels.rules import Program, compile_rules
from kernels.triggers import layout as at

Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class TriggerTable:
    """A set of specs, and where their conditions stand. Rows follow the specs' order.

    `rows` `layout.ROW` [rows], `members` float64 [rows, classes] tell which scores of a frame
    each looks at, `program` has the rules.
    """

    rows: Rows
    members: NDArray[np.float64]
    program: Program
    rule_signals: tuple[tuple[str, ...], ...]


def required_signals(spec: TriggerSpec) -> tuple[str, ...]:
    """Catalogued signals without which this spec can never fire."""
    match spec:
        case ExpressionSpec():
            rows = sorted(signals_read(parse_expression(spec.when)))
            return tuple(CATALOGUE[row].name for row in rows)
        case UnknownObjectSpec(when=w):
            return _looked_at(
                (w.points, "perception.unexplained_points"),
                (w.probability, "perception.unknown_probability"),
            )
        case SensorDisagreementSpec(when=w):
            return _looked_at(
                (w.missed, "perception.lidar_missed"), (w.drift_rad, "calibration.drift_rad")
            )
        case OperatorBookmarkSpec(when=w):
            return ("driver.bookmark",) if w.source == "button" else ()
    return at.REQUIRED_SIGNALS[spec.kind]


def signals_wanted(specs: Iterable[LoadedSpec]) -> frozenset[str]:
    """All signals that any of these specs cannot do without."""
    return frozenset(name for loaded in specs for name in required_signals(loaded.spec))


def _looked_at(*bounds: tuple[float | None, str]) -> tuple[str, ...]:
    return tuple(name for bound, name in bounds if bound is not None)


def _or_nan(bound: float | None) -> float:
    return float("nan") if bound is None else float(bound)


def _params(spec: TriggerSpec) -> list[float]:
    match spec:
        case HardBrakeSpec(when=w):
            return [w.decel_mps2, w.filter_s]
        case HardAccelSpec(when=w):
            return [w.accel_mps2, w.filter_s]
        case SwerveSpec(when=w):
            return [
                w.lat_accel_mps2, w.yaw_rate_radps, w.reversal_s, w.min_speed_mps, w.filter_s,
            ]  # fmt: skip
        case JerkSpec(when=w):
            return [w.jerk_mps3, w.filter_s]
        case DisengagementSpec(when=w):
            return [float(sum(1 << at.CAUSES.index(cause) for cause in set(w.causes)))]
        case LowConfidenceSpec(when=w):
            return [w.uncertainty, w.margin, w.min_objects, w.frames, w.of_frames]
        case RareClassSpec(when=w):
            return [w.probability, w.frames, w.of_frames]
        case SimilarToSpec(when=w):
            return [w.similarity, w.frames, w.of_frames]
        case TtcSpec(when=w):
            return [w.ttc_s, w.min_speed_mps]
        case RandomBaselineSpec(when=w):
            return [w.probability, w.slot_s, float(w.seed & 0xFFFFFFFF), float(w.seed >> 32)]
        case PlannerDivergenceSpec(when=w):
            return [w.ade_m, w.fde_m, w.min_speed_mps]
        case NoveltySpec(when=w):
            return [w.distance, w.frames, w.of_frames]
        case TrackFlickerSpec(when=w):
            return [w.flickers, w.frames, w.of_frames]
        case UnknownObjectSpec(when=w):
            return [
                _or_nan(w.points), w.within_m, _or_nan(w.probability), w.frames, w.of_frames,
            ]  # fmt: skip
        case SensorDisagreementSpec(when=w):
            return [_or_nan(w.missed), w.share, _or_nan(w.drift_rad), w.frames, w.of_frames]
        case ShadowDisagreementSpec(when=w):
            return [w.disagreement, w.frames, w.of_frames]
        case OperatorBookmarkSpec(when=w):
            return [float(w.source == "remote"), w.lasts / NS_PER_S]
        case ExpressionSpec():
            return []
    raise InputError(f"kind {spec.kind!r} has no condition")


def _members(spec: TriggerSpec, class_names: Sequence[str]) -> list[float]:
    wanted = _wanted(spec)
    return [float(name in wanted) for name in class_names]


def _wanted(spec: TriggerSpec) -> tuple[str, ...]:
    """The scores of a frame that a spec looks at, by name."""
    match spec:
        case RareClassSpec(when=w):
            return w.classes
        case SimilarToSpec(when=w):
            return (w.column,)
        case NoveltySpec(when=w):
            return (w.column,)
    return ()


def unknown_classes(spec: TriggerSpec, class_names: Sequence[str]) -> tuple[str, ...]:
    """Classes that a spec names and the running model does not know, or the reference to which
    no likeness is told.
    """
    return tuple(name for name in _wanted(spec) if name not in class_names)


def build_table(specs: Sequence[LoadedSpec], class_names: Sequence[str]) -> TriggerTable:
    """Compile specs to a table. Raises `InputError` for a rule that does not compile.

    `class_names` are those of a frame's scores: the model's classes, then the columns of
    references (`kernels.triggers.likeness`).
    """
    rows = rows_of(len(specs))
    members = np.zeros((len(specs), max(1, len(class_names))))
    rules: list[Node] = []
    rule_signals: list[tuple[str, ...]] = []
    for i, loaded in enumerate(specs):
        spec = loaded.spec
        rows["kind"][i] = at.KIND_CODES[spec.kind]
        values = _params(spec)
        rows["params"][i, : len(values)] = values
        members[i, : len(class_names)] = _members(spec, class_names)
        rows["hold_ns"][i] = spec.hold
        if spec.mode == "level":
            rows["refire_ns"][i] = max(spec.cooldown, NS_PER_S // 1000)
        if isinstance(spec, ExpressionSpec):
            rows["rule"][i] = len(rules)
            rules.append(parse_expression(spec.when))
        rule_signals.append(required_signals(spec))
    return TriggerTable(rows, members, compile_rules(rules), tuple(rule_signals))


def rows_of(count: int) -> Rows:
    """So many rows of specs without a rule or a hold, that have seen nothing yet."""
    rows = np.zeros(count, at.ROW)
    for name in ("rule", "refire_ns", "since_ns", "fired_ns"):
        rows[name] = -1
    for name in ("condition", "state"):
        rows[name] = np.nan
    return rows
