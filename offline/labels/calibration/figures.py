"""What a calibration is worth, told by confidences that did not know the sequence they are of.

Intervals are of 95 %, by drawing sequences anew (bootstrap): sequences differ more than boxes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.geometry import Bools, Frozen
from contracts.samples import Float64s
from models.evaluation.probability import reliability
from models.evaluation.slices import RANGES_M
from offline.labels.calibration.fitting import Plan, acceptance
from offline.labels.calibration.inputs import CLASS_NAMES
from offline.labels.calibration.samples import Samples
from offline.labels.evaluation.acceptance import Accepted, accepted_elsewhere

_DRAWS = 400
_DIGITS = 4


class Estimate(Frozen):
    """A share, None where there is nothing to measure, and its interval."""

    value: float | None
    low: float | None
    high: float | None


class ClassFigures(Frozen):
    """One class, left out sequence by sequence: judged boxes and true ones; ECE of all, by range
    in metres, and of the detector's own probability; shares of the true boxes accepted, with the
    precision that came out: by confidence, by the raw score alone, and with the guarantee.
    """

    class_name: str
    boxes: int
    truths: int
    ece: Estimate
    ece_by_range: dict[str, float | None]
    raw_ece: float | None
    accepted: Estimate
    precision: Estimate
    raw_accepted: Estimate
    raw_precision: Estimate
    gained: Estimate
    vouched: Estimate
    vouched_precision: Estimate


def class_figures(samples: Samples, told: Float64s, plan: Plan) -> tuple[ClassFigures, ...]:
    """Of every class that has a judged box.

    Args:
        samples: all.
        told: confidence of each by what was fitted to other sequences, [n].
        plan: the precision to be kept.
    """
    return tuple(
        _figures(name, samples.take(rows), told[rows], samples.truths[kind], plan)
        for kind, name in enumerate(CLASS_NAMES)
        if (rows := samples.kind == kind).any()
    )


def _figures(
    name: str, samples: Samples, told: Float64s, truths: np.ndarray, plan: Plan
) -> ClassFigures:
    def accepted(by: Float64s) -> Accepted:
        return accepted_elsewhere(by, samples.right, samples.sequence, truths, plan.precision)

    ours, raw, vouched = (
        accepted(told),
        accepted(samples.raw),
        _vouched(samples, told, truths, plan),
    )
    return ClassFigures(
        class_name=name.lower(), boxes=len(samples), truths=int(truths.sum()),
        ece=_drawn(lambda often: _ece(samples, told, often), truths.size),
        ece_by_range={
            f"{low:g}-{high:g}": _in_range(samples, told, low, high) for low, high in RANGES_M
        },
        raw_ece=_rounded(_ece(samples, samples.raw, np.ones(truths.size))),
        accepted=_share(ours), precision=_precision(ours), raw_accepted=_share(raw),
        raw_precision=_precision(raw),
        gained=_drawn(
            lambda often: _ratio(ours.found - raw.found, truths, often), truths.size
        ),
        vouched=_share(vouched), vouched_precision=_precision(vouched),
    )  # fmt: skip


def _vouched(samples: Samples, told: Float64s, truths: np.ndarray, plan: Plan) -> Accepted:
    """As `Accepted`, with thresholds that have a guarantee, fixed on the other sequences."""
    found, taken = np.zeros((2, truths.size), dtype=np.int64)
    name = CLASS_NAMES[int(samples.kind[0])]
    for held in range(truths.size):
        others = samples.sequence != held
        groups = acceptance(samples.take(others), told[others], plan)
        for group in (one for one in groups if one.class_name == name):
            if group.accept_from is None:
                continue
            high = np.inf if group.high_m is None else group.high_m
            rows = ~others & (samples.range_m >= group.low_m) & (samples.range_m < high)
            rows &= told >= group.accept_from
            found[held] += int((rows & samples.right).sum())
            taken[held] += int(rows.sum())
    return Accepted(found, taken, truths, np.full(truths.size, np.nan), float("nan"))


def _share(accepted: Accepted) -> Estimate:
    return _drawn(
        lambda often: _ratio(accepted.found, accepted.truths, often), accepted.truths.size
    )


def _precision(accepted: Accepted) -> Estimate:
    return _drawn(lambda often: _ratio(accepted.found, accepted.taken, often), accepted.truths.size)


def _drawn(figure: Callable[[Float64s], float], sequences: int) -> Estimate:
    """Of all sequences, and between which values it lies when they are drawn anew."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(sequences, np.full(sequences, 1 / sequences), size=_DRAWS)
    values = np.array([figure(draw.astype(np.float64)) for draw in draws])
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.025, 0.975]) if values.size else (np.nan, np.nan)
    return Estimate(
        value=_rounded(figure(np.ones(sequences))), low=_rounded(low), high=_rounded(high)
    )


def _ratio(part: np.ndarray, whole: np.ndarray, often: Float64s) -> float:
    total = float(whole @ often)
    return float(part @ often) / total if total else float("nan")


def _ece(samples: Samples, told: Float64s, often: Float64s) -> float:
    weights = often[samples.sequence]
    if not weights.any():
        return float("nan")
    return reliability(told, samples.right, weights=weights).error


def _in_range(samples: Samples, told: Float64s, low: float, high: float) -> float | None:
    rows: Bools = (samples.range_m >= low) & (samples.range_m < high)
    return _rounded(reliability(told[rows], samples.right[rows]).error) if rows.any() else None


def _rounded(value: float) -> float | None:
    return round(float(value), _DIGITS) if np.isfinite(value) else None
