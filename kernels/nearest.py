"""Dot products of one vector with many that lie in a matrix, read where they lie.

Rows are read once and nothing is copied, which is what a gather into a new array costs. Sums
are not in the order of BLAS: the two differ in their last bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.samples import Float32s

Int32s = NDArray[np.int32]

# Eight partial sums side by side are what a SIMD register adds at once.
_FAST = {"reassoc", "contract"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def dots_of_rows(matrix: Float32s, query: Float32s, rows: Int32s, out: Float32s) -> None:
    """Dot products of some rows.

    Args:
        matrix: float32 [n, d], C order.
        query: float32 [d].
        rows: int32 [m]; ascending is fastest.
        out: float32 [m], filled.
    """
    dimensions = query.size
    for number in range(rows.size):
        row = rows[number]
        total = np.float32(0)
        for column in range(dimensions):
            total += matrix[row, column] * query[column]
        out[number] = total
