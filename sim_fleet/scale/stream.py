"""A fleet's requests in virtual time: a generator of batches in order, with bounded memory.

Guarantees: the same rates, count, seed and options give the same rows on every machine with the
same numpy; memory is a fixed number of bytes a vehicle (`Stream.state_bytes`) and one batch,
however long the stream. Nothing sleeps and nothing is sent.

Within a batch all moments come first, then all uploads: a clip waits for its packing at least,
so an upload never needs a moment of a later batch.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from edge_agent.config import BudgetConfig
from edge_agent.ledger.cellular import month_of
from edge_agent.ota.updater import JITTER_RATIO, LONGEST_POLL_NS, SHORTEST_POLL_NS
from edge_agent.selection.budget import VehicleLimits
from edge_agent.upload.policy import CellularLimits
from sim_fleet.scale.budgets import KEPT, REASONS, Budgets
from sim_fleet.scale.caps import CellularBooks
from sim_fleet.scale.days import DAY_S, Calendar, Segment
from sim_fleet.scale.events import Batch, BatchDraft, Kind
from sim_fleet.scale.fleet import Ints, make_rules, make_vehicles
from sim_fleet.scale.moments import draw_moments
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.scale.spools import Spools
from sim_fleet.scale.uploads import Uploads
from sim_fleet.seeds import generator

FIRST_DAY = (dt.date(2026, 1, 1) - dt.date(1970, 1, 1)).days
"""The stream's midnight; months count against the caps from here."""
_WHOLE_S = 1800


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What is streamed. `warm_up_h` is driven before it, unseen, so that queues are as usual."""

    vehicles: int = 100_000
    hours: float = 24.0
    seed: int = 0
    start_h: float = 0.0
    warm_up_h: float = 0.0
    batch_s: int = 300
    spool_clips: int = 64

    def __post_init__(self) -> None:
        bounds = (
            ("vehicles", 1 <= self.vehicles <= 5_000_000, "1 to 5,000,000"),
            ("hours", 0 < self.hours <= 24 * 366, "above 0, at most a year"),
            ("seed", self.seed >= 0, "0 or more"),
            ("start_h", 0 <= self.start_h < 24, "0 to 24"),
            ("warm_up_h", 0 <= self.warm_up_h <= 24 * 62, "0 to 62 days"),
            ("batch_s", 0 < self.batch_s <= _WHOLE_S, "1 to 1800"),
            ("spool_clips", 1 <= self.spool_clips <= 1024, "1 to 1024"),
        )
        for name, holds, words in bounds:
            if not holds:
                raise InputError(f"{getattr(self, name)} is not {words}", name)
        if _WHOLE_S % self.batch_s:
            raise InputError("a batch must divide half an hour, where days begin", "batch_s")


class Stream:
    """The fleet in motion. Iterate over `batches` once."""

    def __init__(self, rates: ScaleRates, options: StreamOptions) -> None:
        self.rates, self.options = rates, options
        self.vehicles = make_vehicles(rates, options.vehicles, options.seed)
        self.rules = make_rules(rates)
        self.suppressed: Counter[str] = Counter()
        self.fires: Counter[str] = Counter()
        self.driven_s = 0.0
        self.clips = 0
        self.clip_bytes = 0
        begin_s = (options.start_h - options.warm_up_h) * 3600
        self._begin_s = begin_s // _WHOLE_S * _WHOLE_S
        self._calendar = Calendar(rates, self.vehicles, options.seed, self._begin_s)
        budget = BudgetConfig()
        limits = VehicleLimits(
            budget.clips_per_day, budget.bytes_per_day, budget.safety_reserve_ratio,
            budget.random_reserve_ratio,
        )  # fmt: skip
        self._budgets = Budgets(options.vehicles, self.rules.triggers, limits)
        self._books = CellularBooks(
            options.vehicles,
            CellularLimits(rates.cellular.bytes_per_day, rates.cellular.bytes_per_month),
        )
        self.spools = Spools(options.vehicles, options.spool_clips, self.rules.clips)
        self._uploads = Uploads(rates, self.vehicles, self.rules, self.spools, self._books)
        self._interval_s = {
            free: _bounded(rates.polling.poll_s, rates.polling.metered_poll_s, free)
            for free in (True, False)
        }
        # Vehicles that are under way as the stream begins are somewhere between two requests.
        rng = generator(options.seed, "scale", "phase")
        phase = rng.random((2, options.vehicles))
        self._next_poll_s = self._begin_s + phase[0] * self._interval_s[False]
        self._token_until_s = self._begin_s + phase[1] * rates.polling.token_s

    @property
    def state_bytes(self) -> int:
        """Bytes of spools and polls, most of what grows with the fleet; nothing of it with time."""
        own = (self._next_poll_s, self._token_until_s)
        return sum(int(column.nbytes) for column in own) + self.spools.nbytes

    @property
    def sending(self) -> int:
        """Vehicles in the middle of an upload at the end of the last batch."""
        return self._uploads.sending

    def batches(self) -> Iterator[Batch]:
        """Rows from `start_h` on, batch by batch; times count from the first midnight."""
        options = self.options
        start_s = options.start_h * 3600
        end_s = start_s + options.hours * 3600
        at = self._begin_s
        while at < end_s:
            draft = BatchDraft()
            self._step(at, draft, counted=at >= start_s)
            if at >= start_s:
                yield draft.finish(at, at + options.batch_s)
            at += options.batch_s

    def _step(self, t0_s: float, draft: BatchDraft, counted: bool) -> None:
        if t0_s % DAY_S == 0:
            self._budgets.new_day()
            self._books.new_day()
            today = FIRST_DAY + int(t0_s // DAY_S)
            if month_of(today)[0] == today:
                self._books.new_month()
        t1_s = t0_s + self.options.batch_s
        rng = generator(self.options.seed, "scale", "slice", int(t0_s))
        segments = self._calendar.segments(t0_s, t1_s)
        for segment in segments:
            self._check_in(segment, rng, draft)
        self._drive([each for each in segments if not each.free], rng, draft, counted)
        for segment in segments:
            self._uploads.go_on(segment, t1_s, rng, draft)

    def _check_in(self, segment: Segment, rng: np.random.Generator, draft: BatchDraft) -> None:
        """At once when a link comes, then at intervals with the updater's jitter."""
        who = segment.vehicle
        due_s = np.where(segment.begins, segment.from_s, self._next_poll_s[who])
        sizes = self.rates.sizes
        left = np.flatnonzero(due_s < segment.until_s)
        while len(left):
            now_s, asking = due_s[left], who[left]
            stale = now_s >= self._token_until_s[asking]
            draft.add(Kind.AUTHENTICATE, now_s[stale], asking[stale], sizes.authenticate_bytes,
                      segment.free)  # fmt: skip
            self._token_until_s[asking[stale]] = now_s[stale] + self.rates.polling.token_s
            goes = np.ones(len(left), np.bool_)
            if not segment.free:
                size = sizes.check_in_bytes + stale * sizes.authenticate_bytes
                goes = self._books.charge(asking, size)
            draft.add(Kind.CHECK_IN, now_s[goes], asking[goes], sizes.check_in_bytes, segment.free)
            jitter = 1.0 + JITTER_RATIO * (2.0 * rng.random(len(left)) - 1.0)
            due_s[left] = now_s + self._interval_s[segment.free] * jitter
            left = left[due_s[left] < segment.until_s[left]]
        self._next_poll_s[who] = due_s

    def _drive(
        self, trips: list[Segment], rng: np.random.Generator, draft: BatchDraft, counted: bool
    ) -> None:
        """Moments, the budget's word on them, their event records and clips."""
        if not trips:
            return
        if counted:
            self.driven_s += sum(float((each.until_s - each.from_s).sum()) for each in trips)
        happened = draw_moments(self.rules.moments, self.vehicles, trips, rng)
        for rows in happened.turns():
            who, moment = happened.vehicle[rows], happened.moment[rows]
            fired_s, size = happened.time_s[rows], happened.clip_bytes[rows]
            triggers = self.rules.moments.triggers[moment]
            fired_ns = np.rint(fired_s * NS_PER_S).astype(np.int64)
            verdicts = self._budgets.admit(who, triggers, fired_ns, size)
            if counted:
                self._count(triggers, verdicts)
            kept = verdicts == KEPT
            for at in range(triggers.shape[1]):
                told = np.flatnonzero(kept[:, at])
                told = told[self._books.charge(
                    who[told], np.full(len(told), self.rates.sizes.event_bytes), event=True
                )]  # fmt: skip
                draft.add(Kind.EVENT, fired_s[told], who[told], self.rates.sizes.event_bytes,
                          free=False, moment=moment[told], trigger=triggers[told, at])  # fmt: skip
            made = np.flatnonzero(kept.any(axis=1))
            if counted:
                self.clips += len(made)
                self.clip_bytes += int(size[made].sum())
            self.spools.put(who[made], moment[made], triggers[made], kept[made], size[made],
                            fired_s[made] + self.rates.pack_s)  # fmt: skip

    def _count(self, triggers: Ints, verdicts: Ints) -> None:
        ids = [fire.trigger_id for fire in self.rules.triggers.fires]
        fired = np.bincount(triggers[triggers >= 0], minlength=len(ids))
        self.fires.update(dict(zip(ids, fired.tolist(), strict=True)))
        for code, number in zip(
            *np.unique(verdicts[verdicts >= 0], return_counts=True), strict=True
        ):
            self.suppressed[REASONS[int(code)]] += int(number)


def _bounded(poll_s: float, metered_poll_s: float, free: bool) -> float:
    """`Updater.poll_interval_ns`, in seconds."""
    asked = min(LONGEST_POLL_NS, max(SHORTEST_POLL_NS, round(poll_s * NS_PER_S)))
    return (asked if free else max(asked, round(metered_poll_s * NS_PER_S))) / NS_PER_S
