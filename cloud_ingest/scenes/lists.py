"""The list of scenes that the fleet has enough of, as vehicles read it (`fleet-scenes.json`).

Guarantees: a list's name is the digest of its bytes, which never change; replicas agree on the
newest one, since it lies in the database; it is made anew at most every `every_s`, and only when
something in it has changed. The digest travels in the director's signed answer to a check-in.

A list holds the scenes that turned most clips away, within `MAX_LIST_BYTES`. It tells places and
what stood there, of clips of any vehicle, to every vehicle of the fleet; no vehicle, no time finer
than a day.
"""

from __future__ import annotations

import datetime as dt
import hashlib

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import to_time
from cloud_ingest.problems import AbsentError
from cloud_ingest.scenes.book import FleetScenes
from cloud_ingest.steps_schema import scene_lists
from contracts.clock import NS_PER_S, Clock
from contracts.scenes import MAX_LIST_BYTES, MOST_LISTED, Known

KEPT = dt.timedelta(days=7)
_REMEMBERED_NS = 10 * NS_PER_S
_LIST = TypeAdapter(tuple[Known, ...])


class FleetSceneLists:
    """Makes and serves the lists of all replicas."""

    def __init__(
        self, engine: AsyncEngine, clock: Clock, scenes: FleetScenes, every_s: float
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._scenes = scenes
        self._every_ns = int(every_s * NS_PER_S)
        self._newest: tuple[int, str | None] | None = None
        self._next_ns = 0

    async def newest(self) -> str | None:
        """Digest of the newest list, as it was within the last seconds."""
        now_ns = self._clock.utc_ns()
        if self._newest is None or not 0 <= now_ns - self._newest[0] < _REMEMBERED_NS:
            query = (
                sa.select(scene_lists.c.sha256).order_by(scene_lists.c.created_utc.desc()).limit(1)
            )
            async with self._engine.connect() as connection:
                self._newest = now_ns, (await connection.execute(query)).scalar_one_or_none()
        return self._newest[1]

    async def read(self, sha256: str) -> bytes:
        """A list's bytes. Raises `AbsentError`."""
        query = sa.select(scene_lists.c.content).where(scene_lists.c.sha256 == sha256)
        async with self._engine.connect() as connection:
            content = (await connection.execute(query)).scalar_one_or_none()
        if content is None:
            raise AbsentError("there is no such list", sha256)
        return bytes(content)

    async def make_when_due(self) -> None:
        """Make the list when it is time; a chore of each replica's loop."""
        if self._clock.utc_ns() >= self._next_ns:
            self._next_ns = self._clock.utc_ns() + self._every_ns
            await self._scenes.forget_empty(older_than_s=self._every_ns / NS_PER_S)
            await self.make()

    async def make(self) -> str | None:
        """Make the list now; its digest, None when no scene is full and none ever was."""
        now_ns = self._clock.utc_ns()
        full = await self._scenes.full_scenes(MOST_LISTED)
        content, listed = _content(
            [
                # As the vehicle weighs them; what does not change keeps the list as it is.
                Known(scene=each.scene, day=each.newest_day, weight=float(self._scenes.quota))
                for each in full
            ]
        )
        if not listed and await self.newest() is None:
            return None
        digest = hashlib.sha256(content).hexdigest()
        row = {
            "sha256": digest, "content": content, "listed": listed,
            "created_utc": to_time(now_ns),
        }  # fmt: skip
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(scene_lists)
                .values(row)
                .on_conflict_do_update(
                    index_elements=[scene_lists.c.sha256], set_={"created_utc": to_time(now_ns)}
                )
            )
            # A vehicle may still be about to fetch the list before.
            await connection.execute(
                sa.delete(scene_lists).where(
                    scene_lists.c.created_utc < to_time(now_ns) - KEPT,
                    scene_lists.c.sha256 != digest,
                )
            )
        self._newest = now_ns, digest
        return digest


def _content(known: list[Known]) -> tuple[bytes, int]:
    """The list as JSON, its least common scenes left out until it fits; and how many are in it."""
    content = _LIST.dump_json(tuple(known))
    while len(content) > MAX_LIST_BYTES:
        known = known[: len(known) * MAX_LIST_BYTES // len(content)]
        content = _LIST.dump_json(tuple(known))
    return content, len(known)
