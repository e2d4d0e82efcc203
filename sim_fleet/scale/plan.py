"""From a stream's totals to a plan: bytes, peaks, growth, rows, labelling, cost. Pure.

Nothing here is measured: it is the rates' arithmetic, and as right as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim_fleet.scale.events import REQUESTS, Kind
from sim_fleet.scale.fleet import Floats
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.scale.stream import Stream
from sim_fleet.scale.totals import Totals

PETABYTE = 1e15
MONTH_DAYS = 30.4375


@dataclass(frozen=True, slots=True)
class Load:
    """What reaches the receiver, a day and at the worst."""

    events_per_day: float
    requests_per_day: float
    events_per_s: float
    wifi_bytes_per_day: float
    cellular_bytes_per_day: float
    peak_requests_per_s: float
    peak_requests_per_s_over_a_minute: float
    peak_bytes_per_s: float
    peak_bytes_per_s_over_a_minute: float
    peak_concurrent_uploads: int


@dataclass(frozen=True, slots=True)
class Clips:
    """What becomes of moments, a day; `waiting` and `evicted` at the stream's end."""

    fires_per_day: float
    made_per_day: float
    made_bytes_per_day: float
    delivered_per_day: float
    delivered_bytes_per_day: float
    suppressed_per_day: dict[str, float]
    waiting: int
    evicted: int
    driving_hours_per_day: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Stored bytes. None where the store never grows so far."""

    bytes_per_day: float
    days_to_petabyte: float | None
    bytes_after_a_year: float
    objects_after_a_year: float
    rows_per_day: float
    database_bytes_after_a_year: float


@dataclass(frozen=True, slots=True)
class Labelling:
    """Throughput that the chosen clips need, a day."""

    clips_per_day: float
    frames_per_day: float
    boxes_per_day: float
    boxes_by_people_per_day: float
    labeller_hours_per_day: float
    labellers: float


@dataclass(frozen=True, slots=True)
class Cost:
    """In units of the prices' currency, a month, with the store as it is after a year."""

    per_month: dict[str, float]
    total_per_month: float
    petabyte_month: float
    to_collect_a_petabyte: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole report."""

    vehicles: int
    hours: float
    seed: int
    load: Load
    clips: Clips
    growth: Growth
    labelling: Labelling
    cost: Cost


def make_plan(stream: Stream, totals: Totals) -> Plan:
    """The plan of a stream that has run."""
    options, rates = stream.options, stream.rates
    load, clips = _load(totals), _clips(stream, totals)
    growth = _growth(rates, totals, clips, options.vehicles)
    labelling = _labelling(rates, clips)
    cost = _cost(rates, totals, load, growth, labelling)
    return Plan(options.vehicles, options.hours, options.seed, load, clips, growth, labelling, cost)


def stored_bytes(rates: ScaleRates, bytes_per_day: float, days: Floats) -> Floats:
    """Bytes in the store after some days."""
    kept = rates.store.retention_days
    held = days if kept is None else np.minimum(days, kept)
    return np.asarray(bytes_per_day * rates.store.copies * held, np.float64)


def _load(totals: Totals) -> Load:
    bytes_a_minute = totals.wifi_bytes + totals.cellular_bytes
    requests = sum(totals.count(kind) * REQUESTS[kind] for kind in Kind)
    events = int(totals.rows.sum())
    return Load(
        events_per_day=totals.a_day(events),
        requests_per_day=totals.a_day(requests),
        events_per_s=events / (totals.hours * 3600),
        wifi_bytes_per_day=totals.a_day(int(totals.wifi_bytes.sum())),
        cellular_bytes_per_day=totals.a_day(int(totals.cellular_bytes.sum())),
        peak_requests_per_s=totals.peak_requests_s,
        peak_requests_per_s_over_a_minute=float(totals.requests.max()) / 60,
        peak_bytes_per_s=totals.peak_bytes_s,
        peak_bytes_per_s_over_a_minute=float(bytes_a_minute.max()) / 60,
        peak_concurrent_uploads=max(totals.sending, default=0),
    )


def _clips(stream: Stream, totals: Totals) -> Clips:
    return Clips(
        fires_per_day=totals.a_day(sum(stream.fires.values())),
        made_per_day=totals.a_day(stream.clips),
        made_bytes_per_day=totals.a_day(stream.clip_bytes),
        delivered_per_day=totals.a_day(totals.delivered_clips),
        delivered_bytes_per_day=totals.a_day(totals.delivered_bytes),
        suppressed_per_day={
            reason: totals.a_day(number) for reason, number in sorted(stream.suppressed.items())
        },
        waiting=int(stream.spools.held.sum()),
        evicted=stream.spools.evicted,
        driving_hours_per_day=totals.a_day(stream.driven_s / 3600),
    )


def _growth(rates: ScaleRates, totals: Totals, clips: Clips, vehicles: int) -> Growth:
    store = rates.store
    daily = clips.delivered_bytes_per_day * store.copies
    days = None if daily == 0 else PETABYTE / daily
    if days is not None and store.retention_days is not None and days > store.retention_days:
        days = None
    kept_days = 365 if store.retention_days is None else min(365, store.retention_days)
    events = totals.a_day(totals.count(Kind.EVENT))
    # At 60 s between check-ins and one reading a minute, nearly each check-in has its own.
    readings = totals.a_day(totals.count(Kind.CHECK_IN))
    database = (
        vehicles * store.vehicle_row_bytes
        + clips.delivered_per_day * kept_days * store.clip_row_bytes
        + events * 365 * store.event_row_bytes
        + readings * min(365, store.reading_days) * store.reading_row_bytes
    )
    return Growth(
        bytes_per_day=daily,
        days_to_petabyte=days,
        bytes_after_a_year=daily * kept_days,
        objects_after_a_year=clips.delivered_per_day * kept_days,
        rows_per_day=ROWS_PER_CLIP * clips.delivered_per_day + events + readings,
        database_bytes_after_a_year=database,
    )


ROWS_PER_CLIP = 5
"""Upload, identity, clip, delivery, outbox; an embedding, where there is one, is a sixth."""


def _labelling(rates: ScaleRates, clips: Clips) -> Labelling:
    labels = rates.labels
    chosen = clips.delivered_per_day * labels.clip_share
    frames = chosen * labels.frames_per_clip
    boxes = frames * labels.boxes_per_frame
    by_people = boxes * (1 - labels.auto_accept_share)
    hours = by_people * labels.seconds_per_box / 3600
    return Labelling(chosen, frames, boxes, by_people, hours, hours / labels.labeller_hours_per_day)


def _cost(
    rates: ScaleRates, totals: Totals, load: Load, growth: Growth, labelling: Labelling
) -> Cost:
    prices = rates.prices
    puts = totals.a_day(totals.delivered_clips)
    received_gb = (load.wifi_bytes_per_day + load.cellular_bytes_per_day) / 1e9
    cpu_s = (
        load.requests_per_day * prices.request_cpu_ms / 1e3 + received_gb * prices.gigabyte_cpu_s
    )
    per_month = {
        "store": growth.bytes_after_a_year / 1e12 * prices.store_tb_month,
        "puts": puts * MONTH_DAYS / 1e6 * prices.million_puts,
        "database": growth.database_bytes_after_a_year / 1e9 * prices.database_gb_month,
        "compute": cpu_s / 3600 * MONTH_DAYS * prices.cpu_hour,
        "cellular": load.cellular_bytes_per_day / 1e9 * MONTH_DAYS * prices.cellular_gb,
        "labelling": labelling.labeller_hours_per_day * MONTH_DAYS * prices.labeller_hour,
    }
    # What it takes to bring a petabyte in: all that is paid by the day, but not its keeping.
    days = None if growth.bytes_per_day == 0 else PETABYTE / growth.bytes_per_day
    running = sum(per_month[name] for name in ("puts", "compute", "cellular"))
    return Cost(
        per_month=per_month,
        total_per_month=sum(per_month.values()),
        petabyte_month=PETABYTE / 1e12 * prices.store_tb_month,
        to_collect_a_petabyte=None if days is None else running / MONTH_DAYS * days,
    )
