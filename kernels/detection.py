"""After a detector: overlapping boxes out, and how probable it is that anything is there.

Suppression is greedy by falling score within a class, ties in the order of the rows.

Does not do: run a model, or know an output's layout (`kernels.yolox` does).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
Int64s = NDArray[np.int64]


def suppress(boxes: Float32s, scores: Float32s, classes: Int64s, iou: float, most: int) -> Int64s:
    """Rows that survive non-maximum suppression, by falling score, at most `most`.

    `boxes` float32 [n, 4] x0, y0, x1, y1; of two boxes of one class that overlap by more than
    `iou` the one of lower score goes.
    """
    order = np.argsort(-scores, kind="stable")
    return order[_survivors(boxes[order], classes[order], iou, most)]


@njit(nogil=True, cache=True, error_model="numpy")
def _survivors(boxes: Float32s, classes: Int64s, iou: float, most: int) -> Int64s:
    count = boxes.shape[0]
    kept = np.empty(min(count, most), dtype=np.int64)
    found = 0
    for i in range(count):
        if found == kept.size:
            break
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        good = True
        for k in range(found):
            j = kept[k]
            if classes[j] != classes[i]:
                continue
            wide = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            high = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if wide <= 0 or high <= 0:
                continue
            both = wide * high
            other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            if both > iou * (area + other - both):
                good = False
                break
        if good:
            kept[found] = i
            found += 1
    return kept[:found]


def presence(
    probabilities: NDArray[np.floating], distributions: NDArray[np.floating], class_index: Int64s
) -> NDArray[np.float64]:
    """How probable it is that anything is there, float64 [k].

    Of what is hard to name, each class is improbable, and yet something is there: P(class) =
    P(anything) P(class | anything), of which a distribution tells the latter.

    Args:
        probabilities: of the named class, [k].
        distributions: over all classes, [k, classes]; only their ratios count.
        class_index: of the named class, [k].
    """
    spread = distributions.astype(np.float64)
    of_it, total = np.take_along_axis(spread, class_index[:, None], 1)[:, 0], spread.sum(axis=1)
    share = np.divide(of_it, total, out=np.zeros(total.shape), where=total > 0)
    named = probabilities.astype(np.float64)
    anything: NDArray[np.float64] = np.divide(named, share, out=named.copy(), where=share > 0)
    return np.minimum(anything, 1.0)
