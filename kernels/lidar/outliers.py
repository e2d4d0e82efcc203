"""Points that the quantised streams cannot hold, kept exactly.

Each point has a class: 0 ordinary; 1 a no-return written as zero; 2 a no-return written as
NaN; 3 exact, its float32 values kept bit by bit (beyond the quantiser's reach, an infinity,
a NaN beside finite values). The class section is there only when some point is not ordinary;
in the streams such a point repeats the one before it, which costs nearly nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.lidar.container import Content, Kind, Sections

ORDINARY, ZERO, NAN, EXACT = 0, 1, 2, 3

Float32s = NDArray[np.float32]


def outlier_sections(
    values: Float32s, classes: NDArray[np.uint8], marked: NDArray[np.int64]
) -> list[tuple[Kind, Content]]:
    """The class section and the exact values of the points that the streams cannot hold.

    Args:
        values: float32 [n, k], what to keep.
        classes: uint8 [n], not 0 at the marked points; overwritten with their classes.
        marked: int64 [m], ascending indices of those points.
    """
    chosen = values[marked]
    kinds = np.full(marked.shape[0], EXACT, np.uint8)
    kinds[(chosen == 0).all(axis=1)] = ZERO
    kinds[np.isnan(chosen).all(axis=1)] = NAN
    classes[marked] = kinds
    exact = chosen[kinds == EXACT].astype("<f4", copy=False)
    return [(Kind.CLASS, classes), (Kind.EXACT, exact.tobytes())]


@njit(nogil=True, cache=True, error_model="numpy")
def repeat_left(marked: NDArray[np.int64], values: NDArray[np.generic]) -> None:
    """Overwrites the marked values with the one on their left, the first with 0."""
    for index in marked:
        values[index] = values[index - 1] if index > 0 else 0


def restore_outliers(sections: Sections, values: Float32s) -> None:
    """Writes the kept values of all points that are not ordinary into `values` [n, k].

    Raises:
        CorruptError: an unknown class, or another number of exact values than classes say.
    """
    if Kind.CLASS not in sections:
        return
    count, width = values.shape
    classes = np.frombuffer(sections.read(Kind.CLASS, count), np.uint8)
    if count and int(classes.max()) > EXACT:
        raise CorruptError("holds an unknown class", "lidar sweep section CLASS")
    exact = np.flatnonzero(classes == EXACT)
    raw = sections.read(Kind.EXACT, 4 * width * exact.shape[0])
    values[classes == ZERO] = 0.0
    values[classes == NAN] = np.nan
    values[exact] = np.frombuffer(raw, "<f4").reshape(-1, width)
