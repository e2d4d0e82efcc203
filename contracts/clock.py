"""Time: integer nanoseconds on two clocks that are never mixed.

`mono_ns` orders and measures within one boot; `utc_ns` labels across machines and carries
its quality. A `Clock` is injected; a decision reads it once.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Protocol

from pydantic import BaseModel, ConfigDict

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_DAY = 86_400 * NS_PER_S


class ClockQuality(BaseModel):
    """How far wall time can be trusted.

    `synchronised` is true when the system says that its clock is disciplined (NTP, PTP or
    GNSS); `offset_ns` is the last known error of `utc_ns`, positive when the clock is ahead.
    """

    model_config = ConfigDict(frozen=True)

    synchronised: bool
    offset_ns: int | None = None
    source: str = "unknown"


class Clock(Protocol):
    """Where time comes from. Real on a vehicle, virtual in tests and simulation."""

    def mono_ns(self) -> int:
        """Nanoseconds since an arbitrary start of this boot; never goes back."""
        ...

    def utc_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00Z as the machine believes; may jump."""
        ...

    async def sleep_ns(self, duration_ns: int) -> None:
        """Return when `duration_ns` of this clock's time have passed."""
        ...


class SystemClock:
    """The machine's own clocks. Monotonic time includes suspend where Linux offers it."""

    _MONO = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def mono_ns(self) -> int:
        return time.clock_gettime_ns(self._MONO)

    def utc_ns(self) -> int:
        return time.time_ns()

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(max(0, duration_ns) / NS_PER_S)


class VirtualClock:
    """Time that moves only when told to, so that a day passes in a millisecond.

    Sleepers wake in the order of their due time while `advance_ns` runs.
    """

    def __init__(self, mono_ns: int = 0, utc_ns: int = 1_700_000_000 * NS_PER_S) -> None:
        self._mono_ns = mono_ns
        self._utc_offset_ns = utc_ns - mono_ns
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = 0

    def mono_ns(self) -> int:
        return self._mono_ns

    def utc_ns(self) -> int:
        return self._mono_ns + self._utc_offset_ns

    def jump_utc_ns(self, delta_ns: int) -> None:
        """Move wall time alone, as a corrected or broken clock does."""
        self._utc_offset_ns += delta_ns

    def set_mono_ns(self, mono_ns: int) -> None:
        """Move forward to `mono_ns` without waking sleepers; never goes back."""
        self._mono_ns = max(self._mono_ns, mono_ns)

    async def sleep_ns(self, duration_ns: int) -> None:
        if duration_ns <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._mono_ns + duration_ns, self._order, future))
        await future

    async def advance_ns(self, duration_ns: int) -> None:
        """Move time on, waking each sleeper at its due time."""
        end_ns = self._mono_ns + duration_ns
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            due_ns, _, future = heapq.heappop(self._sleepers)
            self._mono_ns = max(self._mono_ns, due_ns)
            if not future.done():
                future.set_result(None)
            await asyncio.sleep(0)
        self._mono_ns = end_ns
        await asyncio.sleep(0)
