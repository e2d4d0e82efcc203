"""Maps by name of their region. The same region, seed and season give the same map."""

from __future__ import annotations

from functools import lru_cache

from contracts.errors import InputError
from contracts.signals import nearest_name
from sim_fleet.world.grid import CITY, SUBURB, GridMap
from sim_fleet.world.loop import country, motorway
from sim_fleet.world.palette import SEASONS
from sim_fleet.world.roadmap import RoadMap

REGIONS = ("city", "suburb", "motorway", "country")


@lru_cache(maxsize=8)
def region_map(region: str, seed: int, season: str = "summer") -> RoadMap:
    """The map; the newest few are kept. Raises `InputError` for an unknown region or season."""
    if season not in SEASONS:
        raise InputError(f"no season {season!r}; known: {', '.join(SEASONS)}")
    match region:
        case "city":
            return GridMap(CITY, seed, season).finish()
        case "suburb":
            return GridMap(SUBURB, seed, season).finish()
        case "motorway":
            return motorway(seed, season)
        case "country":
            return country(seed, season)
    hint = nearest_name(region, REGIONS)
    raise InputError(f"no region {region!r}{hint}; known: {', '.join(REGIONS)}")
