"""Waiting that ends early: for news, for a stop, for a deadline.

Guarantees: a wait never outlasts the stop or the deadline; time is the injected clock's.
"""

from __future__ import annotations

import asyncio

from contracts.clock import Clock


class Waits:
    """The waits of one task. Either stop ends them all; so does a deadline, where there is one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._deadline_ns: int | None = None

    def begin(
        self,
        stop: asyncio.Event | None = None,
        at_once: asyncio.Event | None = None,
        deadline_mono_ns: int | None = None,
    ) -> None:
        """From now on until `stop` or `at_once` is set, or the deadline (monotonic) has passed.

        `stop` lets the request under way come to its end, the other two do not.
        """
        self._stop = stop or asyncio.Event()
        self._at_once = at_once or asyncio.Event()
        self._deadline_ns = deadline_mono_ns

    def wake(self) -> None:
        """End the wait under way, or the next one: there is news."""
        self._wake.set()

    def is_over(self) -> bool:
        """Whether to stop before the next request."""
        return self._stop.is_set() or self.reason_to_break_off() is not None

    def reason_to_break_off(self) -> str | None:
        """For a gate: why even the request under way must end."""
        if self._at_once.is_set():
            return "stopping"
        is_past = self._deadline_ns is not None and self._clock.mono_ns() >= self._deadline_ns
        return "deadline" if is_past else None

    async def rest(self, delay_ns: int) -> None:
        """Wait for a time, news or a stop."""
        waits = [
            asyncio.ensure_future(self._clock.sleep_ns(max(0, delay_ns))),
            asyncio.ensure_future(self._wake.wait()),
            asyncio.ensure_future(self._stop.wait()),
            asyncio.ensure_future(self._at_once.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            self._wake.clear()

    async def pause(self, delay_ns: int) -> None:
        """Wait for a time whatever the news, but not past a stop or the deadline."""
        if self._deadline_ns is not None:
            delay_ns = min(delay_ns, self._deadline_ns - self._clock.mono_ns())
        end_ns = self._clock.mono_ns() + delay_ns
        while self._clock.mono_ns() < end_ns and not self.is_over():
            await self.rest(end_ns - self._clock.mono_ns())
