"""What triggers bring, beside what the fleet meets.

Triggers are meant to choose; this says how far, so that nobody takes a share among triggered
clips for one of the road, and which cohorts no random clip speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.health.drift import Watch
from offline.health.energy import apart, least_p, p_value, pooled
from offline.health.observed import (
    Observation,
    embeddings_of,
    of_stream,
    units_of,
    weights_of,
)
from offline.health.records import SelectionBias, ShareDifference

_TAIL = 0.025
_ALIKE = 1e-9


def selection_bias(
    clips: Sequence[Observation], space: str, watch: Watch | None = None
) -> SelectionBias:
    """Raises `InputError` where a stream holds fewer than two drives."""
    watch = watch or Watch()
    triggered, random = of_stream(clips, "triggered"), of_stream(clips, "random")
    weights, units = weights_of(random), units_of(random, watch.unit)
    for held, what in ((triggered, "triggered"), (random, "random")):
        count = np.unique(units_of(held, watch.unit)).size if held else 0
        if count < 2:
            raise InputError(f"{len(held)} {what} clips of {count} {watch.unit}s are too few")
    both = pooled(
        (embeddings_of(random), weights, units),
        (embeddings_of(triggered), np.ones(len(triggered)), units_of(triggered, watch.unit)),
    )
    # Weights that differ are not exchangeable with the triggered clips' own, which are all 1.
    tells = float(np.ptp(weights)) <= _ALIKE * weights.max() and least_p(both) <= watch.level
    tags = sorted({tag for clip in clips for tag in clip.tags})
    met = {tag: np.array([tag in clip.tags for clip in random]) for tag in tags}
    return SelectionBias(
        space=space, triggered=len(triggered), random=len(random),
        effective=effective_size(weights), size=apart(both).size,
        p_value=p_value(both, watch.rounds, watch.seed) if tells else None,
        shares=tuple(
            _share(tag, np.mean([tag in clip.tags for clip in triggered]), met[tag], weights, units)
            for tag in tags
        ),
        unreached=tuple(tag for tag in tags if not met[tag].any()),
    )  # fmt: skip


def effective_size(weights: Float64s) -> float:
    """How many clips of equal weight tell as much (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _share(
    tag: str, triggered: np.floating, met: Bools, weights: Float64s, units: Int64s
) -> ShareDifference:
    name, _, value = tag.partition("=")
    share = float(np.average(met, weights=weights))
    low, high = share_interval(met, weights, units)
    return ShareDifference(tag=name, value=value or name, triggered=float(triggered), fleet=share,
                           low=low, high=high)  # fmt: skip


def share_interval(met: Bools, weights: Float64s, units: Int64s) -> tuple[float, float]:
    """95 % interval of a weighted share over clustered clips: Clopper and Pearson's, of as many
    clips as the sample is worth (Korn and Graubard 1998).

    Args:
        met, weights, units: bool, float64 and int64 [n]; at least two units.
    """
    share = float(np.average(met, weights=weights))
    worth = _worth(met, weights, units, share)
    low = float(betaincinv(share * worth, (1 - share) * worth + 1, _TAIL)) if share > 0 else 0.0
    high = (
        float(betaincinv(share * worth + 1, (1 - share) * worth, 1 - _TAIL)) if share < 1 else 1.0
    )
    return low, high


def _worth(met: Bools, weights: Float64s, units: Int64s, share: float) -> float:
    """How many independent clips of equal weight would tell the share as surely."""
    residual: Float64s = np.bincount(units, weights * (met - share)) / weights.sum()
    count = residual.size
    variance = count / (count - 1) * float((residual**2).sum())
    by_weight = effective_size(np.bincount(units, weights).astype(np.float64))
    if variance <= 0 or not 0 < share < 1:
        return by_weight
    return float(min(share * (1 - share) / variance, met.size))
