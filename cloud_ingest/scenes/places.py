"""Where scenes lie: their cells, and the locks under which they are counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import h3
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.scenes import Scene

RESOLUTION = 11
"""Cells of about 25 m a side: a scene and what lies within `PLACE_M` are in neighbouring ones."""


def cell_of(scene: Scene) -> str | None:
    """The scene's cell; None for a place that is none on Earth."""
    if not (-90 <= scene.lat_deg <= 90 and -180 <= scene.lon_deg <= 180):
        return None
    return str(h3.latlng_to_cell(scene.lat_deg, scene.lon_deg, RESOLUTION))


def near(cell: str) -> list[str]:
    """A cell and its neighbours."""
    return [str(each) for each in h3.grid_disk(cell, 1)]


async def lock(connection: AsyncConnection, placed: Iterable[tuple[Scene, str]]) -> None:
    """Count alone at these places until the transaction ends.

    Two scenes that may be one lie in neighbouring cells, so their sets of locks meet. Taken in one
    order, so that nobody waits in a ring.
    """
    keys = sorted(
        {
            _key(each, scene.trigger_id)
            for scene, cell in placed
            for each in near(cell)
        }
    )  # fmt: skip
    key = sa.func.unnest(sa.literal(keys, ARRAY(sa.BigInteger))).column_valued("key")
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _key(cell: str, trigger_id: str) -> int:
    digest = hashlib.blake2b(f"scene {cell} {trigger_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
