"""Whether adaptive thresholds land on their rate, and what is suppressed as a known scene.

Thresholds: 20 vehicles drive ten days each, on the trips of the fleet-scale model, through the
agent's own engine in virtual time (a tick each half second). Scores are made up, one stream a kind:
autocorrelated, heavy-tailed, and of a level that changes from vehicle to vehicle, day to day and
trip to trip by factors (weather, region, a better or worse model). Beside each rate stands that of
the fixed bound over the same scores, which is what would have been fired without adapting.

Scenes: everyday streets, each seen once and then again by the same and other eyes: other noise of
the model and of GNSS, another moment, other light; and with something new on the road, which the
model sees or, half of the time, only the lidar does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.figures import Figure, figure
from bench.scene_trials import scene_trials
from contracts.clock import NS_PER_S
from contracts.samples import Float64s
from contracts.signals import SIGNAL_INDEX
from contracts.trigger_spec import LoadedSpec, parse_spec
from kernels.triggers.adapt import Threshold
from kernels.triggers.engine import TickInputs, TriggerEngine, absent_values
from kernels.triggers.likeness import references_of, score_names
from sim_fleet.scale.days import draw_trips
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.seeds import generator

VEHICLES, DAYS = 20, 10
TICK_S = 0.5
_SPACE = "d" * 64
_SEED = 7


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind's made-up scores. `signal` is where they go (a score's column when it begins with
    `class:`), `middle` the usual value, `spread` of its logarithm, `most` what it cannot exceed.
    """

    kind: str
    when: str
    signal: str
    middle: float
    spread: float
    most: float
    per_hour: float
    whole: bool = False


STREAMS = (
    Stream("hard_accel", "{accel_mps2: 3.0, filter_s: 0.0}", "ego.accel_mps2", 0.7, 0.7, 40.0, 2.0),
    Stream("jerk", "{jerk_mps3: 10.0, filter_s: 0.0}", "ego.jerk_mps3", 2.0, 0.8, 400.0, 4.0),
    Stream("low_confidence", "{uncertainty: 0.6, margin: 0.0}", "perception.uncertainty", 0.25, 0.4,
           1.0, 3.0),
    Stream("rare_class", "{classes: [animal], probability: 0.4}", "class:animal", 0.05, 0.8, 1.0,
           4.0),
    Stream("track_flicker", "{flickers: 3}", "perception.flickers", 0.5, 0.8, 1000.0, 2.0, True),
    Stream("unknown_object", "{points: 15}", "perception.unexplained_points", 2.0, 1.0, 1e5, 2.0,
           True),
    Stream("sensor_disagreement", "{missed: 2, share: 0}", "perception.lidar_missed", 0.4, 0.7,
           1000.0, 1.0, True),
    Stream("shadow_disagreement", "{disagreement: 0.5}", "shadow.disagreement", 0.15, 0.5, 1.0,
           3.0),
    Stream("similar_to", f"{{space: {_SPACE}, reference: ADwAAA==, similarity: 0.9}}",
           "class:similar_to", 0.25, 0.5, 1.0, 2.0),
    Stream("novelty", f"{{space: {_SPACE}, centroids: [ADwAAA==], distance: 0.3}}",
           "class:novelty", 0.08, 0.5, 1.0, 2.0),
)  # fmt: skip


def run(vehicles: int = VEHICLES, days: int = DAYS, places: int = 12) -> list[Figure]:
    """All figures."""
    totals = landed(vehicles, days)
    found: list[Figure] = []
    for stream in STREAMS:
        total = totals[stream.kind]
        wanted = stream.per_hour * total.known_s / 3600.0
        off, fixed = abs(total.fires / wanted - 1.0), total.reference_fires / wanted
        found.append(figure(
            f"{stream.kind}: {total.fires} fires for {wanted:.0f} over {vehicles * days}"
            " vehicle-days, off by", off, "ratio", goal="<= 0.15",
        ))  # fmt: skip
        found.append(
            figure(f"{stream.kind}: the fixed bound's rate over the target", fixed, "ratio")
        )
    return found + scene_trials(places)


def specs_of(streams: Sequence[Stream] = STREAMS) -> list[LoadedSpec]:
    return [
        parse_spec(
            f"apiVersion: longtail/v1\nkind: {s.kind}\nid: {s.kind.replace('_', '-')}\nversion: 1\n"
            f"owner: bench\nwhen: {s.when}\ncooldown: 1min\nrate: {{per_hour: {s.per_hour}}}\n",
            s.kind,
        )
        for s in streams
    ]


def landed(vehicles: int, days: int) -> dict[str, Threshold]:
    """What each kind's thresholds came to, all vehicles together."""
    specs = specs_of()
    sums = {stream.kind: Threshold() for stream in STREAMS}
    for vehicle in range(vehicles):
        thresholds = _vehicle(vehicle, days, specs)
        for loaded in specs:
            a, b = sums[loaded.spec.kind], thresholds[loaded.digest]
            sums[loaded.spec.kind] = Threshold(
                0.0, a.known_s + b.known_s, a.fires + b.fires,
                a.reference_fires + b.reference_fires,
            )  # fmt: skip
    return sums


def _vehicle(vehicle: int, days: int, specs: list[LoadedSpec]) -> dict[str, Threshold]:
    """Each trip is a drive of its own: the engine is made anew, the thresholds are remembered."""
    rng = generator(_SEED, "target rates", vehicle)
    driving = ScaleRates().driving
    references = references_of(specs)
    names = score_names(("animal",), references)
    of_vehicle = rng.normal(0.0, 0.3, len(STREAMS))
    of_day = np.zeros(len(STREAMS))
    thresholds: dict[str, Threshold] = {}
    for day in range(days):
        of_day = 0.8 * of_day + rng.normal(0.0, 0.25, len(STREAMS))
        starts, lengths = draw_trips(driving, np.array([1.0]), rng)
        for start, length in zip(starts[0].tolist(), lengths[0].tolist(), strict=True):
            if not np.isfinite(start):
                continue
            of_trip = of_vehicle + of_day + rng.normal(0.0, 0.25, len(STREAMS))
            engine = TriggerEngine(specs, f"{vehicle}/{day}", names, thresholds)
            _trip(engine, names, of_trip, max(120.0, float(length)), rng)
            thresholds = engine.thresholds()
    return thresholds


def _trip(
    engine: TriggerEngine, names: tuple[str, ...], level: Float64s, length_s: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    ticks = int(length_s / TICK_S)
    values, scores = inputs_of(STREAMS, names, level, ticks, rng)
    for i in range(ticks):
        engine.step(
            TickInputs(round((i + 1) * TICK_S * NS_PER_S), values[i], scores[i], i + 1, 0.0)
        )


def inputs_of(
    streams: Sequence[Stream], names: tuple[str, ...], level: Float64s, ticks: int,
    rng: np.random.Generator,
) -> tuple[Float64s, Float64s]:  # fmt: skip
    """Values [ticks, catalogue] and scores [ticks, names] of one trip at a level [streams]."""
    values = np.tile(absent_values(), (ticks, 1))
    scores = np.zeros((ticks, len(names)))
    values[:, SIGNAL_INDEX["perception.object_count"]] = 5.0
    values[:, SIGNAL_INDEX["perception.margin"]] = 0.5
    values[:, SIGNAL_INDEX["perception.unexplained_m"]] = 20.0
    values[:, SIGNAL_INDEX["perception.lidar_checked"]] = 10.0
    values[:, SIGNAL_INDEX["shadow.frames"]] = np.arange(ticks)
    noise = _smooth(rng.standard_normal((ticks, len(streams))))
    for i, stream in enumerate(streams):
        told = np.minimum(
            stream.middle * np.exp(level[i] + stream.spread * noise[:, i]), stream.most
        )
        told = np.floor(told) if stream.whole else told
        if stream.kind in ("similar_to", "novelty"):
            told = 1.0 - told  # the column is a likeness
        if stream.signal.startswith("class:"):
            column = next(
                k for k, name in enumerate(names) if name.startswith(stream.signal[len("class:") :])
            )
            scores[:, column] = told
        else:
            values[:, SIGNAL_INDEX[stream.signal]] = told
    return values, scores


def _smooth(noise: Float64s) -> Float64s:
    """Noise [ticks, n] of deviation 1 with a memory of ten seconds."""
    keep = np.exp(-TICK_S / 10.0)
    fresh = np.sqrt(1.0 - keep * keep)
    found = np.empty_like(noise)
    found[0] = noise[0]
    for i in range(1, len(noise)):
        found[i] = keep * found[i - 1] + fresh * noise[i]
    return found
