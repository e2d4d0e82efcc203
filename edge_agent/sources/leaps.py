"""Stamps that run ahead: one of them must not make all others too late.

The door turns away what is older than the newest sample by more than a second. A single stamp of
another day (a torn line of a log, a sensor that has lost its time) would so end the drive for
every other sample. What is ahead by more than that second is therefore doubted:

- In a recording it waits for what comes next. Where several instants follow that are ahead as
  well, time has gone on (a silence, a suspend, a recording that was paused), and all of them pass,
  in their order. Where time goes on from where it was, the stamp was wrong.
- What is live and on the machine's clock cannot be ahead of it. Of a live source with a clock of
  its own nothing is known: it could not be doubted without being made late.

What is found wrong is turned away and told; nothing is restamped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from contracts.clock import Clock
from contracts.samples import Sample
from edge_agent.drive.door import MAX_DISORDER_NS
from edge_agent.ports import LiveSource, SensorSource, SourceDescription
from edge_agent.sources.address import is_machines_clock

NO_TIME = "its time is no whole number"
AHEAD = "ahead of all others by more than 1 s"
AHEAD_OF_CLOCK = "ahead of the machine's clock by more than 1 s"
INSTANTS_AHEAD = 5
"""So many instants, one after the other, make a leap true..."""
INSTANTS_BACK = 3
"""...and so many from before it, meanwhile, make it false. They are fewer: of two sensors that
tell the time alike often, the one that did not leap is right."""
MOST_WAITING = 512
"""So many samples make a leap true as well: the time of such a source stands still."""

Tell = Callable[[Sample, str], object]


def plausible_samples(
    samples: Iterable[Sample],
    source: SensorSource,
    told: SourceDescription,
    clock: Clock,
    tell: Tell,
) -> Iterator[Sample]:
    """A source's samples without those whose time cannot be.

    Args:
        samples: what the source gives.
        told: what it tells of itself.
        clock: the machine's.
        tell: is told of each sample that is turned away, and why.
    """
    timed = _with_times(samples, tell)
    if not isinstance(source, LiveSource):
        return _without_leaps(timed, tell)
    if is_machines_clock(told.utc_minus_mono_ns, clock):
        return _not_ahead_of(clock, timed, tell)
    return timed


def _with_times(samples: Iterable[Sample], tell: Tell) -> Iterator[Sample]:
    for sample in samples:
        if isinstance(sample.mono_ns, int | np.integer):
            yield sample
        else:
            tell(sample, NO_TIME)


def _not_ahead_of(clock: Clock, samples: Iterable[Sample], tell: Tell) -> Iterator[Sample]:
    for sample in samples:
        if sample.mono_ns > clock.mono_ns() + MAX_DISORDER_NS:
            tell(sample, AHEAD_OF_CLOCK)
        else:
            yield sample


def _without_leaps(samples: Iterable[Sample], tell: Tell) -> Iterator[Sample]:
    doubted = _Doubted()
    for sample in samples:
        if doubted.is_plain(sample.mono_ns):
            for wrong in doubted.refuted_at(sample.mono_ns):
                tell(wrong, AHEAD)
            yield sample
        else:
            yield from doubted.put(sample)
    yield from doubted.rest()


class _Doubted:
    """Samples that are ahead, in the order in which they came."""

    def __init__(self) -> None:
        self._newest_ns: int | None = None  # of those that passed
        self._waiting: list[Sample] = []
        self._ahead = _Instants()
        self._back = _Instants()

    def is_plain(self, at_ns: int) -> bool:
        """Whether a time is not to be doubted. The newest such is remembered."""
        if self._newest_ns is None or at_ns > self._newest_ns + MAX_DISORDER_NS:
            return False
        self._newest_ns = max(self._newest_ns, at_ns)
        return True

    def refuted_at(self, plain_ns: int) -> list[Sample]:
        """Those that waited, if this is one instant too many from before them."""
        if not self._waiting or self._back.see(plain_ns) < INSTANTS_BACK:
            return []
        wrong = self._waiting
        self._wait_on([])
        return wrong

    def put(self, sample: Sample) -> Iterator[Sample]:
        """Doubt one more; those whose time it confirms, in their order."""
        self._waiting.append(sample)
        self._ahead.see(sample.mono_ns)
        while self._ahead.count >= self._enough or len(self._waiting) > MOST_WAITING:
            yield from self._lowest()

    @property
    def _enough(self) -> int:
        """At the start two instants tell which of them is the lower, and it is believed."""
        return 2 if self._newest_ns is None else INSTANTS_AHEAD

    def rest(self) -> Iterator[Sample]:
        """Those that wait still, when nothing comes any more that they could make too late."""
        while self._waiting:
            yield from self._lowest()

    def _lowest(self) -> list[Sample]:
        """Take out the lowest that waits, as time has come so far at least, and what is not ahead
        of it.
        """
        times = sorted(sample.mono_ns for sample in self._waiting)
        newest_ns = times[0]
        for at_ns in times:
            if at_ns <= newest_ns + MAX_DISORDER_NS:
                newest_ns = at_ns
        found = [sample for sample in self._waiting if sample.mono_ns <= newest_ns]
        self._newest_ns = newest_ns
        self._wait_on([sample for sample in self._waiting if sample.mono_ns > newest_ns])
        return found

    def _wait_on(self, waiting: list[Sample]) -> None:
        """Go on with these, counted anew."""
        self._waiting, self._ahead, self._back = waiting, _Instants(), _Instants()
        for sample in waiting:
            self._ahead.see(sample.mono_ns)


class _Instants:
    """Counts how often a time comes that is another than the one before."""

    def __init__(self) -> None:
        self.count = 0
        self._last_ns: int | None = None

    def see(self, at_ns: int) -> int:
        """The count so far, with this one."""
        self.count += at_ns != self._last_ns
        self._last_ns = at_ns
        return self.count
