"""Steps live rollouts: every period, and soon after a check-in that shows something new.

Every replica runs one. A rollout is claimed by its row, so that no two step it at once, and by
the time of its last step, so that replicas share the work instead of repeating it. A failure is
logged and met again in the next round; one rollout's failure keeps no other from going on.

A step looks at every vehicle, and with 100,000 of them takes a second or two of the process that
answers them. So a round is followed by a rest of several times its own length, however short the
period, but of a minute at most: a bad release has to be halted however slow the database is.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.fleet import readings
from cloud_ingest.fleet.rollout_book import RolloutBook
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError

_NEWS_SPACING_NS = NS_PER_S
_REST = 4
"""Rest after a round, in lengths of the round."""
_LONGEST_REST_NS = 60 * NS_PER_S
_PRUNE_PERIOD_NS = 3600 * NS_PER_S
_log = structlog.get_logger(__name__)


class Monitor:
    """The task that moves rollouts on."""

    def __init__(
        self, engine: AsyncEngine, book: RolloutBook, clock: Clock, period_s: float
    ) -> None:
        self._engine = engine
        self._book = book
        self._clock = clock
        self._period_ns = round(period_s * NS_PER_S)
        self._news = asyncio.Event()
        self._prune_at_ns = 0

    def nudge(self) -> None:
        """Somebody's check-in shows something new: look soon, once for all that come meanwhile."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        # Half a period: a step itself takes time, and a round must not find all "just stepped".
        patience_ns = self._period_ns // 2
        while True:
            begun_ns = self._clock.mono_ns()
            await self.step_all(self._clock.utc_ns() - patience_ns)
            rest_ns = min(_REST * (self._clock.mono_ns() - begun_ns), _LONGEST_REST_NS)
            await self._prune()
            patience_ns = 0 if await self._wait(rest_ns) else self._period_ns // 2

    async def step_all(self, due_before_ns: int) -> int:
        """Step each live rollout that was not stepped since; returns how many were."""
        stepped = 0
        try:
            due = await self._book.due(due_before_ns)
        except (LongtailError, SQLAlchemyError) as error:
            _log.warning("rollouts cannot be read", error=str(error))
            return 0
        for rollout_id in due:
            try:
                stepped += await self._book.step(rollout_id, due_before_ns)
            except (LongtailError, SQLAlchemyError) as error:
                _log.warning("a step failed", rollout_id=rollout_id, error=str(error))
            except Exception:  # noqa: BLE001 - a monitor that ended would leave all rollouts alone
                _log.exception("a step failed", rollout_id=rollout_id)
        return stepped

    async def _wait(self, least_ns: int) -> bool:
        """Until the period is over or there is news, but not sooner than `_NEWS_SPACING_NS` and
        `least_ns`. True for news.
        """
        spacing_ns = max(least_ns, min(_NEWS_SPACING_NS, self._period_ns))
        rest = asyncio.create_task(self._clock.sleep_ns(max(spacing_ns, self._period_ns)))
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({rest, news}, return_when=asyncio.FIRST_COMPLETED)
            is_news = self._news.is_set()
            if is_news and not rest.done():
                await self._clock.sleep_ns(spacing_ns)
        finally:
            rest.cancel()
            news.cancel()
        self._news.clear()
        return is_news

    async def _prune(self) -> None:
        now_ns = self._clock.utc_ns()
        if now_ns < self._prune_at_ns:
            return
        self._prune_at_ns = now_ns + _PRUNE_PERIOD_NS
        try:
            while True:
                async with self._engine.begin() as connection:
                    if await readings.prune(connection, now_ns) == 0:
                        return
        except SQLAlchemyError as error:
            _log.warning("old readings cannot be dropped", error=str(error))
