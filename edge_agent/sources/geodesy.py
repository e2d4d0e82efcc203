"""WGS 84 to a local east-north-up frame, and the rotations that go with it.

Formulas: closed form geodetic-to-ECEF; ECEF-to-geodetic by Bowring's method, below a
millimetre for heights within 10 km of the ellipsoid.
"""

from __future__ import annotations

import numpy as np

from contracts.samples import Float64s

_A_M = 6_378_137.0
_F = 1.0 / 298.257223563
_B_M = _A_M * (1.0 - _F)
_E2 = _F * (2.0 - _F)
_EP2 = _E2 / (1.0 - _E2)


def ecef_from_geodetic(lat_rad: Float64s, lon_rad: Float64s, alt_m: Float64s) -> Float64s:
    """Positions in the earth-centred frame, float64 [n, 3] in metres."""
    normal_m = _A_M / np.sqrt(1.0 - _E2 * np.sin(lat_rad) ** 2)
    return np.stack(
        [
            (normal_m + alt_m) * np.cos(lat_rad) * np.cos(lon_rad),
            (normal_m + alt_m) * np.cos(lat_rad) * np.sin(lon_rad),
            (normal_m * (1.0 - _E2) + alt_m) * np.sin(lat_rad),
        ],
        axis=-1,
    )


def geodetic_from_ecef(position_m: Float64s) -> tuple[Float64s, Float64s, Float64s]:
    """Latitude and longitude in radians and height in metres of `position_m` [..., 3]."""
    x, y, z = position_m[..., 0], position_m[..., 1], position_m[..., 2]
    across = np.hypot(x, y)
    beta = np.arctan2(z * _A_M, across * _B_M)
    lat = np.arctan2(z + _EP2 * _B_M * np.sin(beta) ** 3, across - _E2 * _A_M * np.cos(beta) ** 3)
    normal_m = _A_M / np.sqrt(1.0 - _E2 * np.sin(lat) ** 2)
    alt_m = across * np.cos(lat) + z * np.sin(lat) - _A_M * _A_M / normal_m
    return lat, np.arctan2(y, x), alt_m


def rotation_to_enu(origin_m: Float64s) -> Float64s:
    """Rotation [3, 3] from the earth-centred axes to east, north, up at `origin_m` [3]."""
    lat, lon, _ = geodetic_from_ecef(origin_m)
    sin_lat, cos_lat, sin_lon, cos_lon = np.sin(lat), np.cos(lat), np.sin(lon), np.cos(lon)
    return np.array(
        [
            [-sin_lon, cos_lon, 0.0],
            [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        ]
    )


def rotations_of(wxyz: Float64s) -> Float64s:
    """Rotation matrices [n, 3, 3] of Hamilton quaternions [n, 4] given as w, x, y, z."""
    w, x, y, z = np.moveaxis(wxyz / np.linalg.norm(wxyz, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternions_of(rotations: Float64s) -> Float64s:
    """Unit quaternions [n, 4] as x, y, z, w of rotation matrices [n, 3, 3].

    The largest of the four components is found first, so no division is by a small number.
    """
    m = rotations
    trace = np.trace(m, axis1=-2, axis2=-1)
    squares = np.stack(
        [
            1 + 2 * m[:, 0, 0] - trace,
            1 + 2 * m[:, 1, 1] - trace,
            1 + 2 * m[:, 2, 2] - trace,
            1 + trace,
        ],
        axis=-1,
    )
    xy, xz, yz = (m[:, i, j] + m[:, j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    wx, wy, wz = (m[:, i, j] - m[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    table = np.stack(
        [
            np.stack([squares[:, 0], xy, xz, wx], axis=-1),
            np.stack([xy, squares[:, 1], yz, wy], axis=-1),
            np.stack([xz, yz, squares[:, 2], wz], axis=-1),
            np.stack([wx, wy, wz, squares[:, 3]], axis=-1),
        ],
        axis=1,
    )
    best = np.argmax(squares, axis=-1)
    chosen: Float64s = table[np.arange(m.shape[0]), best]
    chosen = chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)
    # One sign for each rotation, and no jumps between neighbours: w is kept positive.
    return np.where(chosen[:, 3:] < 0, -chosen, chosen)
