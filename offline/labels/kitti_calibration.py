"""KITTI's calibration files: how lidar, IMU and the four rectified cameras stand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.geometry import apply_SE3, checked_SE3
from contracts.samples import Float64s

# Tracking and raw data name the same matrices differently.
_ALIASES = {
    "R_rect": "R0_rect", "Tr_velo_cam": "Tr_velo_to_cam", "Tr_imu_velo": "Tr_imu_to_velo",
}  # fmt: skip
_SHAPES = {
    **{f"P{camera}": (3, 4) for camera in range(4)},
    "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4), "Tr_imu_to_velo": (3, 4),
}  # fmt: skip
# The camera's axes (right, down, ahead) from those of ISO 8855 (ahead, left, up).
_OPTICAL: Float64s = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


@dataclass(frozen=True, slots=True)
class Calibration:
    """`camera_SE3_lidar` and `lidar_SE3_imu` float64 [4, 4], camera as `kitti.CAMERA_FRAME`;
    `projections` [4, 3, 4] of the cameras, from right, down, ahead to pixels.
    """

    camera_SE3_lidar: Float64s
    lidar_SE3_imu: Float64s
    projections: Float64s

    def pixels(self, points_m: Float64s, camera: int = 2) -> Float64s:
        """Where points [n, 3] of `CAMERA_FRAME` come to lie in an image: float64 [n, 2], NaN for
        points that are not ahead of it.
        """
        matrix = self.projections[camera]
        seen = apply_SE3(_OPTICAL, points_m) @ matrix[:, :3].T + matrix[:, 3]
        depth = np.where(seen[:, 2] > 0, seen[:, 2], np.nan)
        return np.asarray(seen[:, :2] / depth[:, None])


def read_calibration(path: Path) -> Calibration:
    """Raises `InputError` with `file:line`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    found: dict[str, Float64s] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        name = words[0].removesuffix(":")
        name = _ALIASES.get(name, name)
        if name not in _SHAPES:
            raise InputError(f"{name!r} is none of {', '.join(_SHAPES)}", f"{path}:{number}")
        try:
            found[name] = np.array(words[1:], dtype=np.float64).reshape(_SHAPES[name])
        except ValueError:
            rows, columns = _SHAPES[name]
            raise InputError(f"{name} takes {rows * columns} numbers", f"{path}:{number}") from None
        if not np.isfinite(found[name]).all():
            raise InputError(f"{name} is not finite", f"{path}:{number}")
    lost = [name for name in _SHAPES if name not in found]
    if lost:
        raise InputError(f"lacks {', '.join(lost)}", str(path))
    rectified = np.eye(4)
    rectified[:3, :3] = found["R0_rect"]
    try:
        return Calibration(
            checked_SE3(_OPTICAL.T @ rectified @ _rigid(found["Tr_velo_to_cam"])),
            checked_SE3(_rigid(found["Tr_imu_to_velo"])),
            np.stack([found[f"P{camera}"] for camera in range(4)]),
        )
    except InputError as error:
        raise InputError(error.message, str(path)) from None


def _rigid(matrix: Float64s) -> Float64s:
    return np.vstack([matrix, [0, 0, 0, 1.0]])
