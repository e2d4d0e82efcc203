"""Heat maps and box channels of a centre-point model, decoded into boxes; and calibration.

Layout (after CenterPoint, Yin et al. 2021): heat [1, classes, rows, columns] holds
probabilities in the order of the classes. Boxes [1, 10 * groups, rows, columns] holds for each
group of classes: offset x, offset y (in cells, from the cell's lower corner), z of the middle
(m), log length, log width, log height (m), sine and cosine of yaw (any length), velocity x, y
(m/s over ground).

A peak is a cell whose best class of a group is above the threshold and not below any of its
eight neighbours; of equal neighbours the first wins. Rows come by falling score, ties in the
order of groups and cells. The distribution of a box holds the probability of every class at
its cell, scaled down where the sum exceeds 1.

Does not do: suppression across groups. What a cell thinks of other groups is in the
distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from contracts.geometry import BevGrid, Boxes
from contracts.model_manifest import BevCenter, Calibration, ClassCalibration, Decoder
from contracts.samples import Float32s, Float64s

Int64s = NDArray[np.int64]

BOX_CHANNELS = (
    "offset_x", "offset_y", "z_m", "log_length", "log_width", "log_height", "sin", "cos",
    "velocity_x_mps", "velocity_y_mps",
)  # fmt: skip
MAX_CANDIDATES = 4096
"""Peaks that enter suppression; the best by score when there are more."""
_MIN_LOG_M, _MAX_LOG_M = -4.0, 4.5
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class BevDecoded:
    """`boxes` in the ego frame, k of them; raw `scores` float32 [k]; `distributions` float32
    [k, classes]; `cells` int64 [k, 2] row and column of the peaks.
    """

    boxes: Boxes
    scores: Float32s
    distributions: Float32s
    cells: Int64s


class BevDecoder:
    """Decodes the outputs of one model. Raises `InputError` for a class in no group."""

    def __init__(self, decoder: Decoder, classes: Sequence[str]) -> None:
        if decoder.bev is None:
            raise InputError(f"decoder {decoder.name!r} has no bird's-eye parameters")
        self._bev: BevCenter = decoder.bev
        self._decoder = decoder
        groups = {name: g for g, names in enumerate(self._bev.groups) for name in names}
        missing = [name for name in classes if name not in groups]
        if missing:
            raise InputError(f"classes in no group: {missing}")
        self._group_of: Int64s = np.array([groups[name] for name in classes], dtype=np.int64)
        self._suppress_m = np.array(self._bev.suppress_m, dtype=np.float64)

    @property
    def heat_shape(self) -> tuple[int, int, int, int]:
        return 1, self._group_of.size, self._bev.grid.rows, self._bev.grid.columns

    @property
    def boxes_shape(self) -> tuple[int, int, int, int]:
        channels = len(BOX_CHANNELS) * len(self._bev.groups)
        return 1, channels, self._bev.grid.rows, self._bev.grid.columns

    def decode(self, heat: Float32s, boxes: Float32s, threshold: float | None = None) -> BevDecoded:
        """Decode one frame; `threshold` overrides the manifest's.

        Raises `InputError` for other shapes, `CorruptError` when a value is not finite.
        """
        for name, array, shape in (
            ("heat", heat, self.heat_shape), ("boxes", boxes, self.boxes_shape),
        ):  # fmt: skip
            if array.shape != shape or array.dtype != np.float32:
                found = f"{array.dtype} {list(array.shape)}"
                raise InputError(f"expected float32 {list(shape)}, found {found}", name)
            if not np.isfinite(array).all():
                raise CorruptError("the model's output is not finite", name)
        low = self._decoder.score_threshold if threshold is None else threshold
        peaks, scores = _peaks(
            np.ascontiguousarray(heat[0]), self._group_of, len(self._bev.groups), np.float32(low)
        )
        order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
        peaks, scores = peaks[order], scores[order]
        columns = _columns(np.ascontiguousarray(boxes[0]), peaks)
        xy = _centres(columns, peaks, self._bev.grid)
        kept = _apart(xy, peaks[:, 0], self._suppress_m, self._decoder.max_detections)
        return self._decoded(heat, columns[kept], xy[kept], peaks[kept], scores[kept])

    def _decoded(
        self, heat: Float32s, columns: Float64s, xy: Float64s, peaks: Int64s, scores: Float32s
    ) -> BevDecoded:
        seen = heat[0, :, peaks[:, 2], peaks[:, 3]]
        total = seen.sum(axis=1, keepdims=True)
        found = Boxes(
            np.column_stack([xy, columns[:, 2]]),
            np.exp(np.clip(columns[:, 3:6], _MIN_LOG_M, _MAX_LOG_M)),
            np.arctan2(columns[:, 6], columns[:, 7]),
            columns[:, 8:10],
            peaks[:, 1],
            np.full(scores.size, -1, dtype=np.int64),
        )
        return BevDecoded(found, scores, seen / np.maximum(total, np.float32(1)), peaks[:, 2:])


@njit(nogil=True, cache=True, error_model="numpy")
def _peaks(
    heat: Float32s, group_of: Int64s, groups: int, threshold: np.float32
) -> tuple[Int64s, Float32s]:
    """Peaks int64 [k, 4] group, class, row, column, and their scores."""
    classes, rows, columns = heat.shape
    peaks = np.empty((groups * rows * columns, 4), dtype=np.int64)
    scores = np.empty(groups * rows * columns, dtype=np.float32)
    best = np.empty((rows, columns), dtype=np.float32)
    which = np.empty((rows, columns), dtype=np.int64)
    found = 0
    for group in range(groups):
        best[:] = np.float32(-1)
        for kind in range(classes):
            if group_of[kind] != group:
                continue
            for i in range(rows):
                for j in range(columns):
                    if heat[kind, i, j] > best[i, j]:
                        best[i, j] = heat[kind, i, j]
                        which[i, j] = kind
        for i in range(rows):
            for j in range(columns):
                score = best[i, j]
                if score > threshold and _is_peak(best, i, j):
                    peaks[found, 0] = group
                    peaks[found, 1] = which[i, j]
                    peaks[found, 2] = i
                    peaks[found, 3] = j
                    scores[found] = score
                    found += 1
    return peaks[:found].copy(), scores[:found].copy()


@njit(nogil=True, cache=True, error_model="numpy")
def _is_peak(best: Float32s, i: int, j: int) -> bool:
    rows, columns = best.shape
    score = best[i, j]
    for a in range(max(0, i - 1), min(rows, i + 2)):
        for b in range(max(0, j - 1), min(columns, j + 2)):
            earlier = a < i or (a == i and b < j)
            if best[a, b] > score or (earlier and best[a, b] == score):
                return False
    return True


def _columns(boxes: Float32s, peaks: Int64s) -> Float64s:
    """The ten channels of each peak's group at its cell, float64 [k, 10]."""
    channel = peaks[:, :1] * len(BOX_CHANNELS) + np.arange(len(BOX_CHANNELS))
    return np.asarray(boxes[channel, peaks[:, 2:3], peaks[:, 3:4]], dtype=np.float64)


def _centres(columns: Float64s, peaks: Int64s, grid: BevGrid) -> Float64s:
    corner = (grid.x_min_m, grid.y_min_m)
    return np.asarray((peaks[:, 2:] + columns[:, :2]) * grid.cell_m + corner)


@njit(nogil=True, cache=True, error_model="numpy")
def _apart(xy: Float64s, group: Int64s, radius_m: Float64s, most: int) -> Int64s:
    """Rows, of falling score, with no better one of their group within its radius."""
    kept = np.empty(min(xy.shape[0], most), dtype=np.int64)
    found = 0
    for i in range(xy.shape[0]):
        if found == kept.size:
            break
        good = True
        limit = radius_m[group[i]] ** 2
        for k in range(found):
            j = kept[k]
            dx, dy = xy[i, 0] - xy[j, 0], xy[i, 1] - xy[j, 1]
            if group[j] == group[i] and dx * dx + dy * dy < limit:
                good = False
                break
        if good:
            kept[found] = i
            found += 1
    return kept[:found]


def calibrated_by_class(
    scores: NDArray[np.floating], class_index: Int64s, calibration: Calibration,
    classes: Sequence[str],
) -> Float64s:  # fmt: skip
    """Probabilities [k] of raw scores [k], by each class's sigmoid or else the common one."""
    plain = scores.astype(np.float64)
    if calibration.method == "none":
        return plain
    curves = _curves(calibration.by_class, classes, calibration.slope, calibration.bias)
    inside = np.clip(plain, _EDGE, 1 - _EDGE)
    logit = np.log(inside / (1 - inside))
    slope, bias = curves[class_index, 0], curves[class_index, 1]
    return np.asarray(1 / (1 + np.exp(-(logit * slope + bias))))


def _curves(
    by_class: Mapping[str, ClassCalibration], classes: Sequence[str], slope: float, bias: float
) -> Float64s:
    """Slope and bias of every class, float64 [classes, 2]."""
    table = np.tile([slope, bias], (len(classes), 1)).astype(np.float64)
    for row, name in enumerate(classes):
        own = by_class.get(name)
        if own is not None:
            table[row] = own.slope, own.bias
    return table


def light_probabilities(output: Float32s, calibration: Calibration) -> Float64s:
    """Probabilities [states] of the light's softmax output [1, states], by temperature."""
    logs = np.log(np.clip(output.reshape(-1).astype(np.float64), 1e-12, None))
    logs = logs / calibration.light_temperature
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())
