"""How sharp a sweep is: whether two lidars, or two halves of a turn, see a wall in one place."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from contracts.samples import Float64s

_NEIGHBOURS, _REACH_M = 6, 0.5
_THICK_M, _WIDE_M = 0.02, 0.03
_UPRIGHT = 0.3
_NEAR_M, _FAR_M, _LOW_M = 5.0, 40.0, 0.5


def wall_disagreement_m(one: Float64s, two: Float64s) -> float:
    """Mean distance of points [m, 3] from the upright plane through their neighbours among other
    points [n, 3], where these make one; ego frame, z from the ground.
    """
    one, two = _in_reach(one), _in_reach(two)
    away, index = cKDTree(one).query(two, k=_NEIGHBOURS, distance_upper_bound=_REACH_M)
    whole = np.isfinite(away).all(axis=1)
    patch = one[index[whole]]
    middle = patch.mean(axis=1)
    spread = patch - middle[:, None]
    value, axis = np.linalg.eigh(np.einsum("nki,nkj->nij", spread, spread) / _NEIGHBOURS)
    normal = axis[:, :, 0]
    wall = (value[:, 0] < _THICK_M**2) & (value[:, 1] > _WIDE_M**2)
    wall &= np.abs(normal[:, 2]) < _UPRIGHT
    gap = np.abs(((two[whole] - middle) * normal).sum(axis=1))
    return float(gap[wall].mean())


def _in_reach(points: Float64s) -> Float64s:
    far = np.hypot(points[:, 0], points[:, 1])
    return points[(far > _NEAR_M) & (far < _FAR_M) & (points[:, 2] > _LOW_M)]
