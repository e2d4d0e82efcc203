"""The updater: checks in, learns the time, takes up what it is ordered, and never stops the drive.

Guarantees: what the vehicle holds is verified and offered before any network is used; no error
ends the task or touches what runs; soak progress and faults are seen with or without a network.

Latency of the kill switch: an order given at the director is seen at the next check-in, so within
1.2 times the poll interval plus one exchange: that of a piece of a file under way, the check-in
and the director's four small files (`latency_bound_ns` is the first term). It needs the director
alone. Where bytes cost money the interval is at least `ota.metered_poll`; a vehicle that is out of
contact acts when it is in contact again.

| the service answers | the updater                                                             |
|---------------------|-------------------------------------------------------------------------|
| 401                 | proves itself anew and asks again                                       |
| 403, no such vehicle| goes on driving with what it has; asks ever more rarely, at least hourly |
| 409                 | goes on with a higher sequence number                                   |
| 429, 503            | waits as long as the service says                                       |
| anything else       | waits longer after each failure, up to `LONGEST_WAIT_S`                 |
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from contracts.check_in import CheckInAnswer
from contracts.clock import NS_PER_S, Clock
from contracts.errors import LongtailError, RefusedError, TransientError
from edge_agent.config import OtaConfig
from edge_agent.ota.book import OtaBook
from edge_agent.ota.check_in import CheckInCaller
from edge_agent.ota.events import Observed, Started, Stopped
from edge_agent.ota.fleet_scenes import FleetSceneList
from edge_agent.ota.lineup import LineupKeeper
from edge_agent.ota.manifest import held_releases, rejected_releases
from edge_agent.ota.ports import Runtime, RuntimeReport
from edge_agent.ota.refresh import NoRefresher, Refresher
from edge_agent.ota.staging import Stager
from edge_agent.ota.status import OtaStatus, running_digests
from edge_agent.ota.step import pending
from edge_agent.ota.trusted_time import TrustedTime
from edge_agent.ports import Link, LinkMonitor
from edge_agent.upload.policy import is_metered
from edge_agent.upload.transport import Transport

REFRESH_EVERY = 10
"""Every so many polls the director is asked without need: a silent service shows as expiry."""
WATCH_NS = NS_PER_S
JITTER_RATIO = 0.2
SHORTEST_POLL_NS = NS_PER_S
LONGEST_POLL_NS = 3600 * NS_PER_S
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0
LONGEST_REFUSED_WAIT_S = 3600.0
FIRST_STAGE_WAIT_S = 15.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Progress:
    """Counts of this process."""

    polls: int = 0
    check_ins: int = 0
    failures: int = 0
    stage_failures: int = 0
    driving_ns: int = 0
    link: Link | None = None
    poll_ns: int | None = None
    needs_refresh: bool = True
    problems: dict[str, str] = field(default_factory=dict)


class Updater:
    """See the module. Made by `edge_agent.ota.opening.open_updater`; event loop only."""

    def __init__(
        self,
        config: OtaConfig,
        clock: Clock,
        links: LinkMonitor,
        rng: random.Random,
        transport: Transport,
        runtime: Runtime,
        book: OtaBook,
        time: TrustedTime,
        lineup: LineupKeeper,
        stager: Stager,
        refresher: Refresher | NoRefresher,
        caller: CheckInCaller,
        without_updates: str = "",
        scenes: FleetSceneList | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._links = links
        self._rng = rng
        self._transport = transport
        self._runtime = runtime
        self._book = book
        self._time = time
        self._lineup = lineup
        self._stager = stager
        self._refresher = refresher
        self._caller = caller
        self._without_updates = without_updates
        self._scenes = scenes
        self._progress = _Progress()
        self._contact = asyncio.Lock()
        self._poll_wake = asyncio.Event()
        self._stage_wake = asyncio.Event()
        self._started = False

    # What others call -----------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. What is half fetched then is gone on with next time."""
        await self.start()
        tasks = [
            asyncio.create_task(self._repeat(self.watch_once, None), name="ota-watch"),
            asyncio.create_task(self._repeat(self.poll_once, self._poll_wake), name="ota-poll"),
            asyncio.create_task(self._repeat(self.stage_once, self._stage_wake), name="ota-stage"),
        ]
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.end()

    async def start(self) -> None:
        """Count the start and offer what is held; no network. Again: nothing."""
        if self._started:
            return
        self._started = True
        self._book.apply(Started())
        self._book.offer_due = True
        await self._lineup.settle()

    def end(self) -> None:
        """The process ends in order: its starts blame nobody."""
        self._observe(self._runtime.report())
        self._book.apply(Stopped())

    async def check_in_now(self) -> bool:
        """Tell the service the newest counters, at once. False when it did not take them."""
        try:
            await self._check_in()
        except LongtailError as error:
            self._progress.problems["check_in"] = str(error)
            log.info("check_in_failed", reason=str(error))
            return False
        return True

    async def close(self) -> None:
        await self._transport.close()

    @property
    def is_in_contact(self) -> bool:
        """Whether the last check-in was answered."""
        return self._progress.check_ins > 0 and self._progress.failures == 0

    @property
    def poll_interval_ns(self) -> int:
        """Between check-ins, before jitter, on the link as it is now."""
        asked_ns = self._progress.poll_ns or self._config.poll
        interval_ns = max(SHORTEST_POLL_NS, min(LONGEST_POLL_NS, asked_ns))
        if is_metered(self._links.link()):
            return max(interval_ns, self._config.metered_poll)
        return interval_ns

    @property
    def latency_bound_ns(self) -> int:
        """Longest time from a kill order to the check-in that sees it, while in contact."""
        return int((1.0 + JITTER_RATIO) * self.poll_interval_ns)

    def status(self) -> OtaStatus:
        state = self._book.state
        waiting_for = self._runtime.report().waiting_for
        return OtaStatus(
            enabled=not self._without_updates,
            note=self.note(),
            assignment_counter=state.taken_up_counter,
            time_attested=self._time.is_attested,
            killed=state.killed,
            held=held_releases(state, waiting_for, self._stager.reasons),
            rejected=rejected_releases(state),
            check_ins=self._progress.check_ins,
        )

    def note(self) -> str:
        """Why the last update check failed or what it waits for; empty when all is well."""
        found = {
            **self._progress.problems,
            "state": self._book.problem,
            "floor": self._time.problem,
            "sequence": self._caller.sequence.problem,
            "time": self._caller.time_problem,
            "scenes": self._scenes.problem if self._scenes is not None else "",
            **self._stager.reasons,
        }
        told = (f"{name}: {reason}" for name, reason in found.items() if reason)
        return "; ".join(filter(None, (self._without_updates, *told)))

    # One round of each task: they return how long to rest, in nanoseconds -----------------------

    async def poll_once(self) -> int:
        """Check in; refresh when there is a reason."""
        progress = self._progress
        try:
            answer = await self._check_in()
        except LongtailError as error:
            progress.problems["check_in"] = str(error)
            return self._wait_after(error)
        progress.failures = 0
        progress.poll_ns = None if answer.poll_s is None else int(answer.poll_s * NS_PER_S)
        if self._must_refresh(answer):
            await self._refresh()
        if self._scenes is not None:
            await self._scenes.follow(self._caller.fleet_scenes)
        progress.polls += 1
        return self._jittered(self.poll_interval_ns)

    async def stage_once(self) -> int:
        """Fetch and test what was ordered."""
        if await self._stager.stage():
            self._progress.stage_failures = 0
            return LONGEST_POLL_NS
        self._progress.stage_failures += 1
        wait_s = min(
            LONGEST_WAIT_S, FIRST_STAGE_WAIT_S * 2.0 ** (self._progress.stage_failures - 1)
        )
        return self._jittered(int(wait_s * NS_PER_S))

    async def watch_once(self) -> int:
        """See what the runtime tells, and whether the link has changed."""
        self._observe(self._runtime.report())
        await self._lineup.settle()
        link = self._links.link()
        if link != self._progress.link:
            if self._progress.link is not None:
                self._poll_wake.set()
                self._stage_wake.set()
            self._progress.link = link
        if self._book.fetch_due:
            self._stage_wake.set()
        return WATCH_NS

    # Inside ---------------------------------------------------------------------------------

    async def _check_in(self) -> CheckInAnswer:
        async with self._contact:
            answer = await self._caller.check_in(self.note(), dict(self._stager.reasons))
        self._progress.check_ins += 1
        self._progress.problems.pop("check_in", None)
        return answer

    def _must_refresh(self, answer: CheckInAnswer) -> bool:
        state = self._book.state
        return (
            self._progress.needs_refresh
            or answer.assignment_counter > state.taken_up_counter
            or state.release_counter > state.taken_up_counter
            or self._progress.polls % REFRESH_EVERY == 0
            # The key that signs the time may be newer than the root that is here.
            or (answer.time is not None and bool(self._caller.time_problem))
        )

    async def _refresh(self) -> None:
        try:
            await self._refresher.refresh()
        except LongtailError as error:
            self._progress.problems["update"] = str(error)
            self._progress.needs_refresh = True
            log.warning("update_check_failed", reason=str(error))
        else:
            self._progress.problems.pop("update", None)
            self._progress.needs_refresh = False
        if self._book.fetch_due:
            self._progress.stage_failures = 0
            self._stage_wake.set()

    def _observe(self, report: RuntimeReport) -> None:
        driven_ns = max(0, report.driving_ns - self._progress.driving_ns)
        self._progress.driving_ns = report.driving_ns
        running = running_digests(report)
        self._book.apply(Observed(running, report.faults, driven_ns))

    def _wait_after(self, error: LongtailError) -> int:
        progress = self._progress
        progress.failures += 1
        refused = isinstance(error, RefusedError)
        longest_s = LONGEST_REFUSED_WAIT_S if refused else LONGEST_WAIT_S
        wait_s = min(longest_s, FIRST_WAIT_S * 2.0 ** min(20, progress.failures - 1))
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            wait_s = min(LONGEST_REFUSED_WAIT_S, max(wait_s, error.retry_after_s))
        log.info("check_in_failed", reason=str(error), wait_s=round(wait_s, 1))
        return self._jittered(int(wait_s * NS_PER_S))

    def _jittered(self, duration_ns: int) -> int:
        return int(duration_ns * (1.0 + JITTER_RATIO * (2.0 * self._rng.random() - 1.0)))

    async def _repeat(self, once: Callable[[], Awaitable[int]], wake: asyncio.Event | None) -> None:
        """Do it, rest, do it again; a failure nobody foresaw is told and waited out."""
        while True:
            try:
                wait_ns = await once()
            except LongtailError as error:
                log.warning("ota_round_failed", reason=str(error))
                wait_ns = self._jittered(int(FIRST_WAIT_S * NS_PER_S))
            except Exception as error:
                log.exception("ota_round_failed")
                self._progress.problems["agent"] = f"{type(error).__name__}: {error}"[:200]
                wait_ns = self._jittered(int(FIRST_STAGE_WAIT_S * NS_PER_S))
            await self._rest(wait_ns, wake)

    async def _rest(self, duration_ns: int, wake: asyncio.Event | None) -> None:
        if wake is None:
            await self._clock.sleep_ns(duration_ns)
            return
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(_sleep(self._clock, duration_ns)),
            asyncio.ensure_future(wake.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            wake.clear()

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was ordered is still to be fetched or offered."""
        return not pending(self._book.state) and not self._book.offer_due


def _sleep(clock: Clock, duration_ns: int) -> Coroutine[Any, Any, None]:
    return clock.sleep_ns(duration_ns)
