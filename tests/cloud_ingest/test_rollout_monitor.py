"""When live rollouts are looked at: soon after news, and never more than the service can bear."""

from __future__ import annotations

import asyncio
import itertools
from typing import Never, cast

import pytest
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.fleet.monitor import Monitor
from cloud_ingest.fleet.rollout_book import RolloutBook
from contracts.clock import NS_PER_S, VirtualClock


class SlowBook:
    """One live rollout, whose step takes a while."""

    def __init__(self, clock: VirtualClock, step_s: float) -> None:
        self._clock, self._step_ns = clock, round(step_s * NS_PER_S)
        self.begun_s: list[float] = []

    async def due(self, before_ns: int) -> list[str]:
        return ["one"]

    async def step(self, rollout_id: str, due_before_ns: int) -> bool:
        self.begun_s.append(self._clock.mono_ns() / NS_PER_S)
        await self._clock.sleep_ns(self._step_ns)
        return True


class NoDatabase:
    """Old readings stay where they are."""

    def begin(self) -> Never:
        raise SQLAlchemyError("there is none")


def rounds(step_s: float, *, period_s: float, has_news: bool) -> list[float]:
    """When each step of 200 s began; with news, there is some every tenth of a second."""

    async def run() -> list[float]:
        clock = VirtualClock()
        book, engine = SlowBook(clock, step_s), cast("AsyncEngine", NoDatabase())
        monitor = Monitor(engine, cast("RolloutBook", book), clock, period_s)
        task = asyncio.create_task(monitor.run())
        try:
            for _ in range(2000):
                if has_news:
                    monitor.nudge()
                await clock.advance_ns(NS_PER_S // 10)
                for _ in range(20):  # tasks wake tasks
                    await asyncio.sleep(0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return book.begun_s

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("step_s", "period_s", "has_news", "apart_s"),
    [
        (0.0, 10.0, False, 10.0),
        (0.0, 10.0, True, 1.0),
        (0.0, 0.5, True, 0.5),
        (0.1, 10.0, True, 1.1),
        (3.0, 10.0, True, 15.0),
        (3.0, 2.0, False, 15.0),
        (3.0, 60.0, False, 63.0),
        (25.0, 10.0, True, 85.0),  # not 125: it has to be looked at some time
    ],
)
def test_rounds_are_so_far_apart(
    step_s: float, period_s: float, has_news: bool, apart_s: float
) -> None:
    begun_s = rounds(step_s, period_s=period_s, has_news=has_news)
    gaps = [after - before for before, after in itertools.pairwise(begun_s)]
    assert gaps and gaps == pytest.approx([apart_s] * len(gaps), abs=0.3)
