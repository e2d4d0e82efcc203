"""The frozen suite as a model meets it: each scenario's asks, frame by frame.

Only folders are read here; who made them is `contracts.scenario_suite`'s business. Everything is
judged at the probability from which on a detection counts (`OPERATING_PROBABILITY`). A scenario
is passed *with something to spare* when it also holds by a stricter measure: told with more
probability and nearer, and clear at less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Bools, Int64s, apply_SE3, inverse_SE3
from contracts.labels import LIGHT_STATES, FrameLabels
from contracts.samples import Float64s
from contracts.scenario_suite import Ask, Clear, FrozenScenario, FrozenSuite, Light, Told
from models.evaluation.predictor import Prediction
from models.evaluation.report import OPERATING_PROBABILITY
from models.evaluation.weighed import GROUPS
from offline.gates.evidence import ScenarioEvidence, ScenarioResult

_BEYOND_M = 60.0
"""The ego's path goes straight on that far after the last labelled frame."""
_EXCUSES_M = 2.0
"""A detection is about an object when it lies that near to the object's box."""


@dataclass(frozen=True, slots=True)
class Measure:
    """From which probability on a detection is told, how near it must lie, and from which on it
    is a phantom.
    """

    told_from: float
    within_m: float
    phantom_from: float


PLAIN = Measure(OPERATING_PROBABILITY, 2.0, OPERATING_PROBABILITY)
STRICT = Measure(OPERATING_PROBABILITY + 0.1, 1.5, OPERATING_PROBABILITY - 0.1)


@dataclass(frozen=True, slots=True)
class Met:
    """One frame of a scenario: its truth, and what the model said."""

    labels: FrameLabels
    told: Prediction


def judged_scenario(frozen: FrozenScenario, frames: Sequence[Met]) -> ScenarioResult:
    """Whether all that is asked holds. Raises `InputError` where there is nothing to ask of."""
    scenario = frozen.scenario
    if not frames:
        raise InputError("holds no labelled frame", scenario.name)
    plain = [_holds(ask, frames, PLAIN, scenario.name) for ask in scenario.asks]
    strict = [_holds(ask, frames, STRICT, scenario.name) for ask in scenario.asks]
    passed = all(holds for holds, _ in plain)
    told = "; ".join(words for holds, words in plain if not holds or passed)
    return ScenarioResult(
        name=scenario.name, safety_slice=scenario.safety_slice, digest=frozen.digest,
        standing=frozen.standing, passed=passed, told=told,
        spare=passed and all(holds for holds, _ in strict),
    )  # fmt: skip


def suite_evidence(
    model: str, suite: FrozenSuite, meet: Callable[[FrozenScenario], Sequence[Met]],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> ScenarioEvidence:  # fmt: skip
    """Run a model's answers through the whole suite.

    Args:
        model: digest of the model that answers.
        meet: the frames of a scenario with the model's answers.
    """
    results = []
    for number, frozen in enumerate(suite.scenarios, start=1):
        results.append(judged_scenario(frozen, meet(frozen)))
        progress(number, len(suite.scenarios))
    return ScenarioEvidence(
        model=model, suite=suite.digest, results=tuple(results),
        expected=tuple(each.scenario.name for each in suite.scenarios),
    )  # fmt: skip


def checked_folder(frozen: FrozenScenario, root: Path) -> Path:
    """The scenario's drive, proven to hold what was frozen.

    Raises `InputError` where it is missing, or holds something else.
    """
    from contracts.labels import read_labels
    from kernels.clip.likeness import check_as_frozen

    folder = root / frozen.folder
    clip = folder / "clip.mcap"
    if not clip.is_file():
        raise InputError(f"the drive of {frozen.scenario.name} is missing", str(folder))
    labels = [read_labels(path) for path in sorted((folder / "labels").glob("*.npz"))]
    check_as_frozen(clip, labels, frozen.frames, frozen.likeness)
    return folder


def _holds(ask: Ask, frames: Sequence[Met], by: Measure, place: str) -> tuple[bool, str]:
    paths = ego_paths([met.labels for met in frames])
    match ask:
        case Told():
            return _told(ask, frames, paths, by, place)
        case Clear():
            return _clear(ask, frames, paths, by)
        case Light():
            return _light(ask, frames, place)


def _told(
    ask: Told, frames: Sequence[Met], paths: Sequence[Float64s], by: Measure, place: str
) -> tuple[bool, str]:
    classes = classes_of(ask.who)
    hit = pairs = 0
    missed_m: list[float] = []
    for met, path in zip(frames, paths, strict=True):
        truth = met.labels.boxes()
        asked = _asked(ask, met.labels, path, classes)
        found = _told_rows(met.told, classes, by.told_from)
        free = list(found)
        for row in np.flatnonzero(asked):
            answer = _nearest(met.told, free, truth.centre_m[row, :2], by.within_m)
            pairs += 1
            right = answer is not None and _moves_as(
                met.told.boxes.velocity_mps[answer], truth.velocity_mps[row], ask.velocity_mps
            )
            if right and answer is not None:
                free.remove(answer)
                hit += 1
            else:
                missed_m.append(float(np.hypot(*truth.centre_m[row, :2])))
    if pairs < ask.pairs:
        raise InputError(f"shows {ask.who} {pairs} times, {ask.pairs} are asked for", place)
    share = hit / pairs
    words = f"{ask.who} told {hit} of {pairs} times, {ask.share:.0%} are asked for"
    if share < ask.share and missed_m:
        words += f", missed from {min(missed_m):.0f} m on"
    return share >= ask.share, words


def _asked(ask: Told, labels: FrameLabels, path: Float64s, classes: Int64s) -> Bools:
    """Which true boxes must be told. Where nobody knows how much of one shows, its points say."""
    truth, boxes = labels.boxes(), labels.record.boxes
    seen = np.array(
        [
            (b.visibility is None or b.visibility >= ask.visible) and (b.points or 0) >= ask.points
            for b in boxes
        ],
        dtype=np.bool_,
    )
    asked = np.isin(truth.class_index, classes) & ~labels.ignored() & seen
    asked &= np.hypot(truth.centre_m[:, 0], truth.centre_m[:, 1]) <= ask.within_m
    if labels.record.ground_grid is not None:
        asked &= labels.record.ground_grid.inside(truth.centre_m[:, :2])
    if ask.beside_m is not None and len(truth):
        asked &= distance_to(path, truth.centre_m[:, :2])[0] <= ask.beside_m
    return np.asarray(asked)


def _told_rows(told: Prediction, classes: Int64s, told_from: float) -> list[int]:
    right = np.isin(told.boxes.class_index, classes) & (told.scores >= told_from)
    rows = np.flatnonzero(right)
    return [int(row) for row in rows[np.argsort(-told.scores[rows], kind="stable")]]


def _nearest(told: Prediction, rows: list[int], xy_m: Float64s, within_m: float) -> int | None:
    if not rows:
        return None
    away = np.hypot(*(told.boxes.centre_m[rows, :2] - xy_m).T)
    best = int(away.argmin())
    return rows[best] if away[best] <= within_m else None


def _moves_as(told_mps: Float64s, true_mps: Float64s, off_mps: float | None) -> bool:
    if off_mps is None or np.isnan(true_mps).any():
        return True
    return bool(np.hypot(*(told_mps - true_mps)) <= off_mps)


def _clear(
    ask: Clear, frames: Sequence[Met], paths: Sequence[Float64s], by: Measure
) -> tuple[bool, str]:
    count = 0
    for met, path in zip(frames, paths, strict=True):
        told = met.told.boxes.centre_m[met.told.scores >= by.phantom_from]
        if not len(told):
            continue
        beside_m, along_m = distance_to(path, told[:, :2])
        inside = (beside_m <= ask.beside_m) & (along_m <= ask.ahead_m) & (told[:, 0] > 0)
        about = met.labels.boxes().contain(told, _EXCUSES_M).any(axis=0)
        count += bool((inside & ~about).any())
    words = f"phantoms before the ego in {count} frames, {ask.frames} are allowed"
    return count <= ask.frames, words


def _light(ask: Light, frames: Sequence[Met], place: str) -> tuple[bool, str]:
    known = [met for met in frames if met.labels.record.light is not None]
    if not known:
        raise InputError("the light is labelled in no frame", place)
    right = sum(
        met.told.light is not None
        and LIGHT_STATES[int(met.told.light.argmax())] == met.labels.record.light
        for met in known
    )
    words = f"light right in {right} of {len(known)} frames, {ask.share:.0%} are asked for"
    return right / len(known) >= ask.share, words


def classes_of(who: str) -> Int64s:
    """The classes of a group, or of the group that a class is in. Raises `InputError`."""
    if who in GROUPS:
        names = GROUPS[who]
    else:
        TAXONOMY.index(who)
        names = next((group for group in GROUPS.values() if who in group), (who,))
    return np.array([TAXONOMY.index(name) for name in names], dtype=np.int64)


def ego_paths(frames: Sequence[FrameLabels]) -> list[Float64s]:
    """Where the ego goes from each frame on, float64 [n, 2] in that frame's ego frame: along the
    poses of later frames, then straight on. Raises `InputError` for a frame without a pose.
    """
    poses = []
    for labels in frames:
        record = labels.record
        if record.ego_pose is None:
            raise InputError("has no ego pose", f"{record.drive_id} at {record.mono_ns}")
        poses.append(record.ego_pose.world_SE3_ego())
    last = poses[-1]
    beyond = apply_SE3(last, np.array([[_BEYOND_M, 0.0, 0.0]]))
    points = np.concatenate([np.array([pose[:3, 3] for pose in poses]), beyond])
    return [apply_SE3(inverse_SE3(pose), points[k:])[:, :2] for k, pose in enumerate(poses)]


def distance_to(path_m: Float64s, xy_m: Float64s) -> tuple[Float64s, Float64s]:
    """Of points [n, 2]: the distance to a path [k, 2] in metres, and how far along it is the
    place that is nearest, both float64 [n].
    """
    start, step = path_m[:-1], np.diff(path_m, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    whole = np.maximum(length**2, 1e-12)
    part = np.einsum("nkd,kd->nk", xy_m[:, None] - start[None], step) / whole
    part = np.clip(part, 0.0, 1.0)
    near = start[None] + part[..., None] * step[None]
    away = np.hypot(*np.moveaxis(xy_m[:, None] - near, -1, 0))
    best = away.argmin(axis=1)
    rows = np.arange(len(xy_m))
    passed = np.concatenate([[0.0], np.cumsum(length)[:-1]])
    return away[rows, best], passed[best] + part[rows, best] * length[best]
