"""The daemon on one page: which tasks there are, where they run, what happens when one fails.

| task     | does                                                | runs on    | on failure         |
|----------|-----------------------------------------------------|------------|--------------------|
| source   | yields samples                                      | the drive  | live ones reopen   |
| drive    | rings, perceives, runs triggers                     | own thread | loses one sample   |
| model    | the network's session (`perception.reopening`)      | the drive  | reopens            |
| pack     | closed windows become clips in the spool (`packer`) | own thread | tells a lost clip  |
| upload   | enrols, decides what to send next, sends it         | asyncio    | restarts           |
| ota      | checks in, fetches, tests and offers releases       | asyncio    | restarts           |
| link     | follows NetworkManager, where it is asked           | asyncio    | restarts           |
| power    | ignition, supply and heat decide what runs          | asyncio    | restarts           |
| health   | writes `status.json` once a second                  | asyncio    | restarts           |
| metrics  | answers Prometheus on the loopback                  | asyncio    | restarts           |
| watchdog | tells systemd that all of it makes progress         | asyncio    | restarts           |

Restarts wait longer each time; too many in a while end the daemon in order and with its reason,
so that the service manager starts it anew. What a failure costs is counted by task.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from contracts.clock import NS_PER_S, Clock
from contracts.errors import RefusedError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a failed task is tried again, and when it is given up.

    The wait doubles with each failure in the last `within_s` seconds, up to `longest_wait_s`;
    failure number `limit` of them is one too many, None: never.
    """

    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    limit: int | None = 10
    within_s: float = 1800.0


DEFAULT_POLICY = RestartPolicy()
POLICIES: Mapping[str, RestartPolicy] = {
    # A sensor that is unplugged for a while must not end what the others record.
    "source": RestartPolicy(first_wait_s=0.5, longest_wait_s=30.0, limit=60),
    # Nobody's drive ends because a port is taken.
    "metrics": RestartPolicy(limit=None),
}


class RestartBook:
    """The failures of one task. Decides, on times that it is given."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._failed_ns: deque[int] = deque()

    def failed(self, now_ns: int) -> float | None:
        """Seconds to wait before the next try; None when there were too many."""
        policy = self._policy
        while self._failed_ns and now_ns - self._failed_ns[0] > policy.within_s * NS_PER_S:
            self._failed_ns.popleft()
        self._failed_ns.append(now_ns)
        failures = len(self._failed_ns)
        if policy.limit is not None and failures >= policy.limit:
            return None
        doublings = min(failures - 1, 40)  # keeps the power finite
        return float(min(policy.longest_wait_s, policy.first_wait_s * 2**doublings))


class Restarts:
    """What failed, how often, and whether the daemon must end for it. Any thread.

    Attributes:
        counts: restarts by task; of the drive, samples that were lost to a failure.
        ended: why the daemon ends, empty while it need not.
        on_end: called once, in the thread that failed, when it must end.
    """

    def __init__(self, clock: Clock, policies: Mapping[str, RestartPolicy] = POLICIES) -> None:
        self._clock = clock
        self._policies = policies
        self._books: dict[str, RestartBook] = {}
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.ended = ""
        self.on_end: Callable[[], object] = lambda: None

    def failed(self, task: str, why: BaseException | str) -> float | None:
        """Count a failure: seconds until the next try, None when the daemon ends instead."""
        with self._lock:
            self.counts[task] += 1
            policy = self._policies.get(task, DEFAULT_POLICY)
            book = self._books.setdefault(task, RestartBook(policy))
            wait_s = book.failed(self._clock.mono_ns())
        reason = why if isinstance(why, str) else f"{type(why).__name__}: {why}"
        if wait_s is None:
            minutes = policy.within_s / 60
            self.end(f"{task} failed {policy.limit} times in {minutes:g} min, last: {reason}")
        return wait_s

    def lost(self, task: str) -> None:
        """Count a failure that cost one item and needs no restart."""
        with self._lock:
            self.counts[task] += 1

    def end(self, why: str) -> None:
        """The daemon cannot go on."""
        with self._lock:
            if self.ended:
                return
            self.ended = why
        log.error("the daemon ends", reason=why)
        self.on_end()


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table above, for tasks that run on asyncio."""

    name: str
    run: Callable[[], Awaitable[None]]


def supervise(
    tasks: Sequence[Task], clock: Clock, restarts: Restarts, stop: asyncio.Event | None = None
) -> list[asyncio.Task[None]]:
    """Start all tasks; each is kept alive until it returns. Cancel them to stop.

    `stop` ends the waits for a restart too, for tasks that end by themselves when it is set.
    """
    stopped = stop or asyncio.Event()
    return [
        asyncio.create_task(_keep_running(task, clock, restarts, stopped), name=task.name)
        for task in tasks  # one name in every log
    ]


async def _keep_running(task: Task, clock: Clock, restarts: Restarts, stop: asyncio.Event) -> None:
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
        except Exception as error:
            wait_s = restarts.failed(task.name, error)
            if wait_s is None:
                log.exception("task failed too often", task=task.name)
                return
            log.exception("task failed, restarting", task=task.name, wait_s=wait_s)
            await _pause(clock, wait_s, stop)
            if stop.is_set():
                return


async def _pause(clock: Clock, wait_s: float, stop: asyncio.Event) -> None:
    """Until the time is over, or the stop."""
    waits = [
        asyncio.ensure_future(clock.sleep_ns(round(wait_s * NS_PER_S))),
        asyncio.ensure_future(stop.wait()),
    ]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in waits:
            waiting.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
