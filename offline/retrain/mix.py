"""Re-balancing: the mined mix weighed towards what the fleet meets.

Clips are mined for what is rare, so a dataset of them holds far more night, rain and cyclists
than the road does. A model trained on it as it is expects them. The random stream says, without
bias, how often each condition is met; frames are weighed until the mix agrees with it on every
tag at once (raking, or iterative proportional fitting; Deming and Stephan 1940), within bounds:
what was mined at a cost must not be weighed down to nothing, and no single frame stands for a
city.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s

Tags = Mapping[str, str]
Reference = Mapping[str, Mapping[str, float]]
"""By tag, the share of each of its values: {"tod": {"day": 0.8, "night": 0.2}}."""
_ROUNDS, _TOLERANCE = 200, 1e-9


@dataclass(frozen=True, slots=True)
class Mix:
    """`weights` float64 [n], mean 1; `shares` by tag and value of the mix as it is weighed;
    `missed` by `tag=value` how far a share stays from the reference where the bounds, or frames
    that do not exist, keep it from it.
    """

    weights: Float64s
    shares: dict[str, dict[str, float]]
    missed: dict[str, float]


def reference_of(
    tags: Sequence[Tags], inclusion: Float64s, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Shares of each tag's values in all that was driven, from the random stream's frames.

    Args:
        tags: of each frame.
        inclusion: the probability by which each was drawn, float64 [n].
        names: which tags; a frame without one of them counts for nothing there, and a tag that
            none has is left out.

    Raises `InputError` for a probability that is none.
    """
    if inclusion.shape != (len(tags),) or not ((inclusion > 0) & (inclusion <= 1)).all():
        raise InputError(f"a probability over 0 up to 1 for each of {len(tags)} frames", "mix")
    told = [name for name in names if any(name in tag for tag in tags)]
    return {name: _shares(tags, 1.0 / inclusion, name) for name in told}


def balanced(
    tags: Sequence[Tags], reference: Reference, lowest: float = 0.25, highest: float = 4.0,
    given: Float64s | None = None,
) -> Mix:  # fmt: skip
    """Weights by which frames agree with the reference on every one of its tags.

    Args:
        tags: of each frame of the mix.
        reference: shares by tag; values that no frame has are told as missed.
        lowest, highest: bounds of what a weight is multiplied by, about 1.
        given: weights float64 [n] over 0 that the frames have already; else 1.

    Raises `InputError` for no frame, weights that do not fit, bounds that do not hold 1, or
    shares that do not add to 1.
    """
    if not tags:
        raise InputError("no frame to weigh", "mix")
    if not 0 < lowest <= 1 <= highest:
        raise InputError(f"bounds {lowest:g} to {highest:g} do not hold 1", "mix")
    given = np.ones(len(tags)) if given is None else given
    if given.shape != (len(tags),) or not (given > 0).all():
        raise InputError(f"a weight over 0 for each of {len(tags)} frames", "mix")
    _check(reference)
    given = given / given.mean()
    rows = {
        (name, value): np.flatnonzero([tag.get(name) == value for tag in tags])
        for name, shares in reference.items() for value in shares
    }  # fmt: skip
    factors = np.ones(len(tags))
    for _ in range(_ROUNDS):
        before = factors.copy()
        for name, shares in reference.items():
            by_value = {value: rows[name, value] for value in shares}
            _towards(factors, given, by_value, shares)
        factors = _bounded(factors, given, lowest, highest)
        if np.abs(factors - before).max() < _TOLERANCE:
            break
    weights = factors * given
    found = {name: _shares(tags, weights, name) for name in reference}
    missed = {
        f"{name}={value}": share - found[name].get(value, 0.0)
        for name, shares in reference.items() for value, share in shares.items()
        if abs(share - found[name].get(value, 0.0)) > 1e-3
    }  # fmt: skip
    return Mix(weights, found, missed)


def _towards(
    factors: Float64s, given: Float64s, rows: Mapping[str, Int64s], shares: Mapping[str, float]
) -> None:
    """Scale, in place, the frames that have this tag so that its shares hold among them."""
    held = {value: float((factors * given)[rows[value]].sum()) for value in shares}
    total = sum(held.values())
    asked = sum(share for value, share in shares.items() if held[value] > 0)
    for value, share in shares.items():
        if held[value] > 0 and asked > 0:
            factors[rows[value]] *= share / asked * total / held[value]


def _bounded(factors: Float64s, given: Float64s, lowest: float, highest: float) -> Float64s:
    """Within the bounds, and the weights of mean 1 as far as these allow."""
    for _ in range(_ROUNDS):
        factors = np.clip(factors / (factors * given).mean(), lowest, highest)
        if abs(float((factors * given).mean()) - 1) < _TOLERANCE:
            break
    return np.asarray(factors)


def _shares(tags: Sequence[Tags], weights: Float64s, name: str) -> dict[str, float]:
    held: dict[str, float] = {}
    for tag, weight in zip(tags, weights.tolist(), strict=True):
        if name in tag:
            held[tag[name]] = held.get(tag[name], 0.0) + weight
    total = sum(held.values())
    if not total:
        raise InputError("no frame has this tag", name)
    return {value: held[value] / total for value in sorted(held)}


def _check(reference: Reference) -> None:
    for name, shares in reference.items():
        total = sum(shares.values())
        if any(share < 0 for share in shares.values()) or abs(total - 1) > 1e-6:
            raise InputError(f"shares are 0 or more and add to 1, not {total:g}", name)
