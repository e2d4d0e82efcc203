"""What stands on the road by the lidar alone: returns above the ground, and clusters of them; and
what boxes have to do with returns and with each other.

Points come from one sweep; motion during it is not undone, which at 30 m/s displaces by up to
3 m what was seen first. The ground is the lowest return of a cell's surroundings, and where a
thing hides all of it, the height at which the ground about the vehicle lies.

Does not see: what is lower than `LEAST_HEIGHT_M`, which a kerb and a bump are too, and what hangs
above `MOST_HEIGHT_M`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from kernels.arrays import read_only

LEAST_HEIGHT_M, MOST_HEIGHT_M = 0.2, 2.8
CELL_M = 1.0
REACH_M = 60.0
_SIDE = round(2 * REACH_M / CELL_M)
_RISE_M = 1.5
"""Ground further above or below that about the vehicle is taken for a thing, not for a hill."""
_NEAR_M = 15.0
_CLUSTER_M = 0.5
_OWN_FRONT_M, _OWN_REAR_M, _OWN_SIDE_M = 4.6, 1.6, 1.2
"""The vehicle's own body about its rear axle, whose returns are none of the road's."""
PATH_FROM_M = _OWN_FRONT_M - 1.0

Int64s = NDArray[np.int64]


def obstacle_points(
    xyz_m: Float32s,
    ego_SE3_sensor: Float64s,
    curvature: float = 0.0,
    half_width_m: float = np.inf,
    reach_m: float = REACH_M,
) -> Float64s:
    """Returns of a sweep [n, 3] that stand on the road, float64 [m, 3] in the ego frame.

    With a half width only those in the path (see `largest_in_path`).
    """
    points = np.empty((len(xyz_m), 3))
    begin_m = -REACH_M if np.isinf(half_width_m) else PATH_FROM_M
    sweep = read_only(xyz_m)
    found = _obstacles(sweep, ego_SE3_sensor, curvature, half_width_m, begin_m, reach_m, points)
    return points[:found]


@njit(cache=True, nogil=True, error_model="numpy")
def _cell(value: float) -> int:
    """Of a coordinate within `REACH_M`."""
    return int((value + REACH_M) * (1 / CELL_M))


@njit(cache=True, nogil=True, error_model="numpy")
def _obstacles(
    xyz: Float32s, pose: Float64s, curvature: float, half_width_m: float, begin_m: float,
    reach_m: float, out: Float64s,
) -> int:  # fmt: skip
    lowest = np.full((_SIDE, _SIDE), np.inf)
    for i in range(len(xyz)):
        x, y, z = _placed(xyz, pose, i)
        if abs(x) < REACH_M and abs(y) < REACH_M and not _is_own(x, y):
            row, column = _cell(x), _cell(y)
            lowest[row, column] = min(lowest[row, column], z)
    ground = _ground_of_cells(lowest, _ground_about(lowest))
    found = 0
    for i in range(len(xyz)):
        x, y, z = _placed(xyz, pose, i)
        left = y - 0.5 * curvature * x * x
        if not (begin_m < x < reach_m and abs(left) < half_width_m and abs(y) < REACH_M):
            continue
        height = z - ground[_cell(x), _cell(y)]
        if LEAST_HEIGHT_M < height < MOST_HEIGHT_M and not _is_own(x, y):
            out[found, 0], out[found, 1], out[found, 2] = x, y, z
            found += 1
    return found


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _placed(xyz: Float32s, pose: Float64s, i: int) -> tuple[float, float, float]:
    """A return in the ego frame."""
    a, b, c = float(xyz[i, 0]), float(xyz[i, 1]), float(xyz[i, 2])
    return (
        pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3],
        pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3],
        pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3],
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _is_own(x: float, y: float) -> bool:
    return -_OWN_REAR_M < x < _OWN_FRONT_M and abs(y) < _OWN_SIDE_M


@njit(cache=True, nogil=True, error_model="numpy")
def _ground_of_cells(lowest: Float64s, base: float) -> Float64s:
    """Height of the ground in each cell: the lowest return in and about it that may be ground."""
    ground = np.full(lowest.shape, base)
    for row in range(_SIDE):
        for column in range(_SIDE):
            low = np.inf
            for r in range(max(0, row - 1), min(_SIDE, row + 2)):
                for k in range(max(0, column - 1), min(_SIDE, column + 2)):
                    if abs(lowest[r, k] - base) < _RISE_M:
                        low = min(low, lowest[r, k])
            x, y = (row + 0.5) * CELL_M - REACH_M, (column + 0.5) * CELL_M - REACH_M
            # Near the vehicle, ground that high is a thing with none of the road beside it.
            is_thing = low > base + LEAST_HEIGHT_M and np.hypot(x, y) < 2 * _NEAR_M
            if low < np.inf and not is_thing:
                ground[row, column] = low
    return ground


@njit(cache=True, nogil=True, error_model="numpy")
def _ground_about(lowest: Float64s) -> float:
    """Median of the lowest returns of the cells near the vehicle; 0 without any."""
    near = np.empty(lowest.size)
    count = 0
    for row in range(_SIDE):
        for column in range(_SIDE):
            x, y = (row + 0.5) * CELL_M - REACH_M, (column + 0.5) * CELL_M - REACH_M
            if lowest[row, column] < np.inf and np.hypot(x, y) < _NEAR_M:
                near[count] = lowest[row, column]
                count += 1
    return float(np.median(near[:count])) if count else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def largest_in_path(
    points: Float64s, skip: NDArray[np.bool_], curvature: float, half_width_m: float,
    reach_m: float,
) -> tuple[int, float]:  # fmt: skip
    """Returns of the largest cluster in the path, and its distance along it; (0, inf): none.

    `points` float64 [m, 3] in the ego frame, of which those of `skip` bool [m] do not count. The
    path begins at the bumper and bends by `curvature` per metre, positive to the left.
    """
    rows = int(np.ceil(reach_m / _CLUSTER_M))
    columns = int(np.ceil(2 * half_width_m / _CLUSTER_M))
    count = np.zeros((rows, columns), np.int64)
    nearest = np.full((rows, columns), np.inf)
    for i in range(len(points)):
        x = points[i, 0]
        left = points[i, 1] - 0.5 * curvature * x * x
        if skip[i] or not PATH_FROM_M < x < reach_m or abs(left) >= half_width_m:
            continue
        row, column = int(x / _CLUSTER_M), int((left + half_width_m) / _CLUSTER_M)
        count[row, column] += 1
        nearest[row, column] = min(nearest[row, column], x)
    best, away = 0, np.inf
    stack = np.empty((rows * columns, 2), np.int64)
    for row in range(rows):
        for column in range(columns):
            if count[row, column] == 0:
                continue
            total, near = _flooded(count, nearest, stack, row, column)
            if total > best:
                best, away = total, near
    return best, away


@njit(cache=True, nogil=True, error_model="numpy")
def _flooded(
    count: Int64s, nearest: Float64s, stack: Int64s, row: int, column: int
) -> tuple[int, float]:
    """Take a cluster off the grid: its returns and its nearest."""
    total, near, top = 0, np.inf, 1
    stack[0, 0], stack[0, 1] = row, column
    total += count[row, column]
    near = nearest[row, column]
    count[row, column] = 0
    while top:
        top -= 1
        r, c = stack[top, 0], stack[top, 1]
        for a in range(max(0, r - 1), min(count.shape[0], r + 2)):
            for b in range(max(0, c - 1), min(count.shape[1], c + 2)):
                if count[a, b]:
                    total += count[a, b]
                    near = min(near, nearest[a, b])
                    count[a, b] = 0
                    stack[top, 0], stack[top, 1] = a, b
                    top += 1
    return total, near


@njit(cache=True, nogil=True, error_model="numpy")
def in_boxes(points: Float64s, boxes: Float64s, margin_m: Float64s) -> NDArray[np.bool_]:
    """Which points [m, 3] lie in any box, seen from above and grown by its margins [k, 2] along
    and across it.

    `boxes` float64 [k, 7]: middle x, y, z, length, width, height, yaw.
    """
    inside = np.zeros(len(points), np.bool_)
    for k in range(len(boxes)):
        cos, sin = np.cos(boxes[k, 6]), np.sin(boxes[k, 6])
        for i in range(len(points)):
            dx, dy = points[i, 0] - boxes[k, 0], points[i, 1] - boxes[k, 1]
            along, across = cos * dx + sin * dy, -sin * dx + cos * dy
            if (abs(along) <= 0.5 * boxes[k, 3] + margin_m[k, 0]
                    and abs(across) <= 0.5 * boxes[k, 4] + margin_m[k, 1]):  # fmt: skip
                inside[i] = True
    return inside


@njit(cache=True, nogil=True, error_model="numpy")
def hidden_behind(
    places: Float64s, boxes: Float64s, eye_m: tuple[float, float], share: float
) -> NDArray[np.bool_]:
    """Which places [m, 3] (x, y, half width) have so much of their width covered by one box [k, 7]
    that stands nearer, as seen from above by an eye at (x, y). Heights play no part.
    """
    hidden = np.zeros(len(places), np.bool_)
    for m in range(len(places)):
        x, y, half = places[m, 0] - eye_m[0], places[m, 1] - eye_m[1], places[m, 2]
        away = np.hypot(x, y)
        if away < 0.1:
            continue
        ux, uy = x / away, y / away
        for k in range(len(boxes)):
            middle_x, middle_y = boxes[k, 0] - eye_m[0], boxes[k, 1] - eye_m[1]
            if ux * middle_x + uy * middle_y > away - half:
                continue  # no nearer: another box of the same thing, say
            cos, sin = np.cos(boxes[k, 6]), np.sin(boxes[k, 6])
            right, left, nearest = np.inf, -np.inf, np.inf
            for corner in range(4):
                along = boxes[k, 3] * (0.5 if corner < 2 else -0.5)
                across = boxes[k, 4] * (0.5 if corner % 2 else -0.5)
                dx = middle_x + cos * along - sin * across
                dy = middle_y + sin * along + cos * across
                ahead = ux * dx + uy * dy
                nearest = min(nearest, ahead)
                if ahead > 0.5:  # where the line of sight past it comes to, beside the place
                    aside = (ux * dy - uy * dx) * away / ahead
                    right, left = min(right, aside), max(left, aside)
            covered = min(half, left) - max(-half, right)
            if nearest > 0.5 and covered >= share * 2.0 * half:
                hidden[m] = True
                break
    return hidden
