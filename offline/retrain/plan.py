"""What an epoch of a retraining is made of: how often each new frame, and which old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen, Int64s
from contracts.samples import Float32s, Float64s
from offline.retrain.mix import Mix, Tags, balanced, reference_of
from offline.retrain.reference import Drawn, joined
from offline.retrain.replay import replayed
from offline.retrain.sources import Source

if TYPE_CHECKING:
    from models.recipe import MixSpec, ReplaySpec


class MixReport(Frozen):
    """How the new frames are weighed. `reference` is empty where no random stream was at hand:
    then only label sets weigh. `missed` tells by `tag=value` what of the reference is not met, and
    `untold` the tags that nothing of the random stream has, or no new frame, and that weigh
    nothing.
    """

    reference: dict[str, dict[str, Finite]]
    before: dict[str, dict[str, Finite]]
    after: dict[str, dict[str, Finite]]
    missed: dict[str, Finite]
    untold: tuple[str, ...] = ()


def new_weights(new: Source, spec: MixSpec, drawn: Sequence[Drawn]) -> tuple[Float64s, MixReport]:
    """How often each new frame is drawn in an epoch, mean 1: float64 [n], and why.

    Args:
        drawn: by the random stream, which tells what is met.
    """
    tags, inclusion = joined(drawn)
    by_set = new.weights / new.weights.mean()
    known = [name for name in spec.tags if any(name in each for each in new.tags)]
    reference = reference_of(tags, inclusion, known) if tags else {}
    weights, mix = by_set, None
    if reference:
        mix = balanced(new.tags, reference, spec.lowest, spec.highest, by_set)
        weights = mix.weights
    return weights, _report(new.tags, spec, by_set, weights, reference, mix)


def replayed_rows(
    old: Sequence[Source], spec: ReplaySpec, embeddings: Float32s
) -> tuple[Int64s, dict[str, int]]:
    """Rows of the old frames, one source after the other, that come along; and how many by slice.

    `embeddings` [n, d] are those of the network that is retrained.
    """
    slices = [slice_of(tags, spec.slices) for source in old for tags in source.tags]
    rows = replayed(slices, embeddings, spec.share, spec.floor)
    return rows, dict(sorted(Counter(slices[row] for row in rows.tolist()).items()))


def slice_of(tags: Tags, names: Sequence[str]) -> str:
    """The slice of a frame: its values of some tags."""
    return "/".join(tags.get(name, "-") for name in names)


def epoch_weights(new: Float64s, count: int, part: float) -> Float64s:
    """Draws an epoch of the new frames and of `count` replayed ones, which make up `part` of it:
    float64 [n + count]. Raises `InputError` for a part that is none.
    """
    if not 0 <= part < 1:
        raise InputError(f"a part lies in 0..1, not {part:g}", "replay")
    often = part / (1 - part) * new.sum() / count if count else 0.0
    return np.concatenate([new, np.full(count, often)])


def _report(
    tags: Sequence[Tags], spec: MixSpec, before: Float64s, after: Float64s,
    reference: dict[str, dict[str, float]], mix: Mix | None,
) -> MixReport:  # fmt: skip
    return MixReport(
        reference=reference,
        before={name: shares(tags, before, name) for name in spec.tags},
        after={name: shares(tags, after, name) for name in spec.tags},
        missed={} if mix is None else mix.missed,
        untold=tuple(name for name in spec.tags if name not in reference),
    )  # fmt: skip


def shares(tags: Sequence[Tags], weights: Float64s, name: str) -> dict[str, float]:
    """The share of each value of a tag; a frame without it counts as `-`."""
    held: Counter[str] = Counter()
    for tag, weight in zip(tags, weights.tolist(), strict=True):
        held[tag.get(name, "-")] += weight
    total = sum(held.values())
    return {value: held[value] / total for value in sorted(held)}
