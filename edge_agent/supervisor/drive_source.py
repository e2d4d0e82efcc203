"""A drive's source: where its time begins, how far its clock is trusted, and its samples."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import numpy as np
import structlog

from contracts.clock import Clock, ClockQuality
from contracts.samples import Sample
from edge_agent.drive.door import channel_of
from edge_agent.ports import CountingSource, LiveSource, SensorSource
from edge_agent.sources.address import is_machines_clock, machine_clock_quality
from edge_agent.sources.leaps import plausible_samples
from edge_agent.supervisor.first import FirstSample
from edge_agent.supervisor.source import supervised_samples
from edge_agent.supervisor.supervisor import Restarts

SILENT = "no sensor has spoken yet"
SPEAKS_WITHIN_S = 2.0
"""So long the agent's start waits for a live source, and no longer for one that is silent."""

log = structlog.get_logger(__name__)


class DriveSource:
    """One drive's source, under supervision: `open` it once, then take its `samples`.

    Args:
        source, clock: what speaks, and this machine's time.
        restarts: counts what fails, and ends the daemon when it fails too often.

    Attributes:
        stopped: set once the drive is to end.
        rejections: samples that went no further and breaks, by channel and reason. Another counter
            may take its place.
    """

    def __init__(self, source: SensorSource, clock: Clock, restarts: Restarts) -> None:
        self._source = source
        self._clock = clock
        self._restarts = restarts
        self._is_live = isinstance(source, LiveSource)
        self._is_silent = False
        self.description = source.describe()
        self.stopped = threading.Event()
        self.rejections: Counter[tuple[str, str]] = Counter()

    def open(self) -> int:
        """Ask for the first sample. Gives where the drive's clock begins, in monotonic ns: at that
        sample, or now if a live source is silent. Raises what a recording raises.
        """
        self._samples = supervised_samples(
            self._source, self._restarts, self.stopped.wait, self._on_break
        )
        # One sample and no more: what plays by a clock gives the next when the drive runs.
        self._first = FirstSample(self._samples)
        known = not self._is_live or self._first.is_known(SPEAKS_WITHIN_S)
        first = self._first.result() if known else None
        if first is not None and isinstance(first.mono_ns, int | np.integer):
            return int(first.mono_ns)
        if not self._is_live:
            return 0  # an empty recording: today is none of its days
        self._is_silent = True
        log.warning(SILENT, waited_s=SPEAKS_WITHIN_S)
        offset_ns = self.description.utc_minus_mono_ns
        if is_machines_clock(offset_ns, self._clock):
            return self._clock.mono_ns()
        return self._clock.utc_ns() - offset_ns

    def samples(self) -> Iterator[Sample]:
        """All samples whose time can be. Blocks until the first is there."""
        first = self._first.result()
        self._is_silent = False
        samples = chain(() if first is None else (first,), self._samples)
        return plausible_samples(
            samples, self._source, self.description, self._clock, self._turn_away
        )

    def stop(self) -> None:
        """End the samples. Any thread."""
        self.stopped.set()
        if isinstance(self._source, LiveSource):
            self._source.stop()

    @property
    def silent(self) -> str:
        """That no sensor has spoken yet, empty once one has."""
        return SILENT if self._is_silent else ""

    @property
    def left_out(self) -> dict[str, int]:
        """What the source could not use so far, by reason."""
        counts = self._source.counts if isinstance(self._source, CountingSource) else {}
        return {reason: count for reason, count in sorted(counts.items()) if count}

    def machine_clock(self) -> ClockQuality:
        """How far this machine's wall clock can be trusted now; a recording's as it was then."""
        return machine_clock_quality() if self._is_live else self.description.clock

    def drive_clock(self) -> ClockQuality:
        """How far this drive's UTC can be trusted. A live drive keeps the offset that it began
        with, which may have been before the machine was told the time: by how much it is off is
        known once it was.
        """
        now = self.machine_clock()
        if not (self._is_live and now.synchronised):
            return now
        utc_minus_mono_ns = self._clock.utc_ns() - self._clock.mono_ns()
        off_ns = self.description.utc_minus_mono_ns - utc_minus_mono_ns
        return now.model_copy(update={"offset_ns": off_ns})

    def _on_break(self, why: str) -> None:
        """The source broke off: what came before it counts, and the break is told."""
        self.rejections["source", why] += 1

    def _turn_away(self, sample: Sample, why: str) -> None:
        """A sample's time cannot be: it goes no further."""
        key = channel_of(sample), why
        self.rejections[key] += 1
        if self.rejections[key] == 1:
            log.warning("sample rejected", channel=key[0], mono_ns=sample.mono_ns, reason=why)
