"""How far two models agree on one frame. Pure.

Detections are matched one to one, greedily by falling overlap (intersection over union of at
least 0.5; ties by the order of the active model's, then of the candidate's), whatever their
class: what both see in one place is one object, and a class that differs is a disagreement.
Boxes in the ego frame are matched by the distance of their middles over the ground instead, of
at most 2 m (as nuScenes matches them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Detection

LEAST_IOU = 0.5
MOST_APART_M = 2.0

Boxes = NDArray[np.float64]


@dataclass(slots=True)
class Agreement:
    """Counts over frames; `gap_sum` adds |probability difference| over matched detections."""

    agreed: int = 0
    class_differs: int = 0
    only_active: int = 0
    only_candidate: int = 0
    gap_sum: float = 0.0

    @property
    def probability_gap(self) -> float:
        """Mean over matched detections; 0 without any."""
        return self.gap_sum / max(1, self.agreed + self.class_differs)

    def add(self, active: Sequence[Detection], candidate: Sequence[Detection]) -> None:
        """Take one frame."""
        pairs = _pairs(active, candidate)
        for i, j in pairs:
            if active[i].class_name == candidate[j].class_name:
                self.agreed += 1
            else:
                self.class_differs += 1
            self.gap_sum += abs(active[i].probability - candidate[j].probability)
        self.only_active += len(active) - len(pairs)
        self.only_candidate += len(candidate) - len(pairs)


def _pairs(a: Sequence[Detection], b: Sequence[Detection]) -> list[tuple[int, int]]:
    """As `matched`, by whichever kind of box both have."""
    if any(d.box_px is None for d in (*a, *b)):
        ground_a, ground_b = _on_ground(a), _on_ground(b)
        apart_m = np.linalg.norm(ground_a[:, None] - ground_b[None], axis=2)
        return _greedy(-apart_m, -MOST_APART_M)
    return matched(boxes_of(a), boxes_of(b))


def boxes_of(detections: Sequence[Detection]) -> Boxes:
    """Boxes float64 [n, 4] x0, y0, x1, y1 in pixels, of detections that have one."""
    return np.array([d.box_px for d in detections], np.float64).reshape(-1, 4)


def _on_ground(detections: Sequence[Detection]) -> NDArray[np.float64]:
    """Middles float64 [n, 2] in the ego frame; far from all others where there is none."""
    nowhere = (np.inf, np.inf)
    middles = [nowhere if d.cuboid is None else d.cuboid.centre_m[:2] for d in detections]
    return np.array(middles, np.float64).reshape(-1, 2)


def overlaps(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4]; 0 where a box has no area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=2)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0.0, None).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - both
    shared: NDArray[np.float64] = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return shared


def matched(a: Boxes, b: Boxes, least_iou: float = LEAST_IOU) -> list[tuple[int, int]]:
    """Pairs of rows of `a` and `b`, each row at most once, best overlap first."""
    return _greedy(overlaps(a, b), least_iou)


def _greedy(likeness: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Pairs of a table [n, m], best first, each row and column at most once."""
    rows, columns = np.nonzero(likeness >= least)
    order = np.argsort(-likeness[rows, columns], kind="stable")
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    pairs = []
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            pairs.append((i, j))
    return pairs
