"""The loops of one service beside its requests: begun by name, watched, ended together.

Guarantees: a loop that meets what nobody foresaw is logged with the traceback, counted, and begun
anew after a pause, longer each time in a row; no loop's failure touches another. One that does
not get up again is told by `down`. `close` returns when all of them have ended, whatever they
have left to do, so that nothing uses the database after its pool is closed.

What a loop foresees it handles itself, a clip or an upload at a time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from contracts.clock import NS_PER_S, Clock

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
MOST_IN_A_ROW = 3
"""After so many failures in a row a loop is down, until it has lived for `LIVES_S`."""
LIVES_S = 60.0
_log = structlog.get_logger(__name__)

Loop = Callable[[], Awaitable[None]]
"""Runs until it is cancelled; one that returns has nothing to do here."""


@dataclass(slots=True)
class _Life:
    """Where a loop stands. `began_ns` is None in a pause."""

    task: asyncio.Task[None] | None = None
    began_ns: int | None = None
    in_a_row: int = 0
    has_returned: bool = False


class Background:
    """Loops by name. Belongs to one event loop; `close` it there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lives: dict[str, _Life] = {}
        self.failures: Counter[str] = Counter()

    def start(self, name: str, run: Loop) -> None:
        """Have a loop run from now on."""
        self.failures[name] += 0  # told from the beginning
        life = self._lives[name] = _Life()
        life.task = asyncio.create_task(self._keep(name, run, life), name=name)

    def failed(self, name: str) -> None:
        """Count a failure after which a loop has gone on, and of which it told the log itself."""
        self.failures[name] += 1

    def states(self) -> dict[str, bool]:
        """Each loop, and whether it lives (or has returned on its own)."""
        return {name: self._lives_on(life) for name, life in self._lives.items()}

    def down(self) -> list[str]:
        """Loops that do not get up again by themselves, or only to fall."""
        return [name for name, lives in self.states().items() if not lives]

    async def close(self) -> None:
        """End all loops; returns when the last has ended."""
        tasks = [life.task for life in self._lives.values() if life.task is not None]
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                _log.error("a loop failed at its end", exc_info=ended)

    async def _keep(self, name: str, run: Loop, life: _Life) -> None:
        while True:
            life.began_ns = self._clock.mono_ns()
            try:
                await run()
            except Exception:  # noqa: BLE001 - a loop that ended would look well and do nothing
                self.failed(name)
                _log.exception("a loop failed", loop=name)
            else:
                life.has_returned = True
                return
            life.in_a_row = 1 if self._has_recovered(life) else life.in_a_row + 1
            life.began_ns = None
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (life.in_a_row - 1))
            await self._clock.sleep_ns(int(pause_s * NS_PER_S))

    def _has_recovered(self, life: _Life) -> bool:
        if life.began_ns is None:
            return False
        return self._clock.mono_ns() - life.began_ns >= LIVES_S * NS_PER_S

    def _lives_on(self, life: _Life) -> bool:
        if life.has_returned:
            return True
        if life.task is None or life.task.done():
            return False
        return life.in_a_row < MOST_IN_A_ROW or self._has_recovered(life)
