"""The daemon on one page: which tasks there are, where they run, what happens when one fails.

| task   | does                                                 | runs on    | on failure       |
|--------|------------------------------------------------------|------------|------------------|
| drive  | reads the source, rings, perceives, runs triggers    | own thread | ends the run     |
| pack   | closed windows become clips in the spool (`packer`)  | own thread | tells a lost clip |
| upload | enrols, decides what to send next, sends it          | asyncio    | restarts         |
| ota    | checks in, fetches, tests and offers releases        | asyncio    | restarts         |
| health | writes `status.json` once a second                   | asyncio    | restarts         |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from contracts.clock import NS_PER_S, Clock
from contracts.errors import RefusedError

RESTART_WAIT_NS = 2 * NS_PER_S

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table above, for tasks that run on asyncio."""

    name: str
    run: Callable[[], Awaitable[None]]
    on_failure: Literal["restart", "end"] = "restart"


async def supervise(tasks: Sequence[Task], clock: Clock) -> list[asyncio.Task[None]]:
    """Start all tasks; each is kept alive as its row says. Cancel them to stop."""
    return [
        asyncio.create_task(_keep_running(task, clock), name=task.name)  # one name in every log
        for task in tasks
    ]


async def _keep_running(task: Task, clock: Clock) -> None:
    while True:
        try:
            await task.run()
            return
        except asyncio.CancelledError:
            raise
        except RefusedError as error:
            # Asking again changes nothing; the rest of the daemon goes on without it.
            log.error("task refused", task=task.name, reason=str(error))
            return
        except Exception:
            if task.on_failure == "end":
                raise
            log.exception("task failed, restarting", task=task.name)
            await clock.sleep_ns(RESTART_WAIT_NS)
