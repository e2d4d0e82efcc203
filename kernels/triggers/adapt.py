"""Thresholds that land on a target rate: a running quantile of the score, one step a fire.

The threshold is a multiple of the spec's own bound, and its logarithm l moves by

    l += gain * (fires - rate * time)

so it rises with each fire and falls while nothing fires. Added up, over any time T that was
driven with the inputs known, fires = rate * T + (l at the end - l at the start) / gain: whatever
the scores are and however they drift, the rate is missed by no more than the way that the
threshold has gone, which does not grow with time (as in Gibbs and Candes 2021, where the same
step keeps a coverage). Where the threshold is held at `lowest` or `highest` there are fewer fires
or more, which is what those are for. At the start the gain is larger, 1 / (1 + a quarter of what
has fired and should have), so that a bound that is far off costs a few fires and not a day of them.

Time in which a condition could not be known does not count; neither do fires within the
trigger's cooldown of one that did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from types import MappingProxyType
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.trigger_spec import LoadedSpec
from kernels.triggers import layout as at
from kernels.triggers.table import Rows

TIMES, OVER, ANGLE = 1, 2, 3
BOUNDS: dict[str, dict[int, int]] = {
    "hard_accel": {0: TIMES},
    "jerk": {0: TIMES},
    "low_confidence": {0: TIMES, 1: OVER},
    "rare_class": {0: TIMES},
    "similar_to": {0: ANGLE},
    "novelty": {0: TIMES},
    "track_flicker": {0: TIMES},
    "unknown_object": {0: TIMES, 2: TIMES},
    "sensor_disagreement": {0: TIMES, 2: TIMES},
    "shadow_disagreement": {0: TIMES},
}
"""Of each adaptive kind, the parameters that are bounds and how a threshold makes them stricter:
multiplied, divided, or 1 less a cosine divided."""
_MOST_COUNTED = 2**53


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where one spec's threshold stands. `log_factor` is of its multiple of the spec's bound;
    `known_s` driving in which it could fire, `fires` and `reference_fires` those that counted, at
    the threshold and at the spec's own bound. Raises `InputError` for what no threshold is.
    """

    log_factor: float = 0.0
    known_s: float = 0.0
    fires: int = 0
    reference_fires: int = 0

    def __post_init__(self) -> None:
        finite = isfinite(self.log_factor) and isfinite(self.known_s)
        counted = (self.known_s, self.fires, self.reference_fires)
        if not finite or not all(0 <= each < _MOST_COUNTED for each in counted):
            raise InputError(f"no threshold stands at {self.log_factor} with {counted} counted")


Thresholds = Mapping[str, Threshold]
"""By the digest of the spec."""
NO_THRESHOLDS: Thresholds = MappingProxyType({})


ADAPTIVE = np.dtype(
    [
        ("row", np.int64), ("twin", np.int64), ("cooldown_ns", np.int64),
        ("per_s", np.float64), ("gain", np.float64), ("lowest", np.float64),
        ("highest", np.float64), ("log_factor", np.float64), ("known_s", np.float64),
        ("fires", np.int64), ("reference_fires", np.int64),
        ("counted_ns", np.int64, (2,)), ("how", np.int64, (at.PARAMS,)),
        ("base", np.float64, (at.PARAMS,)),
    ],
    align=True,
)  # fmt: skip
"""The threshold of one row: what its spec wants of it, and where it stands. `lowest` and `highest`
are logarithms; `counted_ns` the last fires that counted, of the row and of its twin, or -1.
"""


class Adaptation:
    """The thresholds of an engine's adaptive rows, with a twin row at the reference for each.

    Args:
        specs: of the engine's rows; the twins' rows come behind them, in order.
        rows: `layout.ROW` [rows and twins] of the engine; parameters are changed in place.
        thresholds: where known specs stand; others begin at their own bound.
    """

    def __init__(
        self, specs: Sequence[LoadedSpec], rows: Rows, thresholds: Thresholds = NO_THRESHOLDS
    ) -> None:
        found = [(row, loaded) for row, loaded in enumerate(specs) if loaded.spec.rate is not None]
        self._digests = {loaded.digest: place for place, (_, loaded) in enumerate(found)}
        self._places = {row: place for place, (row, _) in enumerate(found)}
        self._rows = rows
        self._adaptive = adaptive = np.zeros(len(found), ADAPTIVE)
        adaptive["row"] = list(self._places)
        adaptive["twin"] = np.arange(len(specs), len(specs) + len(found))
        adaptive["base"] = rows["params"][adaptive["row"]]
        adaptive["counted_ns"] = -1
        for one, (_, loaded) in zip(adaptive, found, strict=True):
            rate = loaded.spec.rate
            if rate is None:
                continue
            one["per_s"], one["gain"] = rate.per_hour / 3600.0, rate.gain
            one["lowest"], one["highest"] = log(rate.lowest), log(rate.highest)
            one["cooldown_ns"] = loaded.spec.cooldown
            for column, how in BOUNDS[loaded.spec.kind].items():
                one["how"][column] = how
            known = thresholds.get(loaded.digest, Threshold())
            one["log_factor"] = min(max(known.log_factor, one["lowest"]), one["highest"])
            one["known_s"] = known.known_s
            one["fires"], one["reference_fires"] = known.fires, known.reference_fires
        apply_factors(adaptive, rows)

    def __len__(self) -> int:
        return len(self._adaptive)

    def take_over(self, old: Adaptation, kept: Sequence[str]) -> None:
        """Go on where `old` is, for the specs of these digests."""
        for digest in kept:
            here, there = self._digests.get(digest), old._digests.get(digest)
            if here is None or there is None:
                continue
            for name in ("log_factor", "known_s", "fires", "reference_fires", "counted_ns"):
                self._adaptive[name][here] = old._adaptive[name][there]
        apply_factors(self._adaptive, self._rows)

    def step(self, fired: NDArray[np.int32], dt_s: float, now_ns: int) -> None:
        """After a tick, with the rows that fired."""
        adapt_rows(self._adaptive, self._rows, fired, dt_s, now_ns)

    def factor(self, row: int) -> float | None:
        """The threshold of a row as a multiple of its spec's bound; None of a row that has none."""
        place = self._places.get(row)
        return None if place is None else float(np.exp(self._adaptive["log_factor"][place]))

    def bound_ratio(self, row: int) -> float:
        """The row's first bound in use over that of its spec."""
        place = self._places.get(row)
        if place is None:
            return 1.0
        return float(self._rows["params"][row, 0] / self._adaptive["base"][place, 0])

    def thresholds(self) -> dict[str, Threshold]:
        """Where each stands now, by the spec's digest."""
        told = ("log_factor", "known_s", "fires", "reference_fires")
        return {
            digest: Threshold(*self._adaptive[place][list(told)].item())
            for digest, place in self._digests.items()
        }


@njit(cache=True, nogil=True)
def apply_factors(adaptive: Rows, rows: Rows) -> None:
    """Write the bounds of all adaptive rows as their thresholds have them."""
    for one in adaptive:
        apply_factor(one, rows[one.row])


@njit(cache=True, nogil=True)
def apply_factor(one: Any, row: Any) -> None:
    """Write one row's bounds."""
    factor = np.exp(one.log_factor)
    for column in range(len(one.how)):
        how = one.how[column]
        if how == TIMES:
            row.params[column] = one.base[column] * factor
        elif how == OVER:
            row.params[column] = one.base[column] / factor
        elif how == ANGLE:
            row.params[column] = 1.0 - (1.0 - one.base[column]) / factor


@njit(cache=True, nogil=True)
def counts(one: Any, which: int, now_ns: int) -> bool:
    """Whether a fire lies outside of the cooldown of the last that did; then it is the last."""
    last_ns = one.counted_ns[which]
    if last_ns >= 0 and now_ns - last_ns < one.cooldown_ns:
        return False
    one.counted_ns[which] = now_ns
    return True


@njit(cache=True, nogil=True)
def adapt_rows(
    adaptive: Rows, rows: Rows, fired: NDArray[np.int32], dt_s: float, now_ns: int
) -> None:
    """One tick of all adaptive rows."""
    for one in adaptive:
        moved = 0.0
        if not np.isnan(rows[one.row].condition):
            one.known_s += dt_s
            moved -= one.per_s * dt_s
        for row in fired:
            if row == one.row and counts(one, 0, now_ns):
                one.fires += 1
                moved += 1.0
            elif row == one.twin and counts(one, 1, now_ns):
                one.reference_fires += 1
        if moved != 0.0:
            # Of what is new, little is known: a first fire tells more than the hundredth.
            known = 1.0 + 0.25 * (one.fires + one.per_s * one.known_s)
            step = max(one.gain, 1.0 / known)
            one.log_factor = min(max(one.log_factor + step * moved, one.lowest), one.highest)
            apply_factor(one, rows[one.row])
