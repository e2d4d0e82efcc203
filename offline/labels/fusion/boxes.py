"""Weighted box fusion over detectors, members and views, seen from above.

Boxes of one class group that lie on one another, in parts of the object, are of one thing. The
fused box is their mean by score: centre, logarithm of size, velocity; heading as an axis, since
detectors confuse front and back, faced as most of the weight faces. Its score is the mean over
all sources, of which one that saw nothing tells 0; how far they are apart is its uncertainty.
(Solovyev et al. 2021 on weighted fusion; here in the plane, and one box a source.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes, Int64s, Taxonomy, wrapped
from contracts.samples import Float64s
from models.evaluation.matching import joined as stacked
from offline.labels.fusion.table import Detections


@dataclass(frozen=True, slots=True)
class Fusion:
    """What is one thing: a box whose centre is off another's by less than `gate` of its half
    length along it and half width across it, each widened by `slack_m`.
    """

    gate: float = 0.8
    slack_m: float = 0.3


DEFAULT = Fusion()


@dataclass(frozen=True, slots=True)
class Fused:
    """`found` of k things, with the `share` float64 [k] of sources that saw each; and how far
    these are apart, by weight: `place_m` of centres, `size` of logarithms of sizes, `turn_rad`
    of axes, float64 [k], 0 where one source alone saw it.
    """

    found: Detections
    share: Float64s
    place_m: Float64s
    size: Float64s
    turn_rad: Float64s

    def __len__(self) -> int:
        return len(self.found)

    def take(self, rows: Int64s | Bools) -> Fused:
        """The chosen rows, by index or mask."""
        return Fused(
            self.found.take(rows), self.share[rows], self.place_m[rows], self.size[rows],
            self.turn_rad[rows],
        )  # fmt: skip


def fused_boxes(told: Detections, sources: int, taxonomy: Taxonomy, how: Fusion = DEFAULT) -> Fused:
    """One frame's boxes, by falling score.

    Args:
        told: of all sources, each row's source as its `group`.
        sources: how many there are, those that told nothing included.
        taxonomy: whose classes these are.
        how: what is one thing.

    Raises `InputError` for a source beyond `sources`.
    """
    if len(told) and int(told.group.max()) >= sources:
        raise InputError(f"source {told.group.max()} of {sources}", "group")
    boxes, group_of = told.boxes, class_groups(taxonomy)
    order = np.argsort(-told.scores, kind="stable")
    cluster = np.empty(len(told), dtype=np.int64)
    cluster[order] = _clusters(
        boxes.centre_m[order, :2], boxes.size_m[order, :2], boxes.yaw_rad[order],
        told.scores[order], group_of[boxes.class_index[order]], told.group[order],
        sources, how.gate, how.slack_m,
    )  # fmt: skip
    fused = _means(told, cluster, sources, group_of)
    return fused.take(np.argsort(-fused.found.scores, kind="stable"))


def fused_frames(
    told: Detections, source: Int64s, sources: int, frames: int, taxonomy: Taxonomy,
    how: Fusion = DEFAULT,
) -> Fused:  # fmt: skip
    """Many frames' boxes; `told` and the answer are in the order of frames, told as `group`."""
    edges = np.searchsorted(told.group, np.arange(frames + 1))
    parts = []
    for k in range(frames):
        rows = np.arange(edges[k], edges[k + 1])
        frame = Detections(
            told.boxes.take(rows), told.scores[rows], told.distributions[rows], source[rows]
        )
        parts.append(fused_boxes(frame, sources, taxonomy, how))
    return _stacked(parts)


def class_groups(taxonomy: Taxonomy) -> Int64s:
    """The group of each class, int64 [classes]."""
    groups = {name: g for g, names in enumerate(taxonomy.groups) for name in names}
    return np.array([groups[name] for name in taxonomy.names], dtype=np.int64)


@njit(nogil=True, cache=True, error_model="numpy")
def _clusters(
    xy: Float64s, size: Float64s, yaw: Float64s, score: Float64s, group: Int64s, source: Int64s,
    sources: int, gate: float, slack_m: float,
) -> Int64s:  # fmt: skip
    """Which thing each box is of, boxes by falling score; things in the order of their best."""
    n = xy.shape[0]
    cluster = np.empty(n, dtype=np.int64)
    first = np.empty(n, dtype=np.int64)
    middle = np.empty((n, 2))
    weight = np.empty(n)
    told = np.zeros((n, sources), dtype=np.bool_)
    found = 0
    for i in range(n):
        best, nearest = gate, -1
        for k in range(found):
            j = first[k]
            if group[j] != group[i] or told[k, source[i]]:
                continue
            dx, dy = xy[i, 0] - middle[k, 0], xy[i, 1] - middle[k, 1]
            cos, sin = np.cos(yaw[j]), np.sin(yaw[j])
            along = (cos * dx + sin * dy) / (size[j, 0] / 2 + slack_m)
            across = (cos * dy - sin * dx) / (size[j, 1] / 2 + slack_m)
            away = np.sqrt(along * along + across * across)
            if away < best:
                best, nearest = away, k
        if nearest < 0:
            nearest = found
            first[found] = i
            middle[found] = 0.0
            weight[found] = 0.0
            found += 1
        cluster[i] = nearest
        told[nearest, source[i]] = True
        whole = weight[nearest] + score[i]
        part = score[i] / whole if whole > 0 else 1.0
        middle[nearest] += part * (xy[i] - middle[nearest])
        weight[nearest] = whole
    return cluster


def _means(told: Detections, cluster: Int64s, sources: int, group_of: Int64s) -> Fused:
    boxes, score = told.boxes, np.maximum(told.scores, 1e-9)
    count = int(cluster.max(initial=-1)) + 1
    total = np.bincount(cluster, score, count)

    def mean(value: Float64s) -> Float64s:
        """By score, of columns [n, d]: [k, d]."""
        sums = [np.bincount(cluster, score * column, count) for column in value.T]
        return np.stack(sums, axis=1) / total[:, None]

    def spread(away: Float64s) -> Float64s:
        return np.sqrt(mean((away**2).sum(axis=1, keepdims=True))[:, 0])

    centre, size = mean(boxes.centre_m), mean(np.log(boxes.size_m))
    yaw = boxes.yaw_rad
    doubled = mean(np.column_stack([np.cos(2 * yaw), np.sin(2 * yaw)]))
    axis = np.arctan2(doubled[:, 1], doubled[:, 0]) / 2
    faces = mean(np.cos(yaw - axis[cluster])[:, None])[:, 0]
    turn = wrapped(2 * (yaw - axis[cluster])) / 2
    distributions = np.zeros((count, told.distributions.shape[1]))
    np.add.at(distributions, cluster, told.distributions.astype(np.float64))
    distributions /= sources
    # All boxes of a thing are of one group of classes, and so is what it is called.
    group = np.zeros(count, dtype=np.int64)
    group[cluster] = group_of[boxes.class_index]
    own = np.where(group_of[None] == group[:, None], distributions, -1.0)
    kind = own.argmax(axis=1) if count else np.zeros(0, dtype=np.int64)
    found = Detections(
        Boxes(
            centre, np.exp(size), wrapped(np.where(faces >= 0, axis, axis + np.pi)),
            mean(boxes.velocity_mps), kind, np.full(count, -1, dtype=np.int64), boxes.frame,
        ),
        np.clip(total / sources, 0.0, 1.0), distributions.astype(np.float32),
        np.zeros(count, dtype=np.int64),
    )  # fmt: skip
    return Fused(
        found, np.bincount(cluster, minlength=count) / sources,
        spread(boxes.centre_m[:, :2] - centre[cluster, :2]),
        spread(np.log(boxes.size_m) - size[cluster]), spread(turn[:, None]),
    )  # fmt: skip


def _stacked(parts: Sequence[Fused]) -> Fused:
    found = [part.found for part in parts]
    frame = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Fused(
        Detections(
            stacked([one.boxes for one in found]), np.concatenate([one.scores for one in found]),
            np.concatenate([one.distributions for one in found]), frame,
        ),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("share", "place_m", "size", "turn_rad")
        ),
    )  # fmt: skip
