"""Sends the stream to a receiver: as fast as it takes it, at a rate, or at a speed-up.

Guarantees: only a receiver on this machine is loaded; each row goes to one identity, which sends
one request at a time over its own connection, as a vehicle does; a row that is begun is ended.
After the end, every acknowledgement is looked up in the database.

Without `rate` or `speed_up` the loop is closed: the next row goes when an identity is free, so
times of answers are those of `connections` vehicles at once, and no queue hides.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from contracts.clock import NS_PER_S, Clock, SystemClock
from contracts.errors import InputError
from sim_fleet.scale.events import REQUESTS, Kind
from sim_fleet.scale.fleet import make_rules
from sim_fleet.scale.load.exact import differences
from sim_fleet.scale.load.identity import Identity, Row
from sim_fleet.scale.load.processes import cpu_seconds, own_receiver
from sim_fleet.scale.load.report import Acknowledged, LoadReport
from sim_fleet.scale.rates import ScaleRates, published_specs
from sim_fleet.scale.stream import Stream, StreamOptions

OWN = "own"
"""As a URL: start a receiver under a temporary folder, and end it afterwards."""
_AHEAD = 2
_UPLOAD_STEPS = (Kind.OFFSET, Kind.PART, Kind.DONE, Kind.NOT_WANTED)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a receiver is loaded. `rate`: most rows a second; `speed_up`: virtual s a second."""

    url: str
    connections: int = 32
    seconds: float = 20.0
    events: int = 1_000_000
    rate: float | None = None
    speed_up: float | None = None
    clip_bytes: int = 16_384
    database_url: str | None = None
    receiver_pid: int | None = None
    database_pid: int | None = None

    def __post_init__(self) -> None:
        bounds = (
            ("connections", 1 <= self.connections <= 1000, "1 to 1000"),
            ("seconds", 0 < self.seconds <= 86_400, "above 0, at most a day"),
            ("events", self.events >= 1, "1 or more"),
            ("rate", self.rate is None or self.rate > 0, "above 0"),
            ("speed_up", self.speed_up is None or self.speed_up > 0, "above 0"),
            ("clip_bytes", 2 <= self.clip_bytes <= 4 * 2**20, "2 to 4 MiB"),
        )
        for name, holds, words in bounds:
            if not holds:
                raise InputError(f"{getattr(self, name)} is not {words}", name)
        if self.rate is not None and self.speed_up is not None:
            raise InputError("give a rate or a speed-up, not both", "speed_up")
        if self.url == OWN:
            return
        if not _is_loopback(self.url):
            raise InputError(f"{self.url!r} is not `own` or a URL on this machine", "load")
        if self.database_url is None:
            raise InputError("needed to look up what was acknowledged", "database_url")


def run_load(
    rates: ScaleRates, stream: StreamOptions, options: LoadOptions, clock: Clock | None = None
) -> LoadReport:
    """Load a receiver and tell how it went.

    Raises `InputError`, `RefusedError` when identities may not enrol without a token, and
    `TransientError` when the receiver or its database does not answer.
    """
    clock = clock or SystemClock()
    with ExitStack() as stack:
        # Short: the database's socket lies under it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lt-scale-")))
        if options.url == OWN:
            own = stack.enter_context(own_receiver(folder, clock))
            options = replace(
                options, url=own.url, database_url=own.database_url, receiver_pid=own.pid,
                database_pid=own.database_pid,
            )  # fmt: skip
        return asyncio.run(_Load(rates, stream, options, clock, folder).run())


class _Load:
    """One load from enrolment to the look into the database."""

    def __init__(
        self, rates: ScaleRates, stream: StreamOptions, options: LoadOptions, clock: Clock,
        folder: Path,
    ) -> None:  # fmt: skip
        self._options, self._clock = options, clock
        self._told = Acknowledged()
        self._run = f"scale-{secrets.token_hex(4)}"
        self._rows = rows_of(Stream(rates, stream), rates)
        specs = published_specs()
        self._identities = [
            Identity(
                options.url, f"{self._run}-{number:04}", self._run, specs,
                folder / f"clip-{number}.mcap", options.clip_bytes, clock, self._told,
            )
            for number in range(options.connections)
        ]  # fmt: skip
        self._queue: asyncio.Queue[Row | None] = asyncio.Queue(_AHEAD * options.connections)
        self._start_s = stream.start_h * 3600
        self._last_s = self._start_s

    async def run(self) -> LoadReport:
        try:
            for identity in self._identities:
                await identity.enrol()
            before = self._cpu()
            begin_ns = self._clock.mono_ns()
            workers = [asyncio.create_task(self._work(each)) for each in self._identities]
            await asyncio.gather(self._offer(begin_ns), *workers)
            seconds = (self._clock.mono_ns() - begin_ns) / NS_PER_S
            spent = [None if a is None or b is None else b - a
                     for a, b in zip(before, self._cpu(), strict=True)]  # fmt: skip
        finally:
            for identity in self._identities:
                await identity.close()
        return self._report(seconds, *spent)

    async def _work(self, identity: Identity) -> None:
        while (row := await self._queue.get()) is not None:
            await identity.do(row)

    async def _offer(self, begin_ns: int) -> None:
        """Put rows into the queue until time, number or stream are at their end."""
        options = self._options
        end_ns = begin_ns + round(options.seconds * NS_PER_S)
        offered = 0
        for row in self._rows:
            if offered >= options.events:
                break
            due_ns = begin_ns
            if options.rate is not None:
                due_ns += round(offered / options.rate * NS_PER_S)
            elif options.speed_up is not None:
                due_ns += round((row.time_s - self._start_s) / options.speed_up * NS_PER_S)
            now_ns = self._clock.mono_ns()
            if max(now_ns, due_ns) >= end_ns:
                break
            if due_ns > now_ns:
                await self._clock.sleep_ns(due_ns - now_ns)
            await self._queue.put(row)
            # An upload is four events: its declaration, offset, part and receipt.
            offered += 1 + len(_UPLOAD_STEPS[:-1]) * (row.kind == Kind.CREATE)
            self._last_s = row.time_s
        for _ in self._identities:
            await self._queue.put(None)

    def _cpu(self) -> tuple[float | None, float | None, float]:
        """CPU seconds so far: the service's and the database's where they are known, our own."""
        pids = (self._options.receiver_pid, self._options.database_pid)
        service, database = (None if pid is None else cpu_seconds(pid) for pid in pids)
        times = os.times()
        return service, database, times.user + times.system

    def _report(
        self, seconds: float, service_s: float | None, database_s: float | None,
        own_s: float | None,
    ) -> LoadReport:  # fmt: skip
        told = self._told
        events = sum(told.counts.values())
        requests = sum(REQUESTS[kind] * told.counts[kind.name.lower()] for kind in Kind)
        found = differences(self._options.database_url or "", self._run, told)

        def each_ms(spent_s: float | None) -> float | None:
            return None if spent_s is None else round(1e3 * spent_s / max(1, events), 3)

        return LoadReport(
            url=self._options.url,
            identities=len(self._identities),
            seconds=round(seconds, 3),
            events=events,
            events_per_s=round(events / seconds, 1),
            requests_per_s=round(requests / seconds, 1),
            offered_virtual_s=round(self._last_s - self._start_s, 3),
            acknowledged=dict(told.counts),
            refused=dict(told.refused),
            latency_ms=told.latency_ms(),
            receiver_cpu_ms_per_event=each_ms(service_s),
            database_cpu_ms_per_event=each_ms(database_s),
            sender_cpu_ms_per_event=each_ms(own_s) or 0.0,
            is_exact=not found,
            differences=found,
        )


def rows_of(stream: Stream, rates: ScaleRates) -> Iterator[Row]:
    """The stream's rows that begin something; an upload's later rows are its session's own."""
    moments = make_rules(rates).moments.triggers
    of_moment = [tuple(int(each) for each in row if each >= 0) for row in moments]
    for batch in stream.batches():
        columns = zip(
            batch.kind.tolist(), batch.time_s.tolist(), batch.moment.tolist(),
            batch.trigger.tolist(), strict=True,
        )  # fmt: skip
        for kind, time_s, moment, trigger in columns:
            if kind in _UPLOAD_STEPS:
                continue
            triggers = (trigger,) if trigger >= 0 else of_moment[moment] if moment >= 0 else ()
            yield Row(Kind(kind), time_s, triggers)


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
