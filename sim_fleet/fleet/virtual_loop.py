"""An asyncio loop on virtual time, in step with a drive that runs in a thread.

Guarantees: virtual time moves only while nothing real is under way. A timer fires at its virtual
moment and costs no waiting; while a thread works or a real server owes an answer (`owing`), time
stands still and the loop waits for it as it would for any socket. While a drive runs, time goes
no further than the drive has come, and the drive goes on only when the loop has come as far: so a
transfer of two seconds takes two seconds of the drive.

A server that hangs, or a thread that does, is not waited for without end: after `PATIENCE_S` or
`THREAD_PATIENCE_S` of real time without any event, virtual time moves on, so that the time-outs of
whoever waits do their work.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from contracts.clock import NS_PER_S

PATIENCE_S = 20.0
THREAD_PATIENCE_S = 120.0
"""For a thread's work. A thread may wait for what only a timer brings: python-tuf's for a request
that is to be tried again."""


class _VirtualSelector(selectors.DefaultSelector):
    """Asks the loop what a wait means."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or timeout == 0:
            return found
        return self.loop.wait(timeout, super().select)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. `start_ns` is its first moment.

    Attributes:
        owing: gives True while a real party outside owes an answer; set it once.
        carrying: gives True while bytes are on a link of virtual time; a thread may be waiting
            for just them, so then time moves though threads are at work.
        stalls: how often patience ran out.
    """

    def __init__(self, start_ns: int) -> None:
        self.now_ns = start_ns
        self.owing: Callable[[], bool] = lambda: False
        self.carrying: Callable[[], bool] = lambda: False
        self.stalls = 0
        self._threads = 0
        self._until_ns: int | None = None
        self._is_driving = False
        self._moved = threading.Condition()
        selector = _VirtualSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_ns / NS_PER_S

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def wait(self, timeout: float | None, select: Callable[[float | None], Any]) -> Any:
        """Let virtual time pass, or real time while something real is under way."""
        if self._threads > self._is_driving and not self.carrying():
            found = select(THREAD_PATIENCE_S)
            if found:
                return found
            self.stalls += 1
        if self.owing():
            found = select(PATIENCE_S)
            if found:
                return found
            self.stalls += 1
        if timeout is None and self._until_ns is None:
            return select(None)
        wanted_ns = None if timeout is None else self.now_ns + int(timeout * NS_PER_S) + 1
        with self._moved:
            until_ns = self._until_ns
            if until_ns is None or (wanted_ns is not None and wanted_ns <= until_ns):
                self.now_ns = wanted_ns or self.now_ns
                return []
            self.now_ns = max(self.now_ns, until_ns)
            self._moved.notify_all()
        return select(None)

    # The drive's thread ----------------------------------------------------------------------

    def reach(self, mono_ns: int) -> None:
        """Allow time up to a moment, and wait until it has come. In the drive's thread."""
        with self._moved:
            self._is_driving = True
            self._until_ns = mono_ns
            self.call_soon_threadsafe(_nothing)
            self._moved.wait_for(lambda: self.now_ns >= mono_ns)

    def let_go(self) -> None:
        """The drive is over: from here on timers alone move time."""
        with self._moved:
            self._is_driving = False
            self._until_ns = None
        self.call_soon_threadsafe(_nothing)


def _nothing() -> None:
    """Wakes the loop."""


class LoopClock:
    """The vehicle's `Clock` on a virtual loop. `utc_minus_mono_ns` may be set wrong by a jump."""

    def __init__(self, loop: VirtualLoop, utc_minus_mono_ns: int) -> None:
        self._loop = loop
        self._offset_ns = utc_minus_mono_ns

    def mono_ns(self) -> int:
        return self._loop.now_ns

    def utc_ns(self) -> int:
        return self._loop.now_ns + self._offset_ns

    def jump_utc_ns(self, delta_ns: int) -> None:
        self._offset_ns += delta_ns

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(max(0, duration_ns) / NS_PER_S)
