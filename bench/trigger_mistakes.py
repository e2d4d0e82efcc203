"""The kinds that watch the model, on drives whose model makes mistakes on purpose.

| kind | the mistake | the true cause |
|---|---|---|
| `rare_class` | none | one of its classes in view, within 40 m, for 0.6 s |
| `low_confidence` | classes in doubt for stretches of a second and a half | those stretches |
| `track_flicker` | all, or all to the left, blinks for such a stretch | with three such things |
| `unknown_object` | classes that the model never learned | such a thing stands in the path |
| `sensor_disagreement` | three ghosts where the road is free, for a second and a half | likewise |
| `shadow_disagreement` | the candidate overlooks half of all for a second and a half | likewise |
| `similar_to`, `novelty` | | a scene that is not known (`bench.trigger_scenes`) |
| `operator_bookmark` | | the button is pressed |

The same rendered drive is watched by one model for each mistake, and by one that makes none: to it
all fires of these kinds are wrong. Half of the streets are crowded, so that there is much to hide
behind. Where things lie that no model has learned, one that knows them watches, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.figures import Figure
from bench.trigger_scenes import embedded, scene_specs
from bench.trigger_world import (
    NAMES,
    Change,
    DrivenDrive,
    Interval,
    OracleModel,
    Watcher,
    class_of,
    driven_for,
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

SECONDS = 25.0
FIRST_S, EVERY_S, LASTS_S = 2.5, 4.5, 1.5
STREETS = ("everyday-city", "everyday-suburb", "everyday-country", "everyday-motorway",
           "crowd-at-crosswalk", "bus-stop-rush", "child-behind-parked-van",
           "stroller-between-cars")  # fmt: skip
UNKNOWN = ("mattress-on-motorway", "deer-at-dusk", "carton-in-wind", "cow-on-country-road",
           "lost-load-of-pallets", "fallen-branch-after-storm", "dog-off-leash",
           "boar-family-in-fog")  # fmt: skip
HIDDEN = frozenset({"animal", "debris"})
PATH_HALF_M = 1.2
SCENE_KINDS = "similar-to", "novelty"


def model_kinds(
    specs: Sequence[LoadedSpec], seeds: Sequence[int], unlearned: Sequence[int]
) -> list[Figure]:
    """Figures of all kinds of the table, by seeds of the streets and of the unlearned things."""
    from bench.trigger_quality import Score

    names = ("rare-class", "low-confidence", "track-flicker", "unknown-object",
             "sensor-disagreement", "shadow-disagreement", "operator-bookmark", "similar-to",
             "novelty")  # fmt: skip
    specs = [*specs, *scene_specs()]
    scores = {name: Score() for name in names}
    for seed in seeds:
        for street in STREETS:
            _street(street, seed, specs, scores)
    for seed in unlearned:
        for scenario in UNKNOWN:
            _unknown(scenario, seed, specs, scores)
    return [each for name, score in scores.items() for each in score.figures(name)]


def spans_of(seed: int, what: str, seconds: float = SECONDS) -> list[Interval]:
    """When the model errs: stretches apart from one another, at times drawn by the seed."""
    rng = generator(seed, "mistakes", what)
    starts = np.arange(FIRST_S, seconds - EVERY_S + 1.0, EVERY_S) + rng.uniform(0.0, 1.0)
    return [(start, start + LASTS_S) for start in starts.tolist()]


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


def blinking_left(t_s: float, found: list[Detection], _: np.random.Generator) -> list[Detection]:
    """All to the left gone in every other frame; the rest stays."""
    return [d for d in found if not round(t_s * 10) % 2 or not _to_left(d)]


def _to_left(detection: Detection) -> bool:
    return detection.cuboid is not None and detection.cuboid.centre_m[1] > 0


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


ERRORS: tuple[tuple[str, Change], ...] = (
    ("low-confidence", in_doubt), ("track-flicker", blinking), ("track-flicker", blinking_left),
    ("sensor-disagreement", with_ghosts),
)  # fmt: skip
"""Trigger and the mistake that it shall find."""


def _street(street: str, seed: int, specs: Sequence[LoadedSpec], scores: dict[str, Score]) -> None:
    """One drive, watched by a model for each mistake."""
    options = DriveOptions(built_in().scenario(street), seed, "s", SECONDS)
    spans = [spans_of(seed, f"{street} {change.__name__}") for _, change in ERRORS]
    shadow, pressed, unknown = (
        spans_of(seed, f"{street} {what}") for what in ("shadow", "button", "scene")
    )
    errs = [
        Watcher(OracleModel(seed, change=during(when, change)))
        for when, (_, change) in zip(spans, ERRORS, strict=True)
    ]
    candidate = OracleModel(seed, change=during(shadow, overlooking))
    sound = Watcher(OracleModel(seed, embed=embedded([])), candidate, _button(pressed))
    elsewhere = Watcher(OracleModel(seed, embed=embedded(unknown)))
    *erred, away, last = driven_for(options, specs, [*errs, elsewhere, sound])
    for drive, when, (name, change) in zip(erred, spans, ERRORS, strict=True):
        scores[name].add(drive.fires_s[name], _with_objects(drive, when, change), when)
    scores["shadow-disagreement"].add(last.fires_s["shadow-disagreement"], shadow, shadow)
    scores["operator-bookmark"].add(last.fires_s["operator-bookmark"], pressed, pressed)
    for name in SCENE_KINDS:
        scores[name].add(away.fires_s[name], unknown, unknown)
    for name in ("low-confidence", "track-flicker", "sensor-disagreement", "unknown-object",
                 *SCENE_KINDS):  # fmt: skip
        scores[name].add(last.fires_s[name], [], [])
    _rare(last, specs, scores["rare-class"])


def _rare(drive: DrivenDrive, specs: Sequence[LoadedSpec], score: Score) -> None:
    """What is rare to a model that knows all classes."""
    rare = next(s.spec for s in specs if isinstance(s.spec, RareClassSpec))
    score.add(
        drive.fires_s["rare-class"],
        drive.observed(lambda t: _shows(t, rare.when.classes, 0.3, 40.0), 0.6),
        drive.observed(lambda t: _shows(t, rare.when.classes, 0.1, 52.0)),
    )


def _with_objects(drive: DrivenDrive, spans: list[Interval], change: Change) -> list[Interval]:
    """The stretches in which there was something to err about: three things to blink, one to be in
    doubt of, and for ghosts a free road.
    """
    found = []
    for start, end in spans:
        truths = [t.truth for t in drive.ticks if t.truth is not None and start <= t.t_s < end]
        if change is with_ghosts:
            good = all(not _blocked(truth, 16.0) for truth in truths)
        elif change is in_doubt:
            good = all(_count(truth) >= 1 for truth in truths)
        else:
            good = all(_count(truth, change is blinking_left) >= 3 for truth in truths)
        if good:
            found.append((start, end))
    return found


def _count(truth: OracleFrame, left: bool = False) -> int:
    away = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1])
    near = (np.nan_to_num(truth.visibility) > 0.2) & (away < 35.0)
    return int((near & (truth.centre_ego_m[:, 1] > 0)).sum() if left else near.sum())


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


def _unknown(
    scenario: str, seed: int, specs: Sequence[LoadedSpec], scores: dict[str, Score]
) -> None:
    """What the model never learned, in the path, well within the lidar's reach."""
    options = DriveOptions(built_in().scenario(scenario), seed, "s", 12.0)
    watchers = [Watcher(OracleModel(seed, hidden=HIDDEN)), Watcher(OracleModel(seed))]
    ignorant, knowing = driven_for(options, specs, watchers)
    score = scores["unknown-object"]
    score.add(
        ignorant.fires_s["unknown-object"],
        ignorant.observed(lambda t: _stands(t, 1.2, 15.0, 0.3), 0.5),
        ignorant.observed(lambda t: _stands(t, 1.8, 48.0, 0.0)),
    )
    score.add(knowing.fires_s["unknown-object"], [], [])
    _rare(knowing, specs, scores["rare-class"])


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
