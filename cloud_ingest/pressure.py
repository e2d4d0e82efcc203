"""Backpressure: how near the service is to its limits, who has to wait, and how fast to send.

Depth is measured, not guessed, each as a share of its limit: bodies in this process's memory; bytes
of unfinished uploads; clips whose steps are not done, or that no search by a sentence finds yet;
labels that wait for a person. The *load* is the largest of them.

Guarantees: memory for bodies is bounded, however slow the store is; the least valuable wait
first: ordinary clips from 70 % on, the random stream from 85 %, matters of safety at the limit
itself. From half of the limit on vehicles are advised a rate: their part of what the store has
lately taken, less as the load grows, so that the fleet slows before anybody is refused.

Each replica looks after its own memory and advises from what it has itself stored; the other
figures are the database's.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import for_single_reads
from cloud_ingest.label_schema import review_tasks
from cloud_ingest.problems import PressureError
from cloud_ingest.schema import OPEN, READY, clips, outbox, uploads
from cloud_ingest.settings import Settings
from cloud_ingest.steps_schema import step_runs
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError

Value = Literal["ordinary", "random", "safety"]

SHARES: dict[Value, float] = {"ordinary": 0.7, "random": 0.85, "safety": 1.0}
"""Load from which on clips of this value wait."""
ADVICE_FROM = 0.5
LEAST_ADVICE_BYTES_PER_S = 256_000.0
LEAST_WAIT_S = 2.0
LONGEST_WAIT_S = 300.0
_LOOK_NS = 5 * NS_PER_S
_WINDOW_S = 20.0
_SENDER_NS = 60 * NS_PER_S
_MOST_SENDERS = 100_000

UNFINISHED_BYTES = (
    sa.select(sa.func.coalesce(sa.func.sum(uploads.c.stored_bytes), 0))
    .where(uploads.c.state == OPEN)
    .scalar_subquery()
)
_UNINDEXED = (clips.c.state == READY, clips.c.caption.is_(None))
_QUEUED = review_tasks.c.state == "queued"


class Pressure:
    """The load of one replica. Not for several threads.

    Args:
        room: what the part store has room for besides what it holds; blocks. Unfinished uploads
            may fill it where the settings name no limit.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        settings: Settings,
        room: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        self._reads = for_single_reads(engine)
        self._clock = clock
        self._settings = settings
        self._room = room
        self._looked_ns: int | None = None
        self._depths = dict.fromkeys(("clips", "buffer", "review"), 0.0)
        self._stored = 0.0
        self._stored_ns = self._since_ns = clock.mono_ns()
        self._senders: OrderedDict[str, int] = OrderedDict()
        self.held_bytes = 0
        self.most_held_bytes = 0

    async def load(self) -> float:
        """The largest depth as a share of its limit."""
        return max((await self.depths()).values())

    async def depths(self) -> dict[str, float]:
        """Each depth as a share of its limit; the database is asked every 5 s at most."""
        now_ns = self._clock.mono_ns()
        if self._looked_ns is None or now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            self._depths = await self._look()
        return self._depths | {"memory": self.held_bytes / self._settings.body_memory_bytes}

    async def check(self, value: Value) -> None:
        """Raises `PressureError` when clips of this value have to wait."""
        load = await self.load()
        if load >= SHARES[value]:
            raise self._refusal(value, load)

    @contextmanager
    def hold(self, value: Value, length_bytes: int) -> Iterator[None]:
        """Memory for a body, for the length of the block. Raises `PressureError`."""
        limit = self._settings.body_memory_bytes
        if self.held_bytes + length_bytes > SHARES[value] * limit and self.held_bytes:
            raise self._refusal(value, (self.held_bytes + length_bytes) / limit)
        self.held_bytes += length_bytes
        self.most_held_bytes = max(self.most_held_bytes, self.held_bytes)
        try:
            yield
        finally:
            self.held_bytes -= length_bytes

    def stored(self, vehicle_id: str, length_bytes: int) -> None:
        """The store has taken bytes of this vehicle."""
        now_ns = self._clock.mono_ns()
        if now_ns - self._stored_ns > 3 * _WINDOW_S * NS_PER_S:
            self._stored, self._since_ns = 0.0, now_ns  # an idle hour says nothing of the store
        self._stored = self._decayed(now_ns) + length_bytes
        self._stored_ns = now_ns
        self._senders[vehicle_id] = now_ns
        self._senders.move_to_end(vehicle_id)
        while self._senders:
            oldest_ns = next(iter(self._senders.values()))
            if now_ns - oldest_ns < _SENDER_NS and len(self._senders) <= _MOST_SENDERS:
                break
            self._senders.popitem(last=False)

    async def advice(self) -> float | None:
        """Bytes a second that a vehicle should send at most; None: as fast as it may."""
        load, most = await self.load(), self._settings.vehicle_bytes_per_s
        if load < ADVICE_FROM or not self._senders:
            return most
        share = self._drain() / max(1, len(self._senders))
        eased = min(1.0, (load - ADVICE_FROM) / (1.0 - ADVICE_FROM))
        advised = max(LEAST_ADVICE_BYTES_PER_S, share * (1.0 - 0.9 * eased))
        return advised if most is None else min(most, advised)

    async def _look(self) -> dict[str, float]:
        most, most_reviews = self._settings.unfinished_clips, self._settings.review_backlog
        query = sa.select(
            _counted(sa.select(sa.literal(1)).where(step_runs.c.state == OPEN), most),
            _counted(sa.select(sa.literal(1)).select_from(outbox), most),
            _counted(sa.select(sa.literal(1)).where(*_UNINDEXED), most),
            _counted(sa.select(sa.literal(1)).where(_QUEUED), most_reviews or 0),
            UNFINISHED_BYTES,
        )
        async with self._reads.connect() as connection:
            runs, entries, unindexed, reviews, stored = (await connection.execute(query)).one()
        limit = self._settings.buffer_bytes
        if limit is None and stored:
            with suppress(LongtailError):  # a store that cannot tell says so to who writes
                limit = int(stored) + max(0, await asyncio.to_thread(self._room))
        return {
            "clips": max(runs + entries, unindexed) / most,
            "buffer": float(stored / limit) if limit else 0.0,
            "review": reviews / most_reviews if most_reviews else 0.0,
        }

    def _drain(self) -> float:
        """Bytes a second that the store has lately taken: in the window, or since it began."""
        now_ns = self._clock.mono_ns()
        past_s = max(1.0, (now_ns - self._since_ns) / NS_PER_S)
        return self._decayed(now_ns) / (_WINDOW_S * -math.expm1(-past_s / _WINDOW_S))

    def _decayed(self, now_ns: int) -> float:
        return self._stored * math.exp(-(now_ns - self._stored_ns) / NS_PER_S / _WINDOW_S)

    def _refusal(self, value: Value, load: float) -> PressureError:
        over = load - SHARES[value] + 0.1
        wait_s = min(LONGEST_WAIT_S, max(LEAST_WAIT_S, 60.0 * over))
        return PressureError(
            f"the service is at {load:.0%} of its limits; {value} clips wait",
            retry_after_s=round(wait_s, 1),
        )


def _counted(rows: sa.Select[int], at_most: int) -> sa.ScalarSelect[int]:
    """How many rows there are, counted no further than it matters."""
    some = rows.limit(at_most).subquery()
    return sa.select(sa.func.count()).select_from(some).scalar_subquery()
