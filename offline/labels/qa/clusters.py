"""Which boxes of several annotators mean the same object: groups with at most one of each.

The best such partition is a multi-dimensional assignment, NP-hard from three annotators on
(Karp 1972). Here it is agglomerated: again and again the two groups of highest mean similarity
that share no annotator become one, until none reaches the least similarity. For two annotators
that is greedy matching. Average linkage, so that one chance overlap does not chain two objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Boxes, Int64s
from contracts.samples import Float64s
from models.evaluation.matching import joined
from models.evaluation.overlap import iou_3d


def clustered(similarity: Float64s, annotator: Int64s, least: float) -> Int64s:
    """The group of each box, int64 [n], numbered by the first row that is in it.

    Args:
        similarity: of each two boxes, symmetric float64 [n, n]; those of one annotator's own
            boxes are never read.
        annotator: who drew each, int64 [n].
        least: mean similarity from which two groups are one; over 0.
    """
    n = annotator.size
    if similarity.shape != (n, n):
        raise InputError(f"has shape {list(similarity.shape)}, expected {[n, n]}", "similarity")
    if not least > 0:
        raise InputError(f"must be over 0, not {least}", "least")
    mean: Float64s = similarity.astype(np.float64)
    mean[annotator[:, None] == annotator[None]] = -np.inf
    size: Float64s = np.ones(n, dtype=np.float64)
    group = np.arange(n)
    while n:
        best = int(np.argmax(mean))
        one, two = sorted(divmod(best, n))
        if mean[one, two] < least:
            break
        share = size[one] / (size[one] + size[two])
        # Either -inf stays: groups that share an annotator never meet.
        row = np.minimum(mean[one], mean[two])
        both = np.isfinite(row)
        row[both] = (share * mean[one] + (1 - share) * mean[two])[both]
        mean[one] = mean[:, one] = row
        mean[one, one] = mean[two] = mean[:, two] = -np.inf
        size[one] += size[two]
        group[group == two] = one
    return np.asarray(np.unique(group, return_inverse=True)[1], dtype=np.int64)


def box_clusters(by_annotator: Sequence[Boxes], least_iou: float) -> tuple[Boxes, Int64s, Int64s]:
    """All boxes of one frame with who drew them and their group, by overlap of volumes.

    Returns:
        The boxes [n] in the annotators' order, the annotator's place and the group, int64 [n].
    """
    every = joined(by_annotator)
    who = np.repeat(np.arange(len(by_annotator)), [len(boxes) for boxes in by_annotator])
    return every, who, clustered(iou_3d(every, every), who, least_iou)


def track_similarity(frames: Sequence[Int64s], tracks: Sequence[Boxes]) -> Float64s:
    """Mean overlap of each two tracks over the frames that either is in, float64 [n, n].

    Args:
        frames: of each track, rising int64 [t].
        tracks: its boxes [t].
    """
    owner = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    frame = np.concatenate([np.zeros(0, dtype=np.int64), *frames])
    if frame.size != owner.size or any((np.diff(each) <= 0).any() for each in frames):
        raise InputError("a track has one box in each of its frames, which rise", "frames")
    total: Float64s = np.zeros((len(tracks), len(tracks)), dtype=np.float64)
    every = joined(tracks)
    order = np.argsort(frame, kind="stable")
    cuts = np.flatnonzero(np.diff(frame[order])) + 1
    for rows in np.split(order, cuts) if frame.size else []:
        here = every.take(rows)
        total[np.ix_(owner[rows], owner[rows])] += iou_3d(here, here)
    length = np.array([each.size for each in frames], dtype=np.float64)
    both = _shared(frames)
    return np.asarray(total / np.maximum(length[:, None] + length[None] - both, 1))


def _shared(frames: Sequence[Int64s]) -> Float64s:
    sets = [frozenset(each.tolist()) for each in frames]
    return np.array([[len(one & two) for two in sets] for one in sets], dtype=np.float64).reshape(
        len(sets), len(sets)
    )
