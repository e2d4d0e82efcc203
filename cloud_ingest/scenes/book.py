"""The fleet's scenes: which are known well enough, and which clips count towards them.

Guarantees, over all replicas: of one scene at most `quota` clips are asked for, old ones weighing
less, however many vehicles declare at once, since a place is counted under a lock of its own. A
clip that was asked for and does not come gives its seat back after the upload's time. What is
safety, of the random stream, of unknown place, or of a trigger whose scene is not told, is always
wanted.

A scene that is full is remembered for a minute (`full`), so that the crowd passing it costs no
database; the first after that pays one indexed read. A scene that becomes free is asked for up to
that much later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import to_ns, to_time
from cloud_ingest.scenes.full import REMEMBERED_S, Counted, FullScenes
from cloud_ingest.scenes.places import cell_of, lock, near
from cloud_ingest.steps_schema import scene_clips, scenes
from contracts.clock import NS_PER_DAY, NS_PER_S, Clock
from contracts.scenes import HALF_LIFE_DAYS, Scene
from contracts.upload import UploadRequest

MOST_HOLDERS = 200
MOST_IN_PLACE = 500
"""Scenes of a trigger that are compared at one place, the newest first."""
_HALF_LIFE_S = HALF_LIFE_DAYS * 86_400


class FleetScenes:
    """The scenes of all vehicles.

    Args:
        quota: clips of one scene that are wanted across the fleet; 0 wants all.
        seat_s: how long a clip that was asked for is waited for.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, quota: int, seat_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self.quota = quota
        self._seat_ns = int(seat_s * NS_PER_S)
        self._full = FullScenes()
        self._turned_away: Counter[int] = Counter()
        self._write_at_ns = 0

    async def refusal(self, vehicle_id: str, request: UploadRequest) -> str | None:
        """Why a clip that a vehicle declares is not wanted; None when it is, and has its seat."""
        told = {scene.trigger_id for scene in request.scenes}
        if (
            not self.quota
            or request.safety
            or request.stream == "random"
            or not request.trigger_ids
            or not told.issuperset(request.trigger_ids)
        ):
            return None
        cells = [cell_of(scene) for scene in request.scenes]
        placed = [
            (scene, cell)
            for scene, cell in zip(request.scenes, cells, strict=True)
            if cell is not None
        ]
        if len(placed) < len(cells):
            return None
        remembered = self._full.all_of(request.clip_id, placed, self._clock.utc_ns())
        if remembered is not None:
            self._turned_away.update(remembered)
            return self._refused()
        if self._clock.utc_ns() >= self._write_at_ns:
            await self.write_counts()
        async with self._engine.begin() as connection:
            # The first look costs no lock; the crowd at a full scene ends here.
            known = await self._known(connection, placed)
            if self._are_full(request.clip_id, placed, known):
                return self._refused()
            await lock(connection, placed)
            known = await self._known(connection, placed)
            if self._are_full(request.clip_id, placed, known):
                return self._refused()
            until = to_time(self._clock.utc_ns() + self._seat_ns)
            await self._seat(connection, request.clip_id, placed, known, until)
        return None

    async def give_back(self, clip_id: str) -> None:
        """A clip cannot be sent now after all: its seats are free, if it has not come."""
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.delete(scene_clips).where(
                    scene_clips.c.clip_id == clip_id, scene_clips.c.expires_utc.is_not(None)
                )
            )

    async def register(self, clip_id: str, found: Sequence[Scene]) -> list[int]:
        """Count a clip that has come among its scenes, new ones made; their ids."""
        placed = [(scene, cell) for scene in found if (cell := cell_of(scene)) is not None]
        if not placed:
            return []
        async with self._engine.begin() as connection:
            await lock(connection, placed)
            known = await self._known(connection, placed)
            return await self._seat(connection, clip_id, placed, known, None)

    async def full_scenes(self, most: int) -> list[Counted]:
        """Scenes of which there are enough, those that turned most away first."""
        if not self.quota:
            return []
        await self.write_counts()
        weight = self._weight()
        query = (
            sa.select(
                scenes.c.scene_id,
                scenes.c.scene,
                weight.label("weight"),
                sa.func.max(scene_clips.c.counted_utc).label("newest_utc"),
            )
            .join(scene_clips, scene_clips.c.scene_id == scenes.c.scene_id)
            .where(scene_clips.c.expires_utc.is_(None))
            .group_by(scenes.c.scene_id)
            .having(weight >= self.quota - 0.5)
            .order_by(scenes.c.turned_away.desc(), scenes.c.scene_id)
            .limit(most)
        )
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Counted(
                row.scene_id,
                Scene.model_validate(row.scene),
                float(row.weight),
                day_of(to_ns(row.newest_utc)),
            )
            for row in rows
        ]

    async def write_counts(self) -> None:
        """Write how many were turned away since the last time; they are kept in memory till then,
        so a kill loses some: they rank the common scenes and decide nothing.
        """
        self._write_at_ns = self._clock.utc_ns() + REMEMBERED_S * NS_PER_S
        counts, self._turned_away = self._turned_away, Counter()
        if not counts:
            return
        statement = (
            sa.update(scenes)
            .where(scenes.c.scene_id == sa.bindparam("which"))
            .values(turned_away=scenes.c.turned_away + sa.bindparam("more"))
        )
        rows = [{"which": which, "more": counts[which]} for which in sorted(counts)]
        async with self._engine.begin() as connection:
            await connection.execute(statement, rows)

    async def forget_empty(self, older_than_s: float) -> int:
        """Drop seats whose clip never came, and scenes that no clip counts towards any more."""
        now_ns = self._clock.utc_ns()
        before = to_time(now_ns - int(older_than_s * NS_PER_S))
        async with self._engine.begin() as connection:
            await connection.execute(
                sa.delete(scene_clips).where(scene_clips.c.expires_utc <= to_time(now_ns))
            )
            counted = sa.select(scene_clips.c.clip_id).where(
                scene_clips.c.scene_id == scenes.c.scene_id
            )
            gone = await connection.execute(
                sa.delete(scenes)
                .where(scenes.c.created_utc <= before, ~counted.exists())
                .returning(scenes.c.scene_id)
            )
            return len(gone.all())

    # Inside ----------------------------------------------------------------------------------

    def _refused(self) -> str:
        return f"the fleet has {self.quota} clips of this scene"

    def _weight(self) -> sa.ColumnElement[float]:
        """How much the counted clips of a scene weigh now."""
        now = to_time(self._clock.utc_ns())
        age_s = sa.func.extract("epoch", sa.literal(now) - scene_clips.c.counted_utc)
        halvings = sa.func.greatest(age_s, 0) / _HALF_LIFE_S
        live = sa.or_(scene_clips.c.expires_utc.is_(None), scene_clips.c.expires_utc > now)
        return sa.func.coalesce(
            sa.func.sum(sa.func.power(0.5, sa.cast(halvings, sa.Double))).filter(live), 0.0
        )

    async def _known(
        self, connection: AsyncConnection, placed: Sequence[tuple[Scene, str]]
    ) -> list[Counted]:
        """Scenes about these places, of these triggers."""
        cells = sorted({each for _, cell in placed for each in near(cell)})
        triggers = sorted({scene.trigger_id for scene, _ in placed})
        newest = aggregate_order_by(scene_clips.c.clip_id, scene_clips.c.counted_utc.desc())
        holders = sa.func.array_remove(sa.func.array_agg(newest), None, type_=ARRAY(sa.Text))
        query = (
            sa.select(
                scenes.c.scene_id, scenes.c.scene, self._weight().label("weight"),
                holders[1:MOST_HOLDERS].label("holders"),
            )
            .outerjoin(scene_clips, scene_clips.c.scene_id == scenes.c.scene_id)
            .where(
                scenes.c.cell == sa.any_(sa.literal(cells, ARRAY(sa.Text))),
                scenes.c.trigger_id == sa.any_(sa.literal(triggers, ARRAY(sa.Text))),
            )
            .group_by(scenes.c.scene_id)
            .order_by(scenes.c.scene_id.desc())
            .limit(MOST_IN_PLACE)
        )  # fmt: skip
        rows = (await connection.execute(query)).all()
        return [
            Counted(
                row.scene_id,
                Scene.model_validate(row.scene),
                float(row.weight),
                holders=frozenset(row.holders),
            )
            for row in rows
        ]

    def _are_full(
        self, clip_id: str, placed: Sequence[tuple[Scene, str]], known: Sequence[Counted]
    ) -> bool:
        """Whether there is enough of every scene of a clip that has no seat yet."""
        if any(clip_id in each.holders for each in known):
            return False
        full: list[Counted] = []
        for scene, _ in placed:
            matching = [each for each in known if scene.is_known_from(each.scene)]
            if sum(each.weight for each in matching) < self.quota - 0.5:
                return False
            full += matching
        self._turned_away.update({each.scene_id for each in full})
        for each in full:
            if each.weight >= self.quota - 0.5:
                self._full.remember(each, self._clock.utc_ns())
        return True

    async def _seat(
        self,
        connection: AsyncConnection,
        clip_id: str,
        placed: Sequence[tuple[Scene, str]],
        known: list[Counted],
        until: Any,
    ) -> list[int]:
        """Count a clip towards each of its scenes, which are made where they are new."""
        now = to_time(self._clock.utc_ns())
        taken: set[int] = set()
        for scene, cell in placed:
            matching = [each for each in known if scene.is_known_from(each.scene)]
            if matching:
                best = max(matching, key=lambda each: (clip_id in each.holders, each.weight))
                taken.add(best.scene_id)
                continue
            made = await connection.execute(
                sa.insert(scenes)
                .values(
                    cell=cell, trigger_id=scene.trigger_id,
                    scene=scene.model_dump(mode="json"), created_utc=now,
                )
                .returning(scenes.c.scene_id)
            )  # fmt: skip
            scene_id = int(made.scalar_one())
            taken.add(scene_id)
            known.append(Counted(scene_id, scene, 0.0))
        rows = [
            {
                "scene_id": scene_id, "clip_id": clip_id, "counted_utc": now,
                "expires_utc": until,
            }
            for scene_id in sorted(taken)
        ]  # fmt: skip
        fresh = insert(scene_clips).values(rows)
        # A clip that has come stays counted, also when it is declared again.
        came = scene_clips.c.expires_utc.is_(None)
        later = sa.case((came, None), else_=fresh.excluded.expires_utc)
        await connection.execute(
            fresh.on_conflict_do_update(
                index_elements=[scene_clips.c.scene_id, scene_clips.c.clip_id],
                set_={"expires_utc": later},
            )
        )
        return sorted(taken)


def day_of(utc_ns: int) -> int:
    """The day as `contracts.scenes.Known` counts it."""
    return utc_ns // NS_PER_DAY
