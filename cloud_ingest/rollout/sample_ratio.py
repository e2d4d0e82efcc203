"""Do assigned and control vehicles report equally often? If not, nothing else can be read.

Assignment is random among the vehicles that were in contact before a window began, so how many
of a window's reporters are assigned is hypergeometric, whatever vehicles report together or are
parked for long. A two-sided exact p-value is taken at the end of each window. The windows of a
rollout share `alpha` as alpha / (w (w + 1)) for the w-th, a union bound (for what a mismatch
does to an experiment see Fabijan et al., KDD 2019; sequential tests: Lindon and Malek 2022).

What it sees: an agent that dies with the release, counts that get lost on one side. What it does
not see: counts that are wrong on both sides, or a vehicle that reports but leaves events out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contracts.errors import InputError


@dataclass(frozen=True, slots=True)
class RatioWatch:
    """The window in progress. `window` counts from 1 over the whole rollout.

    `assigned` and `control` are the arms as the window began; `reporters` those of them with
    driving in it.
    """

    window: int
    start_utc_ns: int
    assigned: frozenset[str]
    control: frozenset[str]
    reporters: frozenset[str] = frozenset()


def is_mismatch(watch: RatioWatch, alpha: float) -> bool:
    """Whether the window's reporters are too unlikely a draw."""
    p = two_sided_p(
        population=len(watch.assigned) + len(watch.control),
        marked=len(watch.assigned),
        drawn=len(watch.reporters),
        seen=len(watch.reporters & watch.assigned),
    )
    return p <= alpha / (watch.window * (watch.window + 1))


def two_sided_p(*, population: int, marked: int, drawn: int, seen: int) -> float:
    """Probability of a draw without replacement that is at most as likely as the one seen."""
    lowest, highest = max(0, drawn - (population - marked)), min(marked, drawn)
    if not 0 <= marked <= population or not lowest <= seen <= highest:
        raise InputError(
            f"{seen} marked in {drawn} of {population} with {marked} marked is impossible", "seen"
        )

    def log_probability(x: int) -> float:
        return (
            _log_choose(marked, x)
            + _log_choose(population - marked, drawn - x)
            - _log_choose(population, drawn)
        )

    limit = log_probability(seen) + 1e-9
    each = (log_probability(x) for x in range(lowest, highest + 1))
    return min(1.0, math.fsum(math.exp(value) for value in each if value <= limit))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
