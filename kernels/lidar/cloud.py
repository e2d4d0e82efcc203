"""The two shapes of lidar sweeps that the codec takes and gives back.

A constructor checks shapes and types, so that the kernels behind it may trust them. It does
not copy: the arrays stay the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError

MAX_POINTS = 1 << 23
MAX_RINGS = 1 << 12
MAX_COLUMNS = 1 << 16


@dataclass(frozen=True, slots=True)
class LidarPoints:
    """One sweep as points, in the order in which they were measured.

    Attributes:
        xyz_m: float32 [n, 3], sensor frame. A no-return is (0, 0, 0) or (NaN, NaN, NaN).
        intensity: uint8 [n]. A sensor that gives floats in [0, 1] is scaled by 255, see
            `intensity_from_unit`.
        ring: uint16 [n] beam of each point, or None when the source has no such field.
        time_offset_ns: int32 [n] from the sweep's stamp, or None.

    Raises:
        InputError: an array has another type or length.
    """

    xyz_m: NDArray[np.float32]
    intensity: NDArray[np.uint8]
    ring: NDArray[np.uint16] | None = None
    time_offset_ns: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.xyz_m.ndim != 2 or self.xyz_m.shape[1] != 3:
            raise InputError(f"must be [n, 3], is {list(self.xyz_m.shape)}", "xyz_m")
        count = self.xyz_m.shape[0]
        if count > MAX_POINTS:
            raise InputError(f"{count} points; a sweep holds at most {MAX_POINTS}", "xyz_m")
        _check("xyz_m", self.xyz_m, np.float32, self.xyz_m.shape)
        _check("intensity", self.intensity, np.uint8, (count,))
        if self.ring is not None:
            _check("ring", self.ring, np.uint16, (count,))
        if self.time_offset_ns is not None:
            _check("time_offset_ns", self.time_offset_ns, np.int32, (count,))

    def __len__(self) -> int:
        return int(self.xyz_m.shape[0])


@dataclass(frozen=True, slots=True)
class LidarGrid:
    """One sweep of an organised sensor: each row is a beam, each column a firing.

    Attributes:
        range_m: float32 [rings, columns], slant range; NaN or 0 is a no-return.
        intensity: uint8 [rings, columns].
        azimuth_rad: float32 [columns], counter-clockwise from x forward.
        elevation_rad: float32 [rings], up from the horizontal.
        column_time_ns: int32 [columns] from the sweep's stamp, or None.

    Raises:
        InputError: an array has another type or shape, or an angle is not finite.
    """

    range_m: NDArray[np.float32]
    intensity: NDArray[np.uint8]
    azimuth_rad: NDArray[np.float32]
    elevation_rad: NDArray[np.float32]
    column_time_ns: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.range_m.ndim != 2:
            raise InputError(f"must be [rings, columns], is {list(self.range_m.shape)}", "range_m")
        rings, columns = self.range_m.shape
        if rings > MAX_RINGS or columns > MAX_COLUMNS or rings * columns > MAX_POINTS:
            raise InputError(f"{rings} x {columns} is more than a sweep holds", "range_m")
        _check("range_m", self.range_m, np.float32, (rings, columns))
        _check("intensity", self.intensity, np.uint8, (rings, columns))
        _check("azimuth_rad", self.azimuth_rad, np.float32, (columns,))
        _check("elevation_rad", self.elevation_rad, np.float32, (rings,))
        for name, angles in (
            ("azimuth_rad", self.azimuth_rad),
            ("elevation_rad", self.elevation_rad),
        ):
            if not bool(np.isfinite(angles).all()):
                raise InputError("holds an angle that is not finite", name)
        if self.column_time_ns is not None:
            _check("column_time_ns", self.column_time_ns, np.int32, (columns,))


def intensity_from_unit(intensity: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Reflectance in [0, 1] (KITTI: steps of 0.01) as uint8 of 255 steps; NaN becomes 0.

    Steps of 0.01 stay apart, so `round(level / 255, 2)` gives back what KITTI wrote.
    """
    scaled: NDArray[np.floating] = np.nan_to_num(intensity, nan=0.0) * 255.0 + 0.5
    levels: NDArray[np.uint8] = np.clip(scaled, 0.0, 255.0).astype(np.uint8)
    return levels


def _check(
    name: str, array: NDArray[np.generic], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        want = f"{np.dtype(dtype).name} {list(shape)}"
        raise InputError(f"must be {want}, is {array.dtype.name} {list(array.shape)}", name)
