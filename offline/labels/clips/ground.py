"""Road and lanes over a whole clip: each place as all instants that saw it tell of it.

What one instant sees badly, far off or behind a truck, another sees well. So the log-odds of
every instant within reach are brought together at each place of an instant's grid, in the world,
each weighed by how near the ego was then: a network's maps are sharp nearby and vague far off.
Their weighted mean, and not their sum, is taken: instants are no independent witnesses. Where all
of them together are thin, or cannot decide, the ground stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from contracts.geometry import BevGrid, Frozen, yaw_of
from contracts.labels import UNKNOWN
from contracts.samples import Float32s, Float64s
from offline.labels.auto.planar import composed, inverse

U8s = NDArray[np.uint8]
_SURE = 0.004
"""Least probability of either: maps are kept in 255ths."""


class GroundFusion(Frozen):
    """`near_m` is where an instant's word weighs half; instants nearer than `step_m` to the one
    before tell nothing new; those farther than `reach_m` away see nothing of a place.

    A place is unknown with less weight than `least_weight` in all, or where the probability is
    within `doubt` of a half.
    """

    near_m: float = Field(8.0, gt=0)
    step_m: float = Field(1.0, ge=0)
    reach_m: float = Field(90.0, gt=0)
    least_weight: float = Field(0.05, ge=0)
    doubt: float = Field(0.1, ge=0, le=0.5)


DEFAULT = GroundFusion()


@dataclass(frozen=True, slots=True)
class FusedGround:
    """f instants: `probability` float32 [f, 2, r, c]; `weight` float32 [f, r, c] of all that
    was seen of each place.
    """

    probability: Float32s
    weight: Float32s

    def labels(self, how: GroundFusion = DEFAULT) -> U8s:
        """0, 1 or `UNKNOWN`, uint8 [f, 2, r, c]."""
        told = (self.probability > 0.5).astype(np.uint8)
        doubtful = np.abs(self.probability - 0.5) < how.doubt
        told[doubtful | (self.weight < how.least_weight)[:, None]] = UNKNOWN
        return told


def fused_ground(
    maps: U8s, world_SE3_ego: Float64s, grid: BevGrid, how: GroundFusion = DEFAULT
) -> FusedGround:  # fmt: skip
    """All instants' ground, each from all.

    Args:
        maps: probabilities in 255ths, uint8 [f, 2, r, c] over `grid` about each instant's ego.
        world_SE3_ego: poses [f, 4, 4].
        grid: of the maps, and of the answer.
        how: what weighs how much.
    """
    poses = np.array([(p[0, 3], p[1, 3], yaw_of(p)) for p in world_SE3_ego]).reshape(-1, 3)
    chosen = _apart(poses, how.step_m)
    probability = np.empty(maps.shape, dtype=np.float32)
    weight = np.empty((maps.shape[0], grid.rows, grid.columns), dtype=np.float32)
    geometry = np.array([grid.x_min_m, grid.y_min_m, grid.cell_m, how.near_m])
    odds = _log_odds()
    for k in range(maps.shape[0]):
        away = np.hypot(*(poses[chosen, :2] - poses[k, :2]).T)
        seen = np.union1d(chosen[away < how.reach_m], [k])
        there_SE2_here = composed(inverse(poses[seen]), np.broadcast_to(poses[k], (seen.size, 3)))
        _gather(maps, seen, there_SE2_here, geometry, odds, probability[k], weight[k])
    return FusedGround(probability, weight)


def _log_odds() -> Float64s:
    """Of each 255th, float64 [256]."""
    sure = np.clip(np.arange(256) / 255, _SURE, 1 - _SURE)
    return np.asarray(np.log(sure / (1 - sure)))


def _apart(poses: Float64s, step_m: float) -> NDArray[np.int64]:
    """Instants so far apart from the one chosen before."""
    kept = [0]
    for k in range(1, poses.shape[0]):
        if np.hypot(*(poses[k, :2] - poses[kept[-1], :2])) >= step_m:
            kept.append(k)
    return np.array(kept)


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    maps: U8s, seen: NDArray[np.int64], there_SE2_here: Float64s, geometry: Float64s,
    odds: Float64s, probability: Float32s, weight: Float32s,
) -> None:  # fmt: skip
    """The weighted mean over the instants `seen` at each cell, between cells by straight lines."""
    x_min, y_min, cell, near = geometry
    layers, rows, columns = probability.shape
    total = np.zeros((rows, columns))
    sums = np.zeros((layers, rows, columns))
    for n in range(seen.size):
        frame = seen[n]
        dx, dy, turn = there_SE2_here[n]
        cos, sin = np.cos(turn), np.sin(turn)
        for i in range(rows):
            for j in range(columns):
                x, y = x_min + (i + 0.5) * cell, y_min + (j + 0.5) * cell
                there_x, there_y = cos * x - sin * y + dx, sin * x + cos * y + dy
                a, b = (there_x - x_min) / cell - 0.5, (there_y - y_min) / cell - 0.5
                if a < 0 or b < 0 or a > rows - 1 or b > columns - 1:
                    continue
                low, left = min(int(a), rows - 2), min(int(b), columns - 2)
                p, q = a - low, b - left
                far = (there_x * there_x + there_y * there_y) / (near * near)
                w = 1 / (1 + far)
                total[i, j] += w
                for layer in range(layers):
                    told = maps[frame, layer]
                    sums[layer, i, j] += w * (
                        (1 - p) * ((1 - q) * odds[told[low, left]] + q * odds[told[low, left + 1]])
                        + p * ((1 - q) * odds[told[low + 1, left]]
                               + q * odds[told[low + 1, left + 1]])
                    )  # fmt: skip
    for i in range(rows):
        for j in range(columns):
            weight[i, j] = total[i, j]
            for layer in range(layers):
                mean = sums[layer, i, j] / total[i, j] if total[i, j] > 0 else 0.0
                probability[layer, i, j] = 1 / (1 + np.exp(-mean))
