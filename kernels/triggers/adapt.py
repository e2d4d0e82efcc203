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
from math import log
from types import MappingProxyType

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.trigger_spec import LoadedSpec
from kernels.triggers import layout as at

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

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where one spec's threshold stands. `log_factor` is of its multiple of the spec's bound;
    `known_s` driving in which it could fire, `fires` and `reference_fires` those that counted, at
    the threshold and at the spec's own bound.
    """

    log_factor: float = 0.0
    known_s: float = 0.0
    fires: int = 0
    reference_fires: int = 0


Thresholds = Mapping[str, Threshold]
"""By the digest of the spec."""
NO_THRESHOLDS: Thresholds = MappingProxyType({})


class Adaptation:
    """The thresholds of an engine's adaptive rows, with a twin row at the reference for each.

    Args:
        specs: of the engine's rows; the twins' rows come behind them, in order.
        params: the engine's parameters float64 [rows and twins, PARAMS], changed in place.
        thresholds: where known specs stand; others begin at their own bound.
    """

    def __init__(
        self, specs: Sequence[LoadedSpec], params: Floats, thresholds: Thresholds = NO_THRESHOLDS
    ) -> None:
        found = [(row, loaded) for row, loaded in enumerate(specs) if loaded.spec.rate is not None]
        self._digests = {loaded.digest: place for place, (_, loaded) in enumerate(found)}
        count = len(found)
        self._rows: Int64s = np.array([row for row, _ in found], np.int64)
        self._twins: Int64s = np.arange(len(specs), len(specs) + count)
        self._rates = np.zeros((count, 4))
        self._cooldown_ns = np.zeros(count, np.int64)
        self._how = np.zeros((count, at.PARAMS), np.int64)
        self._base = params[self._rows].copy()
        self._params = params
        for place, (_, loaded) in enumerate(found):
            rate = loaded.spec.rate
            if rate is None:
                continue
            self._rates[place] = (
                rate.per_hour / 3600.0,
                rate.gain,
                log(rate.lowest),
                log(rate.highest),
            )
            self._cooldown_ns[place] = loaded.spec.cooldown
            for column, how in BOUNDS[loaded.spec.kind].items():
                self._how[place, column] = how
        # log factor, known seconds, fires, reference fires
        self._state = np.zeros((count, 4))
        self._last_ns = np.full((count, 2), -1, np.int64)
        for digest, place in self._digests.items():
            self._put(place, thresholds.get(digest, Threshold()))

    def __len__(self) -> int:
        return len(self._rows)

    def _put(self, place: int, known: Threshold) -> None:
        low, high = self._rates[place, 2:]
        self._state[place] = (
            min(max(known.log_factor, low), high), known.known_s, known.fires,
            known.reference_fires,
        )  # fmt: skip
        apply_factor(
            self._base[place], self._how[place], self._state[place, 0],
            self._params[self._rows[place]],
        )  # fmt: skip

    def take_over(self, old: Adaptation, kept: Sequence[str]) -> None:
        """Go on where `old` is, for the specs of these digests."""
        for digest in kept:
            here, there = self._digests.get(digest), old._digests.get(digest)
            if here is None or there is None:
                continue
            self._state[here], self._last_ns[here] = old._state[there], old._last_ns[there]
            apply_factor(
                self._base[here], self._how[here], self._state[here, 0],
                self._params[self._rows[here]],
            )  # fmt: skip

    def step(self, conditions: Floats, fired: NDArray[np.int32], dt_s: float, now_ns: int) -> None:
        """After a tick: `conditions` of all rows, the rows that fired."""
        adapt_rows(
            self._rows, self._twins, self._rates, self._cooldown_ns, self._how, self._base,
            self._state, self._last_ns, self._params, conditions, fired, dt_s, now_ns,
        )  # fmt: skip

    def factor(self, row: int) -> float | None:
        """The threshold of a row as a multiple of its spec's bound; None of a row that has none."""
        places = np.flatnonzero(self._rows == row)
        return float(np.exp(self._state[places[0], 0])) if len(places) else None

    def bound_ratio(self, row: int) -> float:
        """The row's first bound in use over that of its spec."""
        places = np.flatnonzero(self._rows == row)
        if not len(places):
            return 1.0
        return float(self._params[row, 0] / self._base[places[0], 0])

    def thresholds(self) -> dict[str, Threshold]:
        """Where each stands now, by the spec's digest."""
        return {
            digest: Threshold(
                float(self._state[place, 0]), float(self._state[place, 1]),
                int(self._state[place, 2]), int(self._state[place, 3]),
            )
            for digest, place in self._digests.items()
        }  # fmt: skip


@njit(cache=True, nogil=True)
def apply_factor(base: Floats, how: Int64s, log_factor: float, params: Floats) -> None:
    """Write a row's bounds as the threshold has them."""
    factor = np.exp(log_factor)
    for column in range(len(how)):
        if how[column] == TIMES:
            params[column] = base[column] * factor
        elif how[column] == OVER:
            params[column] = base[column] / factor
        elif how[column] == ANGLE:
            params[column] = 1.0 - (1.0 - base[column]) / factor


@njit(cache=True, nogil=True)
def counts(last_ns: Int64s, which: int, now_ns: int, cooldown_ns: int) -> bool:
    """Whether a fire lies outside of the cooldown of the last that did; then it is the last."""
    if last_ns[which] >= 0 and now_ns - last_ns[which] < cooldown_ns:
        return False
    last_ns[which] = now_ns
    return True


@njit(cache=True, nogil=True)
def adapt_rows(
    rows: Int64s,
    twins: Int64s,
    rates: Floats,
    cooldown_ns: Int64s,
    how: Int64s,
    base: Floats,
    state: Floats,
    last_ns: Int64s,
    params: Floats,
    conditions: Floats,
    fired: NDArray[np.int32],
    dt_s: float,
    now_ns: int,
) -> None:
    """One tick of all adaptive rows."""
    for i in range(len(rows)):
        moved = 0.0
        if not np.isnan(conditions[rows[i]]):
            state[i, 1] += dt_s
            moved -= rates[i, 0] * dt_s
        for row in fired:
            if row == rows[i] and counts(last_ns[i], 0, now_ns, cooldown_ns[i]):
                state[i, 2] += 1.0
                moved += 1.0
            elif row == twins[i] and counts(last_ns[i], 1, now_ns, cooldown_ns[i]):
                state[i, 3] += 1.0
        if moved != 0.0:
            # Of what is new, little is known: a first fire tells more than the hundredth.
            known = 1.0 + 0.25 * (state[i, 2] + rates[i, 0] * state[i, 1])
            step = max(rates[i, 1], 1.0 / known)
            state[i, 0] = min(max(state[i, 0] + step * moved, rates[i, 2]), rates[i, 3])
            apply_factor(base[i], how[i], state[i, 0], params[rows[i]])
