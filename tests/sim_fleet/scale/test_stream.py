"""The stream: sums against closed forms, the same again, in order, and with bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.ids import part_count
from edge_agent.ota.updater import JITTER_RATIO
from sim_fleet.scale.days import DAY_S, Calendar
from sim_fleet.scale.events import Batch, Kind
from sim_fleet.scale.fleet import make_vehicles
from sim_fleet.scale.plan import make_plan
from sim_fleet.scale.rates import Driving, Moment, Region, ScaleRates, changed, load_rates
from sim_fleet.scale.stream import Stream, StreamOptions
from sim_fleet.scale.totals import totals_of


def small(hours: float = 24.0, vehicles: int = 300, **options: object) -> StreamOptions:
    return StreamOptions(vehicles, hours, 3, batch_s=1800, **options)  # type: ignore[arg-type]


def one_region(**changes: object) -> ScaleRates:
    """One region without overdispersion's help, and nothing but the random stream."""
    moment = Moment(
        per_driving_hour=3.6, triggers=("random-baseline",), clip_mb=5.0, varies=False
    )  # fmt: skip
    base = ScaleRates(
        regions=(Region(name="all", share=1.0, utc_offset_h=0.0),), moments={"random": moment}
    )
    return changed(base, **changes)


def test_driving_check_ins_and_clips_are_those_of_the_closed_forms() -> None:
    rates = one_region(links__garage_wifi_share=1.0)
    stream = Stream(rates, small(vehicles=1500, warm_up_h=24.0))
    totals = totals_of(stream)
    driving = rates.driving
    hours = driving.trips_per_day * driving.trip_s / 3600
    assert stream.driven_s / 3600 / 1500 == pytest.approx(hours, rel=0.05)
    driven_h = stream.driven_s / 3600
    expected = driven_h * 3.6
    assert totals.count(Kind.EVENT) == pytest.approx(expected, abs=4 * expected**0.5)
    assert stream.clips == totals.count(Kind.EVENT)
    # The renewal theorem: a period of length L has L/m + (m² + s²)/2m² check-ins.
    home_share = 1 - (1 - driving.trips_per_day / driving.most_trips) ** driving.most_trips
    trips, homes = 1500 * driving.trips_per_day, 1500 * home_share
    first = 0.5 * (1 + JITTER_RATIO**2 / 3)
    awake = rates.links.garage_awake_s
    check_ins = (
        driven_h * 3600 / rates.polling.metered_poll_s + trips * first
        + homes * (awake / rates.polling.poll_s + first)
    )  # fmt: skip
    assert totals.count(Kind.CHECK_IN) == pytest.approx(check_ins, rel=0.05)
    # All have wifi: what was made is delivered, but for what waits at both ends of the day.
    assert totals.delivered_clips == pytest.approx(expected, rel=0.1)
    mean = totals.delivered_bytes / totals.delivered_clips
    assert mean == pytest.approx(5e6, rel=0.05)
    assert int(totals.wifi_bytes.sum()) + int(totals.cellular_bytes.sum()) == int(
        totals.kind_bytes.sum()
    )


def test_rates_differ_between_vehicles_as_the_gamma_says() -> None:
    vehicles = make_vehicles(one_region(vehicle_shape=0.5), 20_000, 1)
    assert vehicles.rate.mean() == pytest.approx(1.0, rel=0.05)
    assert vehicles.rate.var() == pytest.approx(2.0, rel=0.1)


def test_periods_of_a_vehicle_never_overlap() -> None:
    rates = changed(ScaleRates(), driving__trips_per_day=7.0, driving__trip_s=7000.0)
    vehicles = make_vehicles(rates, 200, 2)
    calendar = Calendar(rates, vehicles, 2, 0.0)
    until = np.zeros(200)
    for at in range(0, 3 * DAY_S, 1800):
        for segment in calendar.segments(at, at + 1800):
            assert (segment.from_s >= until[segment.vehicle] - 1e-6).all()
            assert (segment.until_s > segment.from_s).all()
            until[segment.vehicle] = segment.until_s


def columns_of(batches: list[Batch]) -> dict[str, np.ndarray]:
    names = ("time_s", "vehicle", "kind", "size_bytes", "clip", "moment", "trigger", "free")
    return {name: np.concatenate([getattr(b, name) for b in batches]) for name in names}


def test_the_same_seed_gives_the_same_rows_in_order() -> None:
    first, again = (columns_of(list(Stream(ScaleRates(), small(8.0)).batches())) for _ in "ab")
    for name, column in first.items():
        assert np.array_equal(column, again[name])
    assert len(first["time_s"]) > 5000
    assert (np.diff(first["time_s"]) >= 0).all()
    other = columns_of(list(Stream(ScaleRates(), StreamOptions(300, 8.0, 4)).batches()))
    assert len(other["time_s"]) != len(first["time_s"])


def test_each_delivered_clip_was_sent_once_and_whole() -> None:
    rates = changed(ScaleRates(), clip_size_ratio=4.0)
    batches = list(Stream(rates, small(24.0, 200)).batches())
    rows = columns_of(batches)
    size = {
        int(clip): int(whole)
        for batch in batches
        for clip, whole in zip(batch.clip, batch.clip_bytes, strict=True)
    }
    done = rows["clip"][rows["kind"] == Kind.DONE]
    assert len(done) > 300 and len(set(done.tolist())) == len(done)
    parts = np.bincount(rows["clip"][rows["kind"] == Kind.PART], minlength=max(size) + 1)
    assert all(parts[clip] == part_count(size[clip]) for clip in done.tolist())
    begun = set(rows["clip"][rows["kind"] == Kind.CREATE].tolist())
    assert set(done.tolist()) <= begun
    # What goes on cellular is allowed there, and the caps hold.
    road = (rows["kind"] == Kind.PART) & ~rows["free"]
    moments = np.array(list(rates.moments))[rows["moment"][road]]
    assert not {"rare-object", "unsure", "random"} & set(moments.tolist())
    sent = np.bincount(rows["vehicle"][~rows["free"]], rows["size_bytes"][~rows["free"]])
    assert sent.max() <= rates.cellular.bytes_per_day


def test_declined_clips_are_neither_safety_nor_random() -> None:
    stream = Stream(changed(ScaleRates(), not_wanted_share=1.0), small(24.0, 200))
    rows = columns_of(list(stream.batches()))
    names = np.array(list(stream.rates.moments))
    declined = set(names[rows["moment"][rows["kind"] == Kind.NOT_WANTED]].tolist())
    sent = set(names[rows["moment"][rows["kind"] == Kind.DONE]].tolist())
    assert declined <= {"rare-object", "unsure", "hard-accel", "harsh-brake"}
    assert "rare-object" in declined and "rare-object" not in sent and "random" in sent


def test_memory_does_not_grow_with_time() -> None:
    stream = Stream(one_region(links__garage_awake_s=600.0), small(72.0, 30))
    peaks = []
    tracemalloc.start()
    try:
        for number, _ in enumerate(stream.batches(), start=1):
            if number % 48 == 0:
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert len(peaks) == 3 and peaks[2] < 1.2 * peaks[1] + 50_000
    sizes = [Stream(ScaleRates(), small(1.0, count)).state_bytes for count in (100, 200)]
    assert sizes[1] == 2 * sizes[0]


def test_a_plan_follows_from_its_totals() -> None:
    rates = changed(ScaleRates(), store__retention_days=30.0, labels__clip_share=0.5)
    stream = Stream(rates, small(12.0, 200))
    totals = totals_of(stream)
    plan = make_plan(stream, totals)
    assert plan.clips.delivered_per_day == 2 * totals.delivered_clips
    assert plan.growth.bytes_per_day == 2 * totals.delivered_bytes
    assert plan.growth.days_to_petabyte is None
    assert plan.growth.bytes_after_a_year == 30 * plan.growth.bytes_per_day
    assert plan.labelling.clips_per_day == pytest.approx(totals.delivered_clips)
    hours = plan.labelling.boxes_per_day * 0.1 * rates.labels.seconds_per_box / 3600
    assert plan.labelling.labeller_hours_per_day == pytest.approx(hours)
    assert plan.cost.total_per_month == pytest.approx(sum(plan.cost.per_month.values()))
    for_ever = make_plan(Stream(ScaleRates(), small(12.0, 200)), totals)
    assert for_ever.growth.days_to_petabyte == pytest.approx(1e15 / plan.growth.bytes_per_day)


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("links: {garage_wifi_share: 1.5}\n", ":1:28", "less than or equal"),
        ("links: {garage_wif: 0.5}\n", ":1:", "garage_wifi_share"),
        ("vehicle_shape: 0\n", ":1:16", "greater than 0"),
        ("moments: {a: {per_driving_hour: 1, triggers: [none-such], clip_mb: 1}}\n", ":1:",
         "no published trigger 'none-such'"),
        ("driving: {trips_per_day: 8, most_trips: 4}\n", ":1:", "trips a day"),
        ("[1, 2]\n", ":1:1", "mapping"),
    ],
)  # fmt: skip
def test_wrong_rates_are_told_with_their_place(
    text: str, place: str, word: str, tmp_path: Path
) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=word) as caught:
        load_rates(path)
    assert caught.value.place is not None and f"rates.yaml{place}" in caught.value.place


def test_a_file_is_laid_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text("driving: {trips_per_day: 2}\nclip_size_ratio: 10\n")
    found = load_rates(path)
    assert found.driving == Driving(trips_per_day=2.0) and found.clip_size_ratio == 10.0
    assert found.moments == ScaleRates().moments


@pytest.mark.parametrize(
    ("options", "place"),
    [({"vehicles": 0}, "vehicles"), ({"hours": 0}, "hours"), ({"batch_s": 7}, "batch_s"),
     ({"start_h": 24.0}, "start_h"), ({"spool_clips": 0}, "spool_clips")],
)  # fmt: skip
def test_wrong_options_are_told(options: dict[str, float], place: str) -> None:
    with pytest.raises(InputError) as caught:
        StreamOptions(**options)  # type: ignore[arg-type]
    assert caught.value.place == place
