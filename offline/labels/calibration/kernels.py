"""The two loops of boosting that go over all rows and features."""

from __future__ import annotations

import numba
import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s


@numba.njit(cache=True)
def histograms(
    binned: Int64s, node: Int64s, slope: Float64s, curve: Float64s, nodes: int, bins: int
) -> Float64s:
    """Sums of slope, curve and rows by feature, node and bin: [f, nodes, bins, 3].

    Args:
        binned: bin of each row and feature, int64 [n, f].
        node: of each row, int64 [n].
        slope: of each row's loss, [n].
        curve: its curvature, [n].
        nodes: how many there are.
        bins: at most, of any feature.
    """
    rows, width = binned.shape
    table = np.zeros((width, nodes, bins, 3))
    for row in range(rows):
        for k in range(width):
            cell = table[k, node[row], binned[row, k]]
            cell[0] += slope[row]
            cell[1] += curve[row]
            cell[2] += 1.0
    return table


@numba.njit(cache=True)
def tree_sums(
    inputs: Float64s, depth: int, offset: float, feature: Int64s, threshold: Float64s,
    value: Float64s,
) -> Float64s:  # fmt: skip
    """Of each row [n, f] the offset and one leaf of every tree: [n].

    Args:
        inputs: rows.
        depth: of all trees.
        offset: of the sum.
        feature: of inner nodes, -1 for none, int64 [trees, 2**depth - 1].
        threshold: of inner nodes, rows at or under it go left.
        value: of leaves, [trees, 2**depth].
    """
    total = np.full(inputs.shape[0], offset)
    inner = feature.shape[1]
    for row in range(inputs.shape[0]):
        for tree in range(feature.shape[0]):
            node = 0
            for _ in range(depth):
                which = feature[tree, node]
                right = which >= 0 and inputs[row, which] > threshold[tree, node]
                node = 2 * node + (2 if right else 1)
            total[row] += value[tree, node - inner]
    return total
