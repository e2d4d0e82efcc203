"""The kinds that watch the model, on drives whose model makes mistakes on purpose.

| kind | the mistake | the true cause |
|---|---|---|
| `rare_class` | none | one of its classes in view, within 40 m, for 0.6 s |
| `low_confidence` | classes in doubt for stretches of a second and a half | those stretches |
| `track_flicker` | all that is near blinks every other frame for a second and a half | likewise |
| `unknown_object` | classes that the model never learned | such a thing stands in the path |
| `sensor_disagreement` | three ghosts where the road is free, for a second and a half | likewise |
| `shadow_disagreement` | the candidate overlooks half of all for a second and a half | likewise |
| `operator_bookmark` | | the button is pressed |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.figures import Figure
from bench.trigger_world import (
    NAMES,
    Change,
    DrivenDrive,
    Interval,
    OracleModel,
    class_of,
    driven,
)
from contracts.samples import Cuboid, Detection, SignalSample
from contracts.trigger_spec import LoadedSpec, RareClassSpec
from sim_fleet.drive import Tick
from sim_fleet.scenarios.library import built_in
from sim_fleet.seeds import generator
from sim_fleet.source import START_NS, DriveOptions
from sim_fleet.world.oracle import OracleFrame

if TYPE_CHECKING:
    from bench.trigger_quality import Score

SECONDS = 15.0
LASTS_S = 1.5
STREETS = ("everyday-city", "everyday-suburb", "everyday-country", "everyday-motorway")
UNKNOWN = ("mattress-on-motorway", "deer-at-dusk", "carton-in-wind", "cow-on-country-road",
           "lost-load-of-pallets", "fallen-branch-after-storm", "dog-off-leash")  # fmt: skip
HIDDEN = frozenset({"animal", "debris"})
PATH_HALF_M = 1.2


def model_kinds(specs: Sequence[LoadedSpec], seeds: Sequence[int]) -> list[Figure]:
    """Figures of all kinds of the table."""
    from bench.trigger_quality import Score

    names = ("rare-class", "low-confidence", "track-flicker", "unknown-object",
             "sensor-disagreement", "shadow-disagreement", "operator-bookmark")  # fmt: skip
    scores = {name: Score() for name in names}
    for seed in seeds:
        for street in STREETS:
            _street(street, seed, specs, scores)
        for scenario in UNKNOWN:
            _unknown(scenario, seed, specs, scores["unknown-object"])
    return [each for name, score in scores.items() for each in score.figures(name)]


def spans_of(seed: int, what: str, seconds: float = SECONDS) -> list[Interval]:
    """When the model errs: two stretches apart from one another, at times drawn by the seed."""
    rng = generator(seed, "mistakes", what)
    first = float(rng.uniform(2.5, seconds / 2 - LASTS_S - 1.5))
    second = float(rng.uniform(seconds / 2 + 1.0, seconds - LASTS_S - 1.5))
    return [(first, first + LASTS_S), (second, second + LASTS_S)]


def during(spans: Sequence[Interval], change: Change) -> Change:
    """A mistake that is made at these times only."""

    def changed(t_s: float, found: list[Detection], rng: np.random.Generator) -> list[Detection]:
        errs = any(start <= t_s < end for start, end in spans)
        return change(t_s, found, rng) if errs else found

    return changed


def in_doubt(_t: float, found: list[Detection], rng: np.random.Generator) -> list[Detection]:
    """Every class as probable as every other."""
    flat = np.full(len(NAMES), 1 / len(NAMES), np.float32)
    return [replace(each, probability=0.3, distribution=flat) for each in found]


def blinking(t_s: float, found: list[Detection], _: np.random.Generator) -> list[Detection]:
    """All of it gone in every other frame."""
    return [] if round(t_s * 10) % 2 else found


def with_ghosts(_t: float, found: list[Detection], _: np.random.Generator) -> list[Detection]:
    """Three pedestrians on the free road before the vehicle, nothing else."""
    spread = np.full(len(NAMES), 0.01, np.float32)
    spread[NAMES.index("pedestrian")] = 0.9
    return [
        Detection(None, "pedestrian", 0.9, spread,
                  Cuboid((x, y, 0.9), (0.6, 0.6, 1.8), 0.0, (0.0, 0.0)))
        for x, y in ((9.0, 0.0), (11.0, 0.6), (13.0, -0.6))
    ]  # fmt: skip


def overlooking(_t: float, found: list[Detection], _: np.random.Generator) -> list[Detection]:
    """Nothing of what is there, and something that is not."""
    return with_ghosts(_t, [], _)


Judge = Callable[[DrivenDrive, "Score"], None]


def _street(street: str, seed: int, specs: Sequence[LoadedSpec], scores: dict[str, Score]) -> None:
    """One drive for each mistake."""
    options = DriveOptions(built_in().scenario(street), seed, "s", SECONDS)
    for name, change in (
        ("low-confidence", in_doubt), ("track-flicker", blinking),
        ("sensor-disagreement", with_ghosts),
    ):  # fmt: skip
        spans = spans_of(seed, f"{street} {name}")
        model = OracleModel(seed, change=during(spans, change))
        drive = driven(options, specs, model)
        seen = _with_objects(drive, spans, name)
        scores[name].add(drive.fires_s[name], seen, spans)
    spans = spans_of(seed, f"{street} shadow")
    pressed = spans_of(seed, f"{street} button")
    drive = driven(
        options, specs, OracleModel(seed),
        OracleModel(seed, change=during(spans, overlooking)), _button(pressed),
    )  # fmt: skip
    scores["shadow-disagreement"].add(drive.fires_s["shadow-disagreement"], spans, spans)
    scores["operator-bookmark"].add(drive.fires_s["operator-bookmark"], pressed, pressed)
    rare = next(s.spec for s in specs if isinstance(s.spec, RareClassSpec))
    scores["rare-class"].add(
        drive.fires_s["rare-class"],
        drive.observed(lambda t: _shows(t, rare.when.classes, 0.3, 40.0), 0.6),
        drive.observed(lambda t: _shows(t, rare.when.classes, 0.1, 52.0)),
    )


def _with_objects(drive: DrivenDrive, spans: list[Interval], name: str) -> list[Interval]:
    """The stretches in which there was something to err about: three things to blink, one to be in
    doubt of, and for ghosts a free road.
    """
    least = {"track-flicker": 3, "low-confidence": 1}.get(name, 0)
    found = []
    for start, end in spans:
        truths = [t.truth for t in drive.ticks if t.truth is not None and start <= t.t_s < end]
        if name == "sensor-disagreement":
            good = all(not _blocked(truth, 16.0) for truth in truths)
        else:
            good = all(_count(truth, 0.2, 35.0) >= least for truth in truths)
        if good:
            found.append((start, end))
    return found


def _count(truth: OracleFrame, shown: float, within_m: float) -> int:
    away = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1])
    return int(((np.nan_to_num(truth.visibility) > shown) & (away < within_m)).sum())


def _shows(truth: OracleFrame, classes: Sequence[str], shown: float, within_m: float) -> bool:
    away = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1])
    rows = np.flatnonzero((np.nan_to_num(truth.visibility) > shown) & (away < within_m))
    return any(class_of(int(kind)) in classes for kind in truth.kind[rows].tolist())


def _blocked(truth: OracleFrame, within_m: float) -> bool:
    x, y = truth.centre_ego_m[:, 0], np.abs(truth.centre_ego_m[:, 1])
    front = x - truth.size_m[:, 0] / 2
    return bool(((front > 0) & (front < within_m) & (y - truth.size_m[:, 1] / 2 < 1.5)).any())


def _button(spans: Sequence[Interval]) -> Callable[[Tick], list[SignalSample]]:
    def pressed(tick: Tick) -> list[SignalSample]:
        held = any(start <= tick.t_s < start + 0.4 for start, _ in spans)
        mono_ns = START_NS + round(tick.t_s * 1e9)
        return [SignalSample("driver.bookmark", mono_ns, float(held))]

    return pressed


def _unknown(scenario: str, seed: int, specs: Sequence[LoadedSpec], score: Score) -> None:
    """What the model never learned, in the path, well within the lidar's reach."""
    options = DriveOptions(built_in().scenario(scenario), seed, "s", 12.0)
    drive = driven(options, specs, OracleModel(seed, hidden=HIDDEN))
    score.add(
        drive.fires_s["unknown-object"],
        drive.observed(lambda t: _stands(t, 0.8, 15.0, 0.3), 0.6),
        drive.observed(lambda t: _stands(t, 1.8, 48.0, 0.0)),
    )


def _stands(truth: OracleFrame, half_m: float, within_m: float, shown: float) -> bool:
    """Whether an unknown thing lies in the path as the vehicle turns now."""
    for row in np.flatnonzero(np.nan_to_num(truth.visibility) >= shown).tolist():
        x, y, _ = truth.centre_ego_m[row].tolist()
        bend = truth.ego.yaw_rate_radps / max(truth.ego.speed_mps, 2.0)
        aside = abs(y - 0.5 * bend * x * x) - max(truth.size_m[row, :2]) / 2
        unknown = class_of(int(truth.kind[row])) in HIDDEN
        if unknown and 4.6 < x < within_m and aside < half_m - 0.4:
            return True
    return False
