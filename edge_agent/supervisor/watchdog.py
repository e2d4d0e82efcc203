"""Whether the daemon makes progress: what decides if the service manager is told so.

The drive's thread says what it is at (`DriveBeat`), the event loop that its health task went
round. A drive that works on one sample for too long, a source that has spoken and is silent for
too long while it should speak, or a loop whose health task stands still is no progress: the
watchdog is not fed, and the service manager starts the daemon anew. A source that has not spoken
since the start is waited for: to start again would not make it speak, and would break off what is
being sent. Decides on values that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from contracts.clock import NS_PER_S, Clock
from edge_agent.supervisor.notify import Notifier

Activity = Literal["waiting", "pausing", "working", "over"]
FEEDS_PER_PERIOD = 4
STUCK_RATIO = 0.5
"""The part of the service manager's period that one sample, or one round, may take."""


@dataclass(slots=True)
class DriveBeat:
    """What the drive is at. Whoever drives writes, anyone may read.

    `waiting` for the source, `pausing` (its pace, a parked vehicle, a source that has not spoken
    yet), `working` on a sample, or `over`. `count` rises with every change that matters.
    """

    activity: Activity = "pausing"
    count: int = 0

    def now(self, activity: Activity) -> None:
        self.activity = activity
        self.count += 1


class _Mark:
    """Since when a count stands still."""

    def __init__(self) -> None:
        self._count: int | None = None
        self._since_ns = 0

    def still_ns(self, count: int, now_ns: int) -> int:
        if count != self._count:
            self._count, self._since_ns = count, now_ns
        return now_ns - self._since_ns


class Progress:
    """Judges the beats of drive and loop.

    Args:
        stuck_ns: how long one sample, or one round of the loop's tasks, may take.
        silent_ns: how long a source may yield nothing.
    """

    def __init__(self, stuck_ns: int, silent_ns: int) -> None:
        self._stuck_ns = stuck_ns
        self._silent_ns = silent_ns
        self._drive = _Mark()
        self._loop = _Mark()

    def problem(self, now_ns: int, drive: DriveBeat, rounds: int) -> str:
        """Why there is no progress; empty when there is. `rounds` are the health task's."""
        still_ns = self._drive.still_ns(drive.count, now_ns)
        loop_ns = self._loop.still_ns(rounds, now_ns)
        if drive.activity == "working" and still_ns > self._stuck_ns:
            return f"the drive hangs on one sample for {still_ns / NS_PER_S:.0f} s"
        if drive.activity == "waiting" and still_ns > self._silent_ns:
            return f"the source is silent for {still_ns / NS_PER_S:.0f} s"
        if loop_ns > self._stuck_ns:
            return f"the event loop's tasks stand still for {loop_ns / NS_PER_S:.0f} s"
        return ""


class Watchdog:
    """The task that feeds the service manager's watchdog while there is progress."""

    def __init__(
        self,
        notifier: Notifier,
        period_ns: int,
        silent_ns: int,
        drive: DriveBeat,
        rounds: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._notifier = notifier
        self._period_ns = period_ns
        self._progress = Progress(round(period_ns * STUCK_RATIO), silent_ns)
        self._drive = drive
        self._rounds = rounds
        self._clock = clock
        self.problem = ""

    async def run(self) -> None:
        """Look, and feed, some times in each of the manager's periods."""
        while True:
            self._look()
            await self._clock.sleep_ns(self._period_ns // FEEDS_PER_PERIOD)

    def _look(self) -> None:
        before = self.problem
        self.problem = self._progress.problem(self._clock.mono_ns(), self._drive, self._rounds())
        if not self.problem:
            self._notifier.alive()
        elif not before:
            self._notifier.status(f"watchdog not fed: {self.problem}")
