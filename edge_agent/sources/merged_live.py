"""Live parts of a merged drive: each in a thread of its own, waiting for each other a while.

A sample waits until every part has told of its time, but no longer than the patience; what comes
after its time has been passed on is left out and counted. A part that ends (a bus that slept for
longer than its `give_up`, a driver that fails) is asked again while others go on, with growing
pauses; until it speaks nobody waits for it. The drive ends when all parts have.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import structlog

from contracts.clock import NS_PER_S, Clock, SystemClock
from contracts.errors import LongtailError
from contracts.samples import Sample
from edge_agent.ports import LiveSource, SourceDescription
from edge_agent.sources.merged_parts import Part, part_counts
from edge_agent.sources.patience import Backoff

Turn = Literal["begin", "end"]
AGAIN_S = 5.0
MAX_WAITING = 4096
"""Samples that one live source may be ahead: then its thread waits."""
_POLL_S = 0.1

log = structlog.get_logger(__name__)


class Meeting:
    """Where live samples wait for each other. Pure: told of each sample and of the time.

    Attributes: `late`: samples left out by part.
    """

    def __init__(self, parts: int, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._newest: list[int | None] = [None] * parts
        self._ended = [False] * parts
        self._awaited = [True] * parts
        self._waiting: list[tuple[int, int, int, Sample]] = []
        self._number = 0
        self._passed_ns: int | None = None
        self.late: Counter[int] = Counter()

    def put(self, part: int, sample: Sample, now_ns: int) -> None:
        """A sample of a part, that came at `now_ns`."""
        self._awaited[part] = True
        newest = self._newest[part]
        self._newest[part] = sample.mono_ns if newest is None else max(newest, sample.mono_ns)
        if self._passed_ns is not None and sample.mono_ns < self._passed_ns:
            self.late[part] += 1
            return
        self._number += 1
        heapq.heappush(self._waiting, (sample.mono_ns, self._number, now_ns, sample))

    def end(self, part: int) -> None:
        """Nothing more comes from this part, unless it begins again."""
        self._ended[part], self._awaited[part] = True, False

    def begin(self, part: int) -> None:
        """A part is asked again; nobody waits for it before it speaks."""
        self._ended[part] = False

    @property
    def is_over(self) -> bool:
        return all(self._ended) and not self._waiting

    def ready(self, now_ns: int) -> Iterator[Sample]:
        """Samples that need not wait any longer, in the order of time."""
        while self._waiting:
            at_ns, _, came_ns, sample = self._waiting[0]
            all_told = all(
                not awaited or (newest is not None and newest >= at_ns)
                for newest, awaited in zip(self._newest, self._awaited, strict=True)
            )
            if not all_told and now_ns - came_ns < self._patience_ns:
                return
            heapq.heappop(self._waiting)
            self._passed_ns = at_ns
            yield sample


class MergedLiveSource:
    """`LiveSource` over live parts, each read in a thread of its own.

    A part that fails ends alone, says why, and is asked again; the drive ends when all have.

    Args:
        clock: when samples came; the machine's.
        again_s: a part that ended is asked again after so long, then ever later.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        told: SourceDescription,
        patience_ns: int,
        clock: Clock | None = None,
        again_s: float = AGAIN_S,
    ) -> None:
        self._parts = parts
        self._told = told
        self._clock = clock or SystemClock()
        self._patience_ns = patience_ns
        self._meeting = Meeting(len(parts), patience_ns)
        self._change = threading.Condition()
        self._came: list[tuple[int, Sample | Turn, int]] = []
        self._again_s = again_s
        self._stopped = False
        self._over = threading.Event()  # all parts of this round have ended, or are to end

    @property
    def counts(self) -> Counter[str]:
        """What was left out, by part and reason; `late`: after its time had been passed on."""
        found = part_counts(self._parts)
        for part, count in self._meeting.late.items():
            found[f"{self._parts[part].address.partition(',')[0]}: late"] += count
        return found

    def describe(self) -> SourceDescription:
        return self._told

    def stop(self) -> None:
        """End all parts, and `samples()` with them. Any thread."""
        with self._change:
            self._stopped = True
            self._over.set()
            self._change.notify_all()
        for part in self._parts:
            if isinstance(part.source, LiveSource):
                part.source.stop()

    def samples(self) -> Iterator[Sample]:
        """Samples as they come. When all parts have ended it may be called again: they reopen."""
        self._meeting = Meeting(len(self._parts), self._patience_ns)
        self._over = threading.Event()
        patience_s = self._patience_ns / NS_PER_S
        for number, part in enumerate(self._parts):
            threading.Thread(
                target=self._read, args=(number, part, self._over), name=f"source-{number}",
                daemon=True,
            ).start()  # fmt: skip
        try:
            while True:
                with self._change:
                    if not self._came and self._meeting.is_over:
                        self._over.set()  # under the lock: no part begins again meanwhile
                        break
                    if not self._came and not self._stopped:
                        self._change.wait(min(_POLL_S, patience_s))
                    if self._stopped:
                        return
                    came, self._came = self._came, []
                    self._change.notify_all()
                for number, what, came_ns in came:
                    match what:
                        case "begin":
                            self._meeting.begin(number)
                        case "end":
                            self._meeting.end(number)
                        case sample:
                            self._meeting.put(number, sample, came_ns)
                yield from self._meeting.ready(self._clock.mono_ns())
        finally:
            if not self._over.is_set():
                self.stop()  # left half read: the threads must not go on for nobody
            if self._meeting.late:
                log.warning("samples came too late", counts=dict(self.counts))

    def _read(self, number: int, part: Part, over: threading.Event) -> None:
        """A part's thread: hands over each sample and each end, until all parts have ended."""
        backoff = Backoff(self._again_s)
        while True:
            if self._read_once(number, part):
                backoff.reset()
            if not self._hand_over(number, "end"):
                return
            if over.wait(backoff.next_s()) or not self._begin_again(number, over):
                return

    def _read_once(self, number: int, part: Part) -> bool:
        """Hand over what a part gives to its end; whether it gave anything."""
        spoke = False
        try:
            for sample in part.samples(self._clock):
                spoke = True
                if not self._hand_over(number, sample):
                    break
        except LongtailError as error:
            log.error("source ended early", source=part.address, reason=str(error))
        except Exception:  # a thread's error would be seen by nobody
            log.exception("source failed", source=part.address)
        return spoke

    def _begin_again(self, number: int, over: threading.Event) -> bool:
        """False when all others have ended meanwhile, or nobody takes samples any more."""
        with self._change:
            if over.is_set():
                return False
            self._came.append((number, "begin", self._clock.mono_ns()))
            return True

    def _hand_over(self, number: int, what: Sample | Turn) -> bool:
        """False when nobody takes samples any more."""
        with self._change:
            while len(self._came) >= MAX_WAITING * len(self._parts) and not self._stopped:
                self._change.wait(_POLL_S)
            if self._stopped:
                return False
            self._came.append((number, what, self._clock.mono_ns()))
            self._change.notify_all()
            return True
