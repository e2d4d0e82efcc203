"""No-record zones: where the vehicle is, or might be, as far as recording goes.

Guarantees: recording is on only while the vehicle is certainly outside every zone and its margin.
Certain means: by the last fix, and by how far it can have come since. That is what its speed
says where it is published, and `FASTEST_MPS` where not; before the first fix nothing is certain.
Far from every zone a silent receiver therefore costs nothing for minutes, and near one it stops
recording within seconds.

Distances are on a plane about the vehicle (equirectangular), right to a few per mille within the
tens of kilometres that matter; positions are WGS 84.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from edge_agent.redaction.geojson import Polygon, Ring

EARTH_RADIUS_M = 6_371_008.8
FASTEST_MPS = 70.0
"""No road vehicle of a fleet goes faster; what bounds how far one comes unseen."""
GAIN_MPS2 = 10.0
"""Nor gains more between two readings of its speed."""
FIX_ERROR_M = 10.0
"""What a receiver's fix may be off, always added to the margin."""

RESUME_S = 2.0
"""Recording goes on again this far from every zone, so that it does not flap between fixes."""

_M_PER_DEG = math.radians(EARTH_RADIUS_M)


@dataclass(frozen=True, slots=True)
class ZoneState:
    """Whether recording is on, and why not: `in_zone`, `near_zone` (it may have entered one
    since its last fix), `position_unknown` (no fix yet), or empty.
    """

    recording: bool
    reason: str = ""


UNKNOWN = ZoneState(False, "position_unknown")
NEAR_ZONE = ZoneState(False, "near_zone")
IN_ZONE = ZoneState(False, "in_zone")
OUTSIDE = ZoneState(True)


class Zones:
    """Polygons, ready to be asked how far they are. `polygons` may be empty."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._polygons = tuple(polygons)
        outer = [polygon.rings[0] for polygon in self._polygons]
        low = [ring.min(axis=0) for ring in outer]
        self._low = np.array(low, np.float64).reshape(-1, 2)
        self._size = np.array([np.ptp(ring, axis=0) for ring in outer], np.float64).reshape(-1, 2)

    def distance_m(self, lat_deg: float, lon_deg: float) -> float:
        """Metres to the nearest zone's edge, negative inside of one; infinite without zones."""
        scale = _scale(lat_deg)
        west = _wrapped(self._low[:, 0] - lon_deg)
        south = self._low[:, 1] - lat_deg
        east, north = west + self._size[:, 0], south + self._size[:, 1]
        away_x = np.maximum(0.0, np.maximum(west, -east)) * scale[0]
        away_y = np.maximum(0.0, np.maximum(south, -north)) * scale[1]
        bound_m = np.hypot(away_x, away_y)
        nearest_m = math.inf
        # Nearest bounding boxes first: of thousands of zones few need a closer look.
        for which in np.argsort(bound_m).tolist():
            if bound_m[which] >= nearest_m:
                break
            found_m = _distance_m(self._polygons[which], lat_deg, lon_deg)
            nearest_m = min(nearest_m, found_m)
        return nearest_m


def _scale(lat_deg: float) -> tuple[float, float]:
    """Metres a degree of longitude and of latitude."""
    return _M_PER_DEG * math.cos(math.radians(lat_deg)), _M_PER_DEG


def _wrapped(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of longitude in [-180, 180)."""
    wrapped: NDArray[np.float64] = np.remainder(degrees + 180.0, 360.0) - 180.0
    return wrapped


def _distance_m(polygon: Polygon, lat_deg: float, lon_deg: float) -> float:
    rings = [_on_plane(ring, lat_deg, lon_deg) for ring in polygon.rings]
    nearest_m = min(_to_edges_m(ring) for ring in rings)
    inside = _contains(rings[0]) and not any(_contains(hole) for hole in rings[1:])
    return -nearest_m if inside else nearest_m


def _on_plane(ring: Ring, lat_deg: float, lon_deg: float) -> NDArray[np.float64]:
    """Corners [n, 2] in metres east and north of the vehicle."""
    west = ring[:, 0].min()
    east_deg = _wrapped(np.array([west - lon_deg]))[0] + (ring[:, 0] - west)
    east, north = _scale(lat_deg)
    return np.stack([east_deg * east, (ring[:, 1] - lat_deg) * north], axis=1)


def _to_edges_m(corners: NDArray[np.float64]) -> float:
    """From the origin to the nearest edge."""
    start, step = corners[:-1], np.diff(corners, axis=0)
    squared = np.maximum((step * step).sum(axis=1), 1e-12)
    along = np.clip(-(start * step).sum(axis=1) / squared, 0.0, 1.0)
    nearest = start + along[:, None] * step
    return float(np.sqrt((nearest * nearest).sum(axis=1).min()))


def _contains(corners: NDArray[np.float64]) -> bool:
    """Whether the origin is inside: how often a ray to the east is crossed."""
    (x0, y0), (x1, y1) = corners[:-1].T, corners[1:].T
    crosses = (y0 > 0) != (y1 > 0)
    rise = np.where(crosses, y1 - y0, 1.0)
    at_x = x0 - y0 * (x1 - x0) / rise
    return bool(np.count_nonzero(crosses & (at_x > 0)) % 2)


class ZoneGuard:
    """Follows one drive. Not thread-safe: the drive owns it."""

    def __init__(self, polygons: Sequence[Polygon], margin_m: float) -> None:
        self._zones = Zones(polygons)
        self._margin_m = margin_m
        self._known_ns: int | None = None
        self._clear_m = 0.0
        self._moved_m = 0.0
        self._mps = FASTEST_MPS
        self._was_near = False

    def fix(self, mono_ns: int, lat_deg: float, lon_deg: float) -> None:
        """The vehicle was here at this time."""
        away_m = self._zones.distance_m(lat_deg, lon_deg)
        self._known_ns = mono_ns
        self._clear_m = away_m - self._margin_m - FIX_ERROR_M
        self._moved_m = 0.0

    def speed(self, mono_ns: int, mps: float) -> None:
        """It went this fast at this time."""
        if self._known_ns is None or not abs(mps) <= FASTEST_MPS:
            return
        self._moved_m += self._reach_m(mono_ns, abs(mps))
        self._known_ns = max(self._known_ns, mono_ns)
        self._mps = abs(mps)

    def _reach_m(self, mono_ns: int, mps: float) -> float:
        """The farthest it can have come since all that is known."""
        age_s = max(0, mono_ns - (self._known_ns or 0)) / NS_PER_S
        return age_s * min(FASTEST_MPS, mps + GAIN_MPS2 * age_s)

    def state(self, mono_ns: int) -> ZoneState:
        """Whether recording is on at a time, not before all that is known."""
        if self._known_ns is None:
            return UNKNOWN
        if self._clear_m <= 0:
            self._was_near = True
            return IN_ZONE
        needed_m = self._moved_m + self._reach_m(mono_ns, self._mps)
        if self._was_near:
            needed_m += RESUME_S * self._mps
        self._was_near = needed_m >= self._clear_m
        return NEAR_ZONE if self._was_near else OUTSIDE
