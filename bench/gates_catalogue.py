"""The catalogue: regressions that must be blocked, by which gate, and improvements that are none.

Every regression names the gate that should stop it: the first, in the gates' order, that asks
about what is broken. Every improvement is one that a person would want on the fleet, with the
small fluctuations of a new training laid over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.gates_better import (
    fewer_false,
    found_more,
    ground_truer,
    light_truer,
    trained_anew,
    truer,
)
from bench.gates_changes import (
    Change,
    about_hidden,
    aside,
    beyond,
    both,
    called,
    doubled,
    dropped,
    every,
    ground_rolled,
    in_drive,
    lanes_lost,
    light_never,
    light_swapped,
    logit_shifted,
    moved,
    of,
    phantom,
    rescored,
    saturated,
    scaled,
    still_below,
    then,
    to_the_left,
    too_shy,
    too_sure,
    turned,
    velocity_times,
    where,
)
from bench.gates_world import Injected, World
from contracts.errors import InputError
from contracts.gate_report import GateName
from contracts.geometry import TAXONOMY, Bools
from contracts.labels import LIGHT_STATES, FrameLabels
from models.evaluation.weighed import GROUPS
from offline.gates.evidence import ManifestEvidence

Build = Callable[[World], Injected]


@dataclass(frozen=True, slots=True)
class Regression:
    """Something broken, and the gate that should stop it."""

    name: str
    gate: GateName
    build: Build


@dataclass(frozen=True, slots=True)
class Improvement:
    """Something better: `margin` says by how much, in words."""

    name: str
    margin: str
    build: Build


def _answers(change: Change) -> Build:
    return lambda world: Injected(world, change)


def _manifests(edit: Callable[[ManifestEvidence], ManifestEvidence]) -> Build:
    return lambda world: Injected(world, manifests=edit)


def _candidate(**changes: object) -> Build:
    """The candidate's manifest with other values."""

    def edit(found: ManifestEvidence) -> ManifestEvidence:
        return found.model_copy(update={"candidate": found.candidate.model_copy(update=changes)})

    return _manifests(edit)


def _without_lineage(found: ManifestEvidence) -> ManifestEvidence:
    kept = {k: v for k, v in found.candidate.lineage.items() if k != "dataset_sha256"}
    candidate = found.candidate.model_copy(update={"lineage": kept})
    return found.model_copy(update={"candidate": candidate})


def _another_length(found: ManifestEvidence) -> ManifestEvidence:
    """Both name the same space; vectors of different lengths have no cosine."""
    named = {
        who: model.model_copy(update={"lineage": {**model.lineage, "embedding_space": "one"}})
        for who, model in (("candidate", found.candidate), ("reference", found.reference))
    }
    return found.model_copy(update={**named, "embedding_cosine": None})


def _budget(**changes: float) -> Build:
    return lambda world: Injected(world, budgets=lambda found: found.model_copy(update=changes))


def _shadow(**changes: int) -> Build:
    return lambda world: Injected(world, shadows=lambda found: found.model_copy(update=changes))


def _all(labels: FrameLabels) -> Bools:
    return np.ones(len(labels.record.boxes), dtype=np.bool_)


def _of(*names: str) -> Callable[[FrameLabels], Bools]:
    classes = {n for name in names for n in GROUPS.get(name, (name,))}
    return lambda labels: np.array(
        [b.box.class_name in classes for b in labels.record.boxes], dtype=np.bool_
    )


def _far(limit_m: float) -> Callable[[FrameLabels], Bools]:
    return lambda labels: np.array(
        [np.hypot(*b.box.centre_m[:2]) > limit_m for b in labels.record.boxes], dtype=np.bool_
    )


def _hidden(labels: FrameLabels) -> Bools:
    return np.array([(b.visibility or 0) < 0.4 for b in labels.record.boxes], dtype=np.bool_)


def _one_scenario(world: World) -> Injected:
    """What one scenario that must be passed asks for is not told; all others are as before."""
    musts = [each for each in world.suite.scenarios if each.standing == "must"]
    if not musts:
        raise InputError("no scenario must be passed", world.suite.name)
    name = musts[len(musts) // 2].scenario.name
    drive = world.met[name][0].labels.record.drive_id
    return Injected(world, in_drive(drive, dropped(every)))


_RED, _GREEN = LIGHT_STATES.index("red"), LIGHT_STATES.index("green")
_ON_FOOT = of("pedestrian", "road_worker")
_FAR_ON_FOOT = both(_ON_FOOT, beyond(25.0))

REGRESSIONS: tuple[Regression, ...] = (
    # The file.
    Regression(
        "digest mismatch",
        "manifest",
        _manifests(lambda f: f.model_copy(update={"file_sha256": "0" * 64})),
    ),
    Regression(
        "file cut short",
        "manifest",
        _manifests(lambda f: f.model_copy(update={"file_bytes": f.file_bytes - 4096})),
    ),
    Regression(
        "held against a file that is not the reference's",
        "manifest",
        _manifests(lambda f: f.model_copy(update={"reference_sha256": "0" * 64})),
    ),
    Regression(
        "self-test fails",
        "manifest",
        _manifests(lambda f: f.model_copy(update={"self_test": "heat[0] is 0.9"})),
    ),
    Regression(
        "taxonomy swapped", "manifest", _candidate(classes=("truck", "car", *TAXONOMY.names[2:]))
    ),
    Regression("lineage missing", "manifest", _manifests(_without_lineage)),
    Regression(
        "embedding changed without a version",
        "manifest",
        _manifests(lambda f: f.model_copy(update={"embedding_cosine": 0.4})),
    ),
    Regression(
        "embedding of another length without a version",
        "manifest",
        _manifests(_another_length),
    ),
    Regression("embedding removed", "manifest", _candidate(embedding_tensor=None)),
    # What the vehicle can carry.
    Regression("latency doubled", "budget", _budget(candidate_cpu_ms=36.0)),
    Regression("a third slower", "budget", _budget(candidate_cpu_ms=24.0)),
    Regression("file too big", "budget", _budget(candidate_bytes=9_000_000)),
    # What is told.
    Regression("pedestrians dropped", "scenarios", _answers(dropped(of("pedestrian")))),
    Regression("cars dropped", "scenarios", _answers(dropped(of("car")))),
    Regression("range cut at 20 m", "scenarios", _answers(dropped(beyond(20.0)))),
    Regression(
        "night ruined while the mean rises",
        "scenarios",
        _answers(where("tod", "night", dropped(every, 0.6), found_more(0.5, _all))),
    ),
    Regression("rain ruined", "scenarios", _answers(where("weather", "rain", dropped(every, 0.6)))),
    Regression("one scenario flipped", "scenarios", _one_scenario),
    Regression("boxes shifted by 2.5 m", "scenarios", _answers(moved(ahead_m=2.5))),
    Regression("phantom before the ego", "scenarios", _answers(phantom(12.0, 0.3))),
    Regression("left camera ignored", "scenarios", _answers(dropped(to_the_left))),
    Regression("all told too late", "scenarios", _answers(rescored(logit_shifted(-2.5)))),
    Regression("far pedestrians lost", "scenarios", _answers(dropped(_FAR_ON_FOOT))),
    Regression("trucks dropped", "scenarios", _answers(dropped(of("truck")))),
    Regression(
        "rare classes lost",
        "scenarios",
        _answers(dropped(of("cyclist", "motorcycle", "animal", "debris", "road_worker"))),
    ),
    Regression("hidden objects lost", "tails", _answers(dropped(about_hidden))),
    Regression(
        "half of the walkers beside the road lost at night",
        "tails",
        _answers(where("tod", "night", dropped(both(_ON_FOOT, aside(5.0)), 0.5))),
    ),
    Regression("boxes doubled", "tails", _answers(doubled)),
    Regression("false vehicles beside the road", "tails", _answers(phantom(14.0, 0.5, left_m=9.0))),
    Regression("cars called trucks", "tails", _answers(called("car", "truck"))),
    Regression("boxes shifted by 0.6 m", "aggregate", _answers(moved(left_m=0.6))),
    Regression("probabilities saturated", "tails", _answers(rescored(saturated))),
    Regression(
        "random stream unweighted", "aggregate", lambda world: Injected(world, unweighted=True)
    ),
    Regression("yaw flipped", "heads", _answers(turned(np.pi))),
    Regression("sizes scaled", "heads", _answers(scaled(1.4))),
    Regression("velocity zeroed", "scenarios", _answers(velocity_times(0.0))),
    Regression("velocity doubled", "scenarios", _answers(velocity_times(2.0))),
    Regression("slow objects told as still", "heads", _answers(still_below(3.0))),
    Regression("ground shifted", "heads", _answers(ground_rolled(3))),
    Regression("lanes lost", "heads", _answers(lanes_lost)),
    Regression("red and green confused", "heads", _answers(light_swapped(_RED, _GREEN))),
    Regression("no light seen", "heads", _answers(light_never)),
    Regression("calibration broken, too sure", "calibration", _answers(rescored(too_sure))),
    Regression("calibration broken, too shy", "calibration", _answers(rescored(too_shy))),
    # The fleet.
    Regression("crash in shadow", "shadow", _shadow(crashes=2)),
    Regression("shadow too short", "shadow", _shadow(frames=900)),
    Regression("objects lost in shadow", "shadow", _shadow(only_active=16_000)),
    Regression("phantoms in shadow", "shadow", _shadow(only_candidate=100_000)),
    Regression(
        "shadow on empty roads",
        "shadow",
        _shadow(agreed=0, class_differs=0, only_active=0, only_candidate=0),
    ),
    Regression("people side with the active model", "shadow", _shadow(confirmed=10, refuted=90)),
)


def _better(change: Change, seed: int) -> Build:
    return lambda world: Injected(world, then(trained_anew(), change), seed)


_IMPROVED: tuple[tuple[str, str, Change], ...] = (
    ("finds more of everything", "15 % of what was missed", found_more(0.15, _all)),
    ("finds more vulnerable", "30 % of what was missed", found_more(0.3, _of("vulnerable"))),
    ("finds more vehicles", "30 % of what was missed", found_more(0.3, _of("vehicle"))),
    ("finds more obstacles", "40 % of what was missed", found_more(0.4, _of("obstacle"))),
    ("finds more by night", "30 % of what was missed",
     where("tod", "night", found_more(0.3, _all))),
    ("finds more in rain", "30 % of what was missed",
     where("weather", "rain", found_more(0.3, _all))),
    ("finds more far away", "25 % of what was missed beyond 25 m", found_more(0.25, _far(25.0))),
    ("finds more that is hidden", "25 % of what was missed", found_more(0.25, _hidden)),
    ("fewer false alarms", "25 % of all", fewer_false(0.25)),
    ("fewer false vehicles", "40 % of all", fewer_false(0.4, of("vehicle"))),
    ("fewer false vulnerable", "40 % of all", fewer_false(0.4, of("vulnerable"))),
    ("fewer false alarms by night", "50 % of all", where("tod", "night", fewer_false(0.5))),
    ("places objects better", "a third of each error", truer(0.33, ("centre_m",))),
    ("heads better", "a third of each error", truer(0.33, ("yaw_rad",))),
    ("moves better", "a third of each error", truer(0.33, ("velocity_mps",))),
    ("sizes better", "a third of each error", truer(0.33, ("size_m",))),
    ("knows the ground better", "a fifth of each error", ground_truer(0.2)),
    ("knows the light better", "a fifth of each error", light_truer(0.2)),
    ("finds more and fewer false", "10 % each", then(found_more(0.1, _all), fewer_false(0.1))),
    ("a little better at all", "5 % and a tenth of each error",
     then(found_more(0.05, _all), fewer_false(0.05), truer(0.1, ("centre_m", "velocity_mps")))),
)  # fmt: skip


def improvements(first_seed: int) -> tuple[Improvement, ...]:
    """All of them, each with fluctuations of its own."""
    return tuple(
        Improvement(name, margin, _better(change, first_seed + number))
        for number, (name, margin, change) in enumerate(_IMPROVED)
    )
