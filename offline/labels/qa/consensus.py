"""From several annotators' boxes of the same frames to one label each, with how sure it is.

Boxes are grouped by overlap first, class aside; then Dawid and Skene's model says of each group
which class it is or that it is no object, where an annotator who looked at the frame and has no
box in the group said "no object"; then geometry is fused from those who drew a box. All frames
together, since annotators' habits show over many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import EGO_FRAME, Bools, Boxes, Int64s
from contracts.samples import Float64s
from offline.labels.qa.clusters import box_clusters
from offline.labels.qa.dawid_skene import NO_ANSWER, Prior, Truths, dawid_skene
from offline.labels.qa.geometry import Fused, fused

LEAST_IOU = 0.25
"""Mean overlap of volumes from which boxes mean one object: two careful boxes of a pedestrian that
lie 0.3 m apart still reach it.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What consensus must reach to stand: the posterior of its class, the spreads of `Fused`.

    A centre spread of 0.5 m and an axis spread of 10 degrees are assumptions, twice and more what
    careful annotators differ by (`annotators.py`).
    """

    least_posterior: float = 0.9
    centre_spread_m: float = 0.5
    size_spread: float = 0.25
    axis_spread_rad: float = float(np.radians(10))


@dataclass(frozen=True, slots=True)
class Consensus:
    """Columns over n groups: `frame` int64 [n] into the frames given; `class_index` int64 [n],
    the number of classes for "no object"; `posterior` float64 [n] of that class; `geometry` each;
    `members` int64 [n] who drew a box; `said` int64 [n, annotators]; `stands` bool [n] whether all
    limits are met; and `truths` of the model behind it.
    """

    frame: Int64s
    class_index: Int64s
    posterior: Float64s
    geometry: tuple[Fused, ...]
    members: Int64s
    said: Int64s
    stands: Bools
    truths: Truths | None

    def __len__(self) -> int:
        return int(self.frame.size)


def consensus_of(
    frames: Sequence[Mapping[str, Boxes]], classes: int, limits: Limits | None = None, *,
    least_iou: float = LEAST_IOU, prior: Prior | None = None,
) -> Consensus:  # fmt: skip
    """The labels that annotators agree on.

    Args:
        frames: by annotator, what each one who looked at the frame drew; no boxes is an answer,
            not being named is none.
        classes: of the taxonomy; `class_index` of the boxes lies below.
        limits: the defaults where None.
        least_iou: see `LEAST_IOU`.
        prior: of the model of annotators.
    """
    limits = limits or Limits()
    names = sorted({name for frame in frames for name in frame})
    number = {name: place for place, name in enumerate(names)}
    rows: list[tuple[int, Boxes]] = []
    said: list[Int64s] = []
    for place, frame in enumerate(frames):
        asked = sorted(frame)
        if not asked:
            raise InputError("nobody looked at it", f"frame {place}")
        every, who, group = box_clusters([frame[name] for name in asked], least_iou)
        _check(every, classes)
        seats = np.array([number[name] for name in asked])
        for cluster in range(int(group.max(initial=-1)) + 1):
            inside = group == cluster
            answers = np.full(len(names), NO_ANSWER, dtype=np.int64)
            answers[seats] = classes
            answers[seats[who[inside]]] = every.class_index[inside]
            rows.append((place, every.take(inside)))
            said.append(answers)
    if not rows:
        nothing = np.zeros(0, dtype=np.int64)
        return Consensus(
            nothing, nothing, np.zeros(0), (), nothing, np.zeros((0, len(names)), dtype=np.int64),
            np.zeros(0, dtype=np.bool_), None,
        )  # fmt: skip
    table = np.stack(said)
    truths = dawid_skene(table, classes + 1, prior)
    class_index = truths.classes()
    posterior = truths.posterior[np.arange(len(rows)), class_index]
    geometry = tuple(fused(boxes) for _, boxes in rows)
    return Consensus(
        np.array([place for place, _ in rows]), class_index, posterior, geometry,
        np.array([len(boxes) for _, boxes in rows]), table,
        _standing(class_index == classes, posterior, geometry, limits), truths,
    )  # fmt: skip


def consensus_boxes(
    consensus: Consensus, number: int, classes: int, frame: str = EGO_FRAME
) -> Boxes:
    """The objects of frame `number` as boxes in `frame`, without tracks and velocities."""
    rows = np.flatnonzero((consensus.frame == number) & (consensus.class_index < classes))
    chosen = [consensus.geometry[row] for row in rows.tolist()]
    none = np.zeros((0, 3))
    return Boxes(
        np.stack([one.centre_m for one in chosen]) if chosen else none,
        np.stack([one.size_m for one in chosen]) if chosen else none,
        np.array([one.yaw_rad for one in chosen], dtype=np.float64),
        np.full((rows.size, 2), np.nan), consensus.class_index[rows],
        np.full(rows.size, -1, dtype=np.int64), frame,
    )  # fmt: skip


def _standing(
    empty: Bools, posterior: Float64s, geometry: Sequence[Fused], limits: Limits
) -> Bools:
    """No geometry is asked of what is no object."""
    fits = np.array(
        [
            one.centre_spread_m <= limits.centre_spread_m
            and one.size_spread <= limits.size_spread
            and one.axis_spread_rad <= limits.axis_spread_rad
            and one.front_decided
            for one in geometry
        ]
    )
    return np.asarray((posterior >= limits.least_posterior) & (fits | empty))


def _check(boxes: Boxes, classes: int) -> None:
    if len(boxes) and not (boxes.class_index.min() >= 0 and boxes.class_index.max() < classes):
        raise InputError(f"a class lies outside of 0..{classes - 1}", "class_index")
