"""Parts of an evaluation set: by the frame's tags, and by range, visibility or class of the boxes.

Slicing by a box's property makes the other true boxes ignored and drops detections outside,
so that a detection at the edge of a slice is neither right nor wrong by its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s, Taxonomy
from contracts.samples import Float64s
from models.evaluation.matching import FrameResult, Matcher

RANGES_M = ((0.0, 20.0), (20.0, 40.0), (40.0, 80.0))
OCCLUDED_UNDER = 0.4
"""Share of an object in sight, under which it counts as occluded."""
TAG_NAMES = ("tod", "weather", "region", "scenario")
Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """One slice: its frames int64 [n], as places in the whole set, and their matches."""

    frames: Int64s
    matcher: Matcher


def whole(results: Sequence[FrameResult]) -> Part:
    """All frames as they are."""
    return Part(np.arange(len(results)), Matcher(results))


def parts_of(
    results: Sequence[FrameResult],
    tags: Sequence[Tags],
    tag_names: Sequence[str],
    ranges_m: Sequence[tuple[float, float]],
    visibility: Sequence[Float64s],
    taxonomy: Taxonomy,
) -> dict[str, Part]:
    """Slices by name: `range=low-high`, `tag=value`, and, where visibility [n] of each frame's
    true boxes is given (NaN: unknown), `occluded`; `rare` are the taxonomy's rare classes.
    """
    every = np.arange(len(results))
    found = {
        f"range={low:g}-{high:g}": Part(every, Matcher(in_range(results, low, high)))
        for low, high in ranges_m
    }
    for name in tag_names:
        for value in tag_values(tags, name):
            frames = np.flatnonzero([tag.get(name) == value for tag in tags])
            chosen = by_tags(results, tags, _has(name, value))
            found[f"{name}={value}"] = Part(frames, Matcher(chosen))
    if visibility:
        hidden = of_truth(results, [share < OCCLUDED_UNDER for share in visibility])
        found["occluded"] = Part(every, Matcher(hidden))
    rare = tuple(taxonomy.index(name) for name in taxonomy.rare_names)
    if rare:
        found["rare"] = Part(every, Matcher(of_classes(results, rare)))
    return found


def _has(name: str, value: str) -> Callable[[Tags], bool]:
    return lambda tag: tag.get(name) == value


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


def of_classes(results: Sequence[FrameResult], classes: Sequence[int]) -> list[FrameResult]:
    """Only true boxes and detections of some classes; ignored boxes stay, and still excuse."""
    sliced = []
    for result in results:
        found = np.isin(result.found.class_index, classes)
        truth = result.ignored | np.isin(result.truth.class_index, classes)
        sliced.append(
            FrameResult(
                result.found.take(found), result.scores[found], result.truth.take(truth),
                result.ignored[truth],
            )
        )  # fmt: skip
    return sliced
