"""Parts of an evaluation set: by the frame's tags, and by range or visibility of the boxes.

Slicing by a box's property makes the other true boxes ignored and drops detections outside,
so that a detection at the edge of a slice is neither right nor wrong by its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools
from models.evaluation.matching import FrameResult

RANGES_M = ((0.0, 20.0), (20.0, 40.0), (40.0, 80.0))
Tags = Mapping[str, str]


def by_tags(
    results: Sequence[FrameResult], tags: Sequence[Tags], wanted: Callable[[Tags], bool]
) -> list[FrameResult]:
    """The frames whose tags are wanted."""
    return [result for result, tag in zip(results, tags, strict=True) if wanted(tag)]


def tag_values(tags: Sequence[Tags], name: str) -> tuple[str, ...]:
    """All values that a tag has, sorted."""
    return tuple(sorted({tag[name] for tag in tags if name in tag}))


def in_range(results: Sequence[FrameResult], low_m: float, high_m: float) -> list[FrameResult]:
    """Boxes whose centre lies from `low_m` to under `high_m` from the ego, on the ground.

    A detection counts by its own range; one that is just outside is dropped, and a true box
    just outside is ignored.
    """
    if not 0 <= low_m < high_m:
        raise InputError(f"no range: {low_m} .. {high_m} m")

    def within(xy: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Bools:
        away = np.hypot(xy[:, 0], xy[:, 1])
        return np.asarray((away >= low_m) & (away < high_m))

    sliced = []
    for result in results:
        kept = within(result.found.centre_m)
        outside = ~within(result.truth.centre_m)
        sliced.append(
            replace(
                result, found=result.found.take(kept), scores=result.scores[kept],
                ignored=result.ignored | outside,
            )
        )  # fmt: skip
    return sliced


def of_truth(results: Sequence[FrameResult], kept: Sequence[Bools]) -> list[FrameResult]:
    """Only the true boxes that are kept, bool [n] for each frame; the others are ignored."""
    return [
        replace(result, ignored=result.ignored | ~mask)
        for result, mask in zip(results, kept, strict=True)
    ]
