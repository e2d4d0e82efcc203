"""Zones from GeoJSON (RFC 7946): polygons of longitude and latitude, with holes.

Takes a `FeatureCollection`, a `Feature` or a bare geometry; only `Polygon` and `MultiPolygon`
make a zone, anything else is an error that names its place. A ring that spans more than half the
globe is refused: one across the antimeridian is written as two (RFC 7946, 3.1.9).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError

MAX_BYTES = 16 * 1024 * 1024
MAX_CORNERS = 200_000

Ring = NDArray[np.float64]
"""float64 [n, 2]: longitude and latitude in degrees; the last corner is the first."""


@dataclass(frozen=True, slots=True)
class Polygon:
    """One polygon: its outer ring, then its holes. `name` is the feature's, for people."""

    name: str
    rings: tuple[Ring, ...]


def read_zones(path: Path) -> tuple[Polygon, ...]:
    """All polygons of a file. Raises `InputError` with the place of what is wrong."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES >> 20} MiB", str(path))
        content = json.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise InputError("nested too deeply", str(path)) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"cannot be read as GeoJSON: {error}", str(path)) from error
    return parse_zones(content, str(path))


def parse_zones(content: Any, place: str) -> tuple[Polygon, ...]:
    """The polygons of parsed JSON; at least one. Raises `InputError`."""
    polygons = tuple(_polygons(content, place))
    if not polygons:
        raise InputError("no Polygon or MultiPolygon in it", place)
    if sum(len(ring) for polygon in polygons for ring in polygon.rings) > MAX_CORNERS:
        raise InputError(f"more than {MAX_CORNERS} corners", place)
    return polygons


def _polygons(content: Any, place: str) -> Iterator[Polygon]:
    kind = content.get("type") if isinstance(content, dict) else None
    match kind:
        case "FeatureCollection":
            for number, feature in enumerate(_list(content, "features", place)):
                yield from _polygons(feature, f"{place}: features[{number}]")
        case "Feature":
            properties = content.get("properties")
            name = properties.get("name") if isinstance(properties, dict) else None
            yield from _geometry(content.get("geometry"), str(name or ""), place)
        case _:
            yield from _geometry(content, "", place)


def _geometry(content: Any, name: str, place: str) -> Iterator[Polygon]:
    kind = content.get("type") if isinstance(content, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise InputError(f"a zone is a Polygon or a MultiPolygon, not {kind!r}", place)
    found = _list(content, "coordinates", place)
    for number, rings in enumerate([found] if kind == "Polygon" else found):
        where = place if kind == "Polygon" else f"{place}: polygon {number}"
        if not isinstance(rings, list) or not rings:
            raise InputError("a polygon is a list of rings", where)
        yield Polygon(name, tuple(_ring(ring, where) for ring in rings))


def _list(content: dict[str, Any], key: str, place: str) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list):
        raise InputError(f"{key!r} is no list", place)
    return found


def _ring(corners: Any, place: str) -> Ring:
    if not isinstance(corners, list) or len(corners) < 4:
        raise InputError("a ring has four corners or more, the last being the first", place)
    ring = np.array([_corner(corner, place) for corner in corners], np.float64)
    if not np.array_equal(ring[0], ring[-1]):
        raise InputError("a ring's last corner is its first", place)
    if np.ptp(ring[:, 0]) > 180.0:
        raise InputError("the ring spans over 180 degrees: cut it at the antimeridian", place)
    return ring


def _corner(corner: Any, place: str) -> tuple[float, float]:
    is_pair = isinstance(corner, list) and 2 <= len(corner) <= 3
    numbers = corner[:2] if is_pair else []
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise InputError(f"{corner!r} is no position: [longitude, latitude]", place)
    try:
        lon_deg, lat_deg = float(numbers[0]), float(numbers[1])
    except OverflowError:
        lon_deg = lat_deg = math.inf
    inside = math.isfinite(lon_deg) and abs(lon_deg) <= 180.0 and abs(lat_deg) <= 90.0
    if not inside:
        raise InputError(f"[{lon_deg:g}, {lat_deg:g}] is not [longitude, latitude]", place)
    return lon_deg, lat_deg
