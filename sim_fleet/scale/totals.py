"""Sums over a stream, minute by minute, so that a day of a whole fleet stays small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_fleet.scale.events import REQUESTS, Batch, Kind
from sim_fleet.scale.fleet import Ints
from sim_fleet.scale.stream import Stream

_REQUESTS = np.array([REQUESTS[kind] for kind in Kind], np.int64)
MINUTE_S = 60


class Totals:
    """What was asked and sent.

    Attributes:
        rows: of each kind, [kinds]. kind_bytes: bytes of each kind, [kinds].
        requests: HTTP requests a minute, [minutes].
        wifi_bytes, cellular_bytes: a minute, [minutes].
        sending: vehicles in the middle of an upload, at the end of each batch.
        delivered_clips, delivered_bytes: clips whose commit was proven.
        peak_requests_s, peak_bytes_s: of the busiest second.
    """

    def __init__(self, start_s: float, hours: float) -> None:
        self._start_s = start_s
        minutes = int(np.ceil(hours * 60))
        self.hours = hours
        self.rows = np.zeros(len(Kind), np.int64)
        self.kind_bytes = np.zeros(len(Kind), np.int64)
        self.requests = np.zeros(minutes, np.int64)
        self.wifi_bytes = np.zeros(minutes, np.int64)
        self.cellular_bytes = np.zeros(minutes, np.int64)
        self.sending: list[int] = []
        self.delivered_clips = 0
        self.delivered_bytes = 0
        self.wifi_clips = 0
        self.peak_requests_s = 0.0
        self.peak_bytes_s = 0.0

    def add(self, batch: Batch, sending: int) -> None:
        """Count a batch."""
        self.sending.append(sending)
        requests = _REQUESTS[batch.kind]
        self.rows += np.bincount(batch.kind, minlength=len(Kind))
        self.kind_bytes += _sums(batch.kind, batch.size_bytes, len(Kind))
        minute = ((batch.time_s - self._start_s) // MINUTE_S).astype(np.int64)
        first = int((batch.t0_s - self._start_s) // MINUTE_S)
        last = min(len(self.requests), first + int(np.ceil((batch.t1_s - batch.t0_s) / MINUTE_S)))
        within = minute - first
        inside = within < last - first
        within = within[inside]
        size, free = batch.size_bytes[inside], batch.free[inside]
        span = slice(first, last)
        self.requests[span] += _sums(within, requests[inside], last - first)
        self.wifi_bytes[span] += _sums(within[free], size[free], last - first)
        self.cellular_bytes[span] += _sums(within[~free], size[~free], last - first)
        second = (batch.time_s - batch.t0_s).astype(np.int64)
        seconds = int(batch.t1_s - batch.t0_s)
        self.peak_requests_s = max(
            self.peak_requests_s, float(_sums(second, requests, seconds).max())
        )
        self.peak_bytes_s = max(
            self.peak_bytes_s, float(_sums(second, batch.size_bytes, seconds).max())
        )
        done = batch.kind == Kind.DONE
        self.delivered_clips += int(done.sum())
        self.delivered_bytes += int(batch.clip_bytes[done].sum())
        self.wifi_clips += int((done & batch.free).sum())

    def a_day(self, value: float) -> float:
        """A sum over the stream as a day's."""
        return value * 24 / self.hours

    def count(self, kind: Kind) -> int:
        return int(self.rows[kind])


def totals_of(stream: Stream) -> Totals:
    """Run a stream to its end."""
    options = stream.options
    totals = Totals(options.start_h * 3600, options.hours)
    for batch in stream.batches():
        totals.add(batch, stream.sending)
    return totals


def _sums(index: NDArray[Any], values: Ints, length: int) -> Ints:
    """Sums of integers by index; exact below 2^53."""
    sums = np.bincount(index, values.astype(np.float64), minlength=length)
    return np.rint(sums).astype(np.int64)
