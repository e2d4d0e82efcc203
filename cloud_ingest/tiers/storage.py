"""Where each clip lies, where it should lie, and its way there.

Guarantees: a clip is copied and verified before its other copy goes, and the row tells the tier in
between; a kill at any moment leaves a clip that can be read, and a move that is gone on with. One
worker moves a clip at a time, over all replicas: the row is locked for the length of the copy. What
is pinned while it goes cold comes back by the next sweep.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cloud_ingest.database import among, to_time
from cloud_ingest.label_schema import review_tasks
from cloud_ingest.schema import clips
from cloud_ingest.steps_schema import clip_pins, clip_storage
from cloud_ingest.tiers.rules import TierRules
from cloud_ingest.tiers.store import TieredObjects
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError
from contracts.review import ReviewState
from contracts.storage import Tier, TierReport, TierUse

SWEEP_S = 600
MOST_A_SWEEP = 10_000
MOST_REMEMBERED = 100_000
_GB = 10**9
_FINAL = (ReviewState.ACCEPTED.value, ReviewState.REJECTED.value)
_log = structlog.get_logger(__name__)

_pinned = sa.or_(
    sa.exists().where(clip_pins.c.clip_id == clips.c.clip_id),
    sa.exists().where(
        review_tasks.c.clip_id == clips.c.clip_id, review_tasks.c.state.not_in(_FINAL)
    ),
)
_tier = sa.func.coalesce(clip_storage.c.tier, "hot")
_with_storage = clips.outerjoin(clip_storage, clip_storage.c.clip_id == clips.c.clip_id)


class Storage:
    """The tiers of all clips.

    Args:
        objects: both tiers; clips that it opens count as used.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Clock, objects: TieredObjects, rules: TierRules
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._objects = objects
        self.rules = rules
        self._used: set[str] = set()
        self._next_ns = 0
        objects.on_use = self._on_use

    def _on_use(self, clip_id: str) -> None:
        if len(self._used) < MOST_REMEMBERED:
            self._used.add(clip_id)

    async def chore(self) -> None:
        """Write what was used, sweep when it is time, and move one clip."""
        await self.write_uses()
        if self._clock.utc_ns() >= self._next_ns:
            self._next_ns = self._clock.utc_ns() + SWEEP_S * NS_PER_S
            await self.sweep()
        await self.move_one()

    async def write_uses(self) -> None:
        """A use by any reader counts from now on; one of a cold clip brings it back."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await self._write_uses(used)
        except BaseException:
            self._used |= used  # to be written in the next round
            raise

    async def _write_uses(self, used: set[str]) -> None:
        now = to_time(self._clock.utc_ns())
        known = (
            sa.select(clips.c.clip_id, sa.literal("hot"), sa.literal(now), sa.literal(now))
            .where(among(clips.c.clip_id, used))
            .order_by(clips.c.clip_id)
        )
        is_back = sa.and_(clip_storage.c.tier == "cold", clip_storage.c.wanted.is_(None))
        statement = (
            insert(clip_storage)
            .from_select(["clip_id", "tier", "changed_utc", "used_utc"], known)
            .on_conflict_do_update(
                index_elements=[clip_storage.c.clip_id],
                set_={
                    "used_utc": now,
                    "wanted": sa.case((is_back, "hot"), else_=clip_storage.c.wanted),
                },
            )
        )
        async with self._engine.begin() as connection:
            await connection.execute(statement)

    async def sweep(self) -> dict[str, int]:
        """Mark what should move, by the rules; returns how many to each tier."""
        now_ns = self._clock.utc_ns()
        old = to_time(now_ns) - dt.timedelta(days=self.rules.cold_after_days)
        unused = to_time(now_ns) - dt.timedelta(days=self.rules.unused_days)
        used_lately = sa.func.coalesce(clip_storage.c.used_utc > unused, sa.false())
        still = clip_storage.c.wanted.is_(None)
        to_cold = sa.and_(
            _tier == "hot", still, clips.c.received_utc <= old,
            clips.c.size_bytes >= self.rules.least_bytes, ~used_lately, ~_pinned,
        )  # fmt: skip
        to_hot = sa.and_(_tier == "cold", still, _pinned)
        marked = {}
        async with self._engine.begin() as connection:
            for wanted, condition in (("hot", to_hot), ("cold", to_cold)):
                marked[wanted] = await self._mark(connection, wanted, condition, now_ns)
        return marked

    async def _mark(
        self,
        connection: AsyncConnection,
        wanted: str,
        condition: sa.ColumnElement[bool],
        now_ns: int,
    ) -> int:
        found = (
            sa.select(
                clips.c.clip_id, _tier, sa.literal(wanted), sa.literal(to_time(now_ns))
            )
            .select_from(_with_storage)
            .where(condition)
            .order_by(clips.c.received_utc)
            .limit(MOST_A_SWEEP)
        )  # fmt: skip
        statement = insert(clip_storage).from_select(
            ["clip_id", "tier", "wanted", "changed_utc"], found
        )
        done = await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[clip_storage.c.clip_id], set_={"wanted": wanted}
            ).returning(clip_storage.c.clip_id)
        )
        return len(done.all())

    async def move_one(self) -> str | None:
        """Move one clip that is marked; its id, None when there is none."""
        due = (
            sa.select(clip_storage)
            .where(clip_storage.c.wanted.is_not(None))
            .order_by(clip_storage.c.changed_utc)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as connection:
            row = (await connection.execute(due)).one_or_none()
            if row is None:
                return None
            tier = cast(Tier, row.wanted)
            try:
                await self._objects.copy_to(tier, row.clip_id)
            except LongtailError as error:
                # It stays where it is and can be read there; the next sweep may try again.
                _log.warning("not moved", clip_id=row.clip_id, to=tier, reason=str(error))
                tier = cast(Tier, row.tier)
            await connection.execute(
                sa.update(clip_storage)
                .where(clip_storage.c.clip_id == row.clip_id)
                .values(tier=tier, wanted=None, changed_utc=to_time(self._clock.utc_ns()))
            )
            if tier != row.tier:
                # Under the row's lock: nobody can have begun to move it back.
                await self._objects.keep_only(tier, row.clip_id)
        return str(row.clip_id)

    async def report(self) -> TierReport:
        """Clips, bytes and what they cost a month, by tier."""
        size = sa.func.coalesce(sa.func.sum(clips.c.size_bytes), 0)
        query = (
            sa.select(
                _tier.label("tier"),
                sa.func.count().label("clips"),
                size.label("size_bytes"),
                sa.func.count().filter(_pinned).label("pinned_clips"),
                sa.func.coalesce(sa.func.sum(clips.c.size_bytes).filter(_pinned), 0).label(
                    "pinned_bytes"
                ),
                sa.func.count(clip_storage.c.wanted).label("moving_clips"),
            )
            .select_from(_with_storage)
            .group_by(_tier)
        )
        async with self._engine.connect() as connection:
            found = {row.tier: row for row in (await connection.execute(query)).all()}
        prices: dict[Tier, float] = {"hot": self.rules.hot_price, "cold": self.rules.cold_price}
        used = tuple(_use(tier, price, found.get(tier)) for tier, price in prices.items())
        every = sum(each.size_bytes for each in used)
        return TierReport(
            tiers=used,
            cost_per_month=sum(each.cost_per_month for each in used),
            all_hot_per_month=every / _GB * self.rules.hot_price,
            currency=self.rules.currency,
        )


def _use(tier: Tier, price: float, row: Any) -> TierUse:
    names = ("clips", "size_bytes", "pinned_clips", "pinned_bytes", "moving_clips")
    counts = {name: 0 if row is None else int(getattr(row, name)) for name in names}
    cost = counts["size_bytes"] / _GB * price
    return TierUse(tier=tier, price=price, cost_per_month=cost, **counts)
