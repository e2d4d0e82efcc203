"""Sweeps of beams: horizontal range, azimuth, and height by a cone for each beam.

What is coded of a point is its horizontal range rho = sqrt(x² + y²) in steps of 2 mm, its
azimuth in 65536 steps to the turn, and its height z as the difference to the beam's cone
z = offset + slope · rho, in steps of 4 mm. The cone is fitted to each segment of each sweep.
A beam of a real sensor is such a cone (its offset is the laser's place on the head): on
KITTI's scans every point lies within 2 mm of it, so heights cost nothing at all.

Error bounds, for ordinary points: 1 mm in horizontal range, 2 mm in height, and across the
beam half an azimuth step and 3 % of one, 5.1e-5 rad: 2.6 mm at 50 m, 6.7 mm at 131 m. Points
at a horizontal range of 131.07 m or more, or 65 m above or below, or not finite, are kept
exactly (`outliers`).

Encoding uses IEEE single operations in a fixed order and sums in double in a fixed order,
without fast-math: the sections are the same on any machine.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import CorruptError
from kernels.lidar.beams import Beams, beams_of_rings, recover_beams, ring_of_points
from kernels.lidar.container import Content, Flag, Kind, Sections
from kernels.lidar.nibbles import nibble_sections, read_nibbles
from kernels.lidar.outliers import outlier_sections, repeat_left, restore_outliers
from kernels.lidar.scratch import scratch
from kernels.lidar.streams import delta_sections, read_delta

RANGE_STEPS_PER_M = 500.0
HEIGHT_STEPS_PER_M = 250.0
AZIMUTH_STEPS = 65536
REACH_M = 131.07
HEIGHT_REACH_M = 65.0
# A fit looks at about this many points of a beam.
_FIT_POINTS = 256
# So many points' x and y stay in the first cache while three loops go over them.
_BLOCK_POINTS = 4096
# A cone beyond these is no beam: without it, heights are coded as they are.
_MAX_OFFSET_M = 100.0
_MAX_SLOPE = 8.0

Float32s = NDArray[np.float32]
U16s = NDArray[np.uint16]


def ring_sections(
    xyz_m: Float32s, ring: U16s | None
) -> tuple[Flag, int, list[tuple[Kind, Content]]] | None:
    """Flags, number of segments and geometry sections of a cloud float32 [n, 3].

    None when there is no `ring` and the order of the points shows none.
    """
    count = xyz_m.shape[0]
    beams = None if ring is None else beams_of_rings(ring)
    order = None if beams is None else beams.order
    coded = xyz_m if order is None else _in_order(xyz_m, order)
    steps = scratch("range steps", np.uint16, count)
    azimuth = scratch("azimuth steps", np.uint16, count)
    z_m = scratch("z", np.float32, count)
    odd = scratch("odd", np.uint8, count)
    found: list[tuple[Kind, Content]] = []
    if _to_cylinder(coded.reshape(-1), steps, azimuth, z_m, odd):
        marked = np.flatnonzero(odd.view(np.bool_))
        found += outlier_sections(coded, odd, marked)
        for values in (steps, azimuth, z_m):
            repeat_left(marked, values)
    if beams is None:
        beams = recover_beams(azimuth)
        if beams is None:
            return None
    flags = Flag.NONE
    if ring is not None and beams.order is not None:
        flags = Flag.PERMUTED
        found += delta_sections(Kind.RING_DELTA, Kind.RING_ESCAPE, ring)
    cones = np.zeros((2, beams.ring.shape[0]), np.float32)
    uneven = _fit_cones(steps, z_m, beams.bounds, cones)
    found.append((Kind.SEGMENTS, _segment_table(beams, cones)))
    found += delta_sections(Kind.RANGE_DELTA, Kind.RANGE_ESCAPE, steps)
    found += nibble_sections(Kind.AZIMUTH_NIBBLES, Kind.AZIMUTH_ESCAPE, azimuth) or delta_sections(
        Kind.AZIMUTH_DELTA, Kind.AZIMUTH_ESCAPE, azimuth
    )
    if uneven:
        heights = scratch("height steps", np.uint16, count)
        _heights(steps, z_m, beams.bounds, cones, heights)
        found += delta_sections(Kind.HEIGHT_DELTA, Kind.HEIGHT_ESCAPE, heights)
    return flags, beams.ring.shape[0], found


def _in_order(xyz_m: Float32s, order: NDArray[np.int64]) -> Float32s:
    held = scratch("coded", np.float32, 3 * len(order)).reshape(-1, 3)
    # Clipping changes no index here, and without it numpy would fill a buffer of its own first.
    return np.take(xyz_m, order, axis=0, out=held, mode="clip")


def read_rings(sections: Sections) -> tuple[Float32s, Beams]:
    """The cloud float32 [n, 3] in the source's order, and its beams.

    Raises:
        CorruptError: a section is missing, has another size or contradicts another.
    """
    count = sections.header.points
    beams, cones = _read_segments(sections)
    steps = read_delta(sections, Kind.RANGE_DELTA, Kind.RANGE_ESCAPE, count)
    if Kind.AZIMUTH_NIBBLES in sections:
        azimuth = read_nibbles(sections, Kind.AZIMUTH_NIBBLES, Kind.AZIMUTH_ESCAPE, count)
    else:
        azimuth = read_delta(sections, Kind.AZIMUTH_DELTA, Kind.AZIMUTH_ESCAPE, count)
    if Kind.HEIGHT_DELTA in sections:
        height = read_delta(sections, Kind.HEIGHT_DELTA, Kind.HEIGHT_ESCAPE, count)
    else:
        height = scratch("level", np.uint16, count)
        height[:] = 0
    coded = np.empty((count, 3), np.float32)
    _from_cylinder(steps, azimuth, height, beams.bounds, cones, _turn_table(), coded)
    restore_outliers(sections, coded)
    if beams.order is None:
        return coded, beams
    xyz_m = np.empty_like(coded)
    xyz_m[beams.order] = coded
    return xyz_m, beams


def _segment_table(beams: Beams, cones: Float32s) -> bytes:
    counts = np.diff(beams.bounds).astype("<u4")
    return beams.ring.astype("<u2").tobytes() + counts.tobytes() + cones.astype("<f4").tobytes()


def _read_segments(sections: Sections) -> tuple[Beams, Float32s]:
    count, segments = sections.header.points, sections.header.segments
    raw = sections.read(Kind.SEGMENTS, 14 * segments)
    ring = np.frombuffer(raw, "<u2", segments).astype(np.uint16)
    counts = np.frombuffer(raw, "<u4", segments, 2 * segments).astype(np.int64)
    cones = np.frombuffer(raw, "<f4", 2 * segments, 6 * segments).astype(np.float32)
    if int(counts.sum()) != count or not bool((np.abs(cones) <= _MAX_OFFSET_M).all()):
        raise CorruptError("does not match the sweep", "lidar sweep section SEGMENTS")
    beams = Beams(ring, np.concatenate(([0], np.cumsum(counts))), None)
    if Flag.PERMUTED in sections.header.flags:
        points = read_delta(sections, Kind.RING_DELTA, Kind.RING_ESCAPE, count)
        order = np.argsort(points, kind="stable")
        if not np.array_equal(points[order], ring_of_points(beams)):
            raise CorruptError("does not match the rings", "lidar sweep section SEGMENTS")
        beams = Beams(ring, beams.bounds, order)
    return beams, cones.reshape(2, segments)


@cache
def _turn_table() -> Float32s:
    """Cosine and sine of each azimuth step: float32 [65536, 2]."""
    angles = np.arange(AZIMUTH_STEPS) * (2.0 * math.pi / AZIMUTH_STEPS)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _azimuth_steps(x: np.float32, y: np.float32) -> np.float32:
    """atan2(y, x) in azimuth steps, in (-32768, 32768], wrong by less than 0.03 of a step.

    An odd minimax polynomial of degree 11 for atan on [0, 1], without branches, so that the
    loop around it runs in vector registers.
    """
    across = abs(x)
    along = abs(y)
    ratio = min(across, along) / (max(across, along) + np.float32(1e-30))
    square = ratio * ratio
    series = np.float32(-0.0117212) * square + np.float32(0.05265332)
    series = series * square + np.float32(-0.11643287)
    series = series * square + np.float32(0.19354346)
    series = series * square + np.float32(-0.33262347)
    series = series * square + np.float32(0.99997726)
    angle = series * ratio * np.float32(AZIMUTH_STEPS / (2.0 * math.pi))
    angle = np.float32(AZIMUTH_STEPS / 4) - angle if along > across else angle
    angle = np.float32(AZIMUTH_STEPS / 2) - angle if x < np.float32(0) else angle
    return -angle if y < np.float32(0) else angle


@njit(nogil=True, cache=True, error_model="numpy")
def _to_cylinder(
    flat: Float32s, steps: U16s, azimuth: U16s, z_m: Float32s, odd: NDArray[np.uint8]
) -> int:
    """Quantises x y z triples; marks in `odd` those out of reach and returns their number.

    A loop for each output, over blocks that stay in the cache: one loop over triples with outputs
    of four widths fills vector registers badly and takes two thirds longer.
    """
    marked = 0
    x_m = np.empty(_BLOCK_POINTS, np.float32)
    y_m = np.empty(_BLOCK_POINTS, np.float32)
    for begin in range(0, steps.shape[0], _BLOCK_POINTS):
        end = min(begin + _BLOCK_POINTS, steps.shape[0])
        x = x_m[: end - begin]
        y = y_m[: end - begin]
        _part(flat[3 * begin : 3 * end], x, y, z_m[begin:end])
        marked += _range_steps(x, y, z_m[begin:end], steps[begin:end], odd[begin:end])
        _turns(x, y, odd[begin:end], azimuth[begin:end])
    return marked


@njit(nogil=True, cache=True, error_model="numpy")
def _part(flat: Float32s, x_m: Float32s, y_m: Float32s, z_m: Float32s) -> None:
    for i in range(x_m.shape[0]):
        x_m[i] = flat[3 * i]
        y_m[i] = flat[3 * i + 1]
        z_m[i] = flat[3 * i + 2]


@njit(nogil=True, cache=True, error_model="numpy")
def _range_steps(
    x_m: Float32s, y_m: Float32s, z_m: Float32s, steps: U16s, odd: NDArray[np.uint8]
) -> int:
    for i in range(steps.shape[0]):
        rho = math.sqrt(x_m[i] * x_m[i] + y_m[i] * y_m[i])
        held = (rho < np.float32(REACH_M)) & (abs(z_m[i]) < np.float32(HEIGHT_REACH_M))
        held = held & (abs(x_m[i]) + abs(y_m[i]) + abs(z_m[i]) > np.float32(0))
        # Converting a NaN or an infinity to an integer is undefined: replace it before.
        safe = rho if held else np.float32(0)
        steps[i] = np.uint16(np.int32(safe * np.float32(RANGE_STEPS_PER_M) + np.float32(0.5)))
        odd[i] = np.uint8(0) if held else np.uint8(1)
    marked = 0
    for i in range(odd.shape[0]):
        marked += odd[i]
    return marked


@njit(nogil=True, cache=True, error_model="numpy")
def _turns(x_m: Float32s, y_m: Float32s, odd: NDArray[np.uint8], azimuth: U16s) -> None:
    for i in range(azimuth.shape[0]):
        turn = _azimuth_steps(x_m[i], y_m[i])
        turn = turn if odd[i] == 0 else np.float32(0)
        azimuth[i] = np.uint16(np.int32(turn + np.float32(AZIMUTH_STEPS + 0.5)))


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_cone(steps: U16s, z_m: Float32s) -> tuple[np.float32, np.float32]:
    """Least squares z = offset + slope · steps over a regular subsample of a beam."""
    stride = max(1, steps.shape[0] // _FIT_POINTS)
    n = 0.0
    sum_q = 0.0
    sum_z = 0.0
    sum_qq = 0.0
    sum_qz = 0.0
    for i in range(0, steps.shape[0], stride):
        q = np.float64(steps[i])
        z = np.float64(z_m[i])
        n += 1.0
        sum_q += q
        sum_z += z
        sum_qq += q * q
        sum_qz += q * z
    spread = n * sum_qq - sum_q * sum_q
    if spread <= 1e-9 * n * sum_qq or n == 0.0:
        return np.float32(0.0), np.float32(0.0)
    slope = (n * sum_qz - sum_q * sum_z) / spread
    offset = (sum_z - slope * sum_q) / n
    if abs(slope) * RANGE_STEPS_PER_M > _MAX_SLOPE or abs(offset) > _MAX_OFFSET_M:
        return np.float32(0.0), np.float32(0.0)
    return np.float32(offset), np.float32(slope)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _height(q: np.uint16, z: np.float32, offset: np.float32, slope: np.float32) -> np.int32:
    above = z - (offset + slope * np.float32(q))
    return np.int32(np.floor(above * np.float32(HEIGHT_STEPS_PER_M) + np.float32(0.5)))


@njit(nogil=True, cache=True, error_model="numpy")
def _height_bits(steps: U16s, z_m: Float32s, offset: np.float32, slope: np.float32) -> np.int32:
    """The bitwise or of all heights above the cone, in zigzag: below 2^16 if each fits."""
    union = np.int32(0)
    for i in range(steps.shape[0]):
        height = _height(steps[i], z_m[i], offset, slope)
        union |= (height << 1) ^ (height >> 31)
    return union


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_cones(steps: U16s, z_m: Float32s, bounds: NDArray[np.int64], cones: Float32s) -> bool:
    """Fits each segment's cone; True if any point is a height step or more off its cone."""
    union = np.int32(0)
    for segment in range(bounds.shape[0] - 1):
        q = steps[bounds[segment] : bounds[segment + 1]]
        z = z_m[bounds[segment] : bounds[segment + 1]]
        offset, slope = _fit_cone(q, z)
        bits = _height_bits(q, z, offset, slope)
        if bits > 65535:
            # The cone misses some point by more than 16 bits hold: without it all fit.
            offset = np.float32(0)
            slope = np.float32(0)
            bits = _height_bits(q, z, offset, slope)
        cones[0, segment] = offset
        cones[1, segment] = slope
        union |= bits
    return bool(union != 0)


@njit(nogil=True, cache=True, error_model="numpy")
def _heights(
    steps: U16s, z_m: Float32s, bounds: NDArray[np.int64], cones: Float32s, heights: U16s
) -> None:
    for segment in range(bounds.shape[0] - 1):
        for i in range(bounds[segment], bounds[segment + 1]):
            height = _height(steps[i], z_m[i], cones[0, segment], cones[1, segment])
            heights[i] = np.uint16(height)


@njit(nogil=True, cache=True, error_model="numpy")
def _from_cylinder(
    steps: U16s,
    azimuth: U16s,
    height: U16s,
    bounds: NDArray[np.int64],
    cones: Float32s,
    turn: Float32s,
    xyz_m: Float32s,
) -> None:
    for segment in range(bounds.shape[0] - 1):
        offset = cones[0, segment]
        slope = cones[1, segment]
        for i in range(bounds[segment], bounds[segment + 1]):
            q = np.float32(steps[i])
            rho = q / np.float32(RANGE_STEPS_PER_M)
            above = np.float32(np.int16(height[i])) / np.float32(HEIGHT_STEPS_PER_M)
            xyz_m[i, 0] = rho * turn[azimuth[i], 0]
            xyz_m[i, 1] = rho * turn[azimuth[i], 1]
            xyz_m[i, 2] = (offset + slope * q) + above
