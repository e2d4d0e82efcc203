"""Critical errors on labelled frames, open loop: `sim_fleet.trials.criticality` without a world.

The path is where the ego then drove, by its poses, and straight on from the last of them. What
nobody can judge is never missed, and hides phantoms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Boxes, apply_SE3, inverse_SE3, yaw_of
from contracts.labels import FrameLabels
from contracts.samples import Float64s
from models.evaluation.matching import FrameResult
from sim_fleet.drivers.ego import AXLE_TO_MIDDLE_M
from sim_fleet.drivers.student import ACT_PROBABILITY
from sim_fleet.trials.criticality import ENTERS_S, SHOWS, WITHIN_M, Bodies, touches
from sim_fleet.trials.report import DriveCounts, DriveTrial

_STEP_M, _BEYOND_M = 2.0, 80.0
_SLOW_MPS = 0.3


def drive_errors(
    name: str, of_slice: str, labels: Sequence[FrameLabels], results: Sequence[FrameResult],
    presence: Sequence[Float64s],
) -> DriveTrial:  # fmt: skip
    """One drive's frames in the order of time, with what a model tells of each, counted.

    A frame is one judged instant and stands for the time to the next.
    """
    times = np.array([each.record.mono_ns for each in labels]) / 1e9
    poses = [each.record.ego_pose for each in labels]
    matrices = [pose.world_SE3_ego() for pose in poses if pose is not None]
    if len(matrices) != len(labels) or len(labels) < 2:
        raise InputError("a path needs two poses, and one for each frame", name)
    speeds = _speeds(matrices, times)
    found: dict[str, Counter[str]] = {key: Counter() for key in _COUNTED}
    for place, (told, result, there) in enumerate(zip(labels, results, presence, strict=True)):
        path = path_ahead(matrices[place:])
        for key, kinds in judged(path, float(speeds[place]), told, result, there).items():
            found[key].update(kinds)
    each_s = float(np.median(np.diff(times)))
    counts = DriveCounts(
        driven_s=round(len(labels) * each_s, 3),
        driven_m=round(float(speeds.sum()) * each_s, 3), engaged_s=0.0, instants=len(labels),
        **{key: dict(sorted(counter.items())) for key, counter in found.items()},
    )  # fmt: skip
    return DriveTrial(name=name, slice=of_slice, counts=counts)


_COUNTED = ("critical", "missed", "misnamed", "phantoms")


def judged(
    path: Float64s, speed_mps: float, labels: FrameLabels, result: FrameResult,
    presence: Float64s,
) -> dict[str, list[str]]:  # fmt: skip
    """Class names of what is critical, missed, misnamed, and of phantoms, in one frame.

    As the planner does, it takes for told what is there with enough probability (`presence`, of
    each detection).
    """
    truth, sure = labels.boxes(), result.found.take(presence >= ACT_PROBABILITY)
    shown = np.array([box.visibility or 0.0 for box in labels.record.boxes]) >= SHOWS
    known = shown.astype(np.bool_) & ~labels.ignored()
    rows = np.flatnonzero(known & touches(path, _bodies(truth), speed_mps, ENTERS_S))
    apart = np.linalg.norm(truth.centre_m[rows, None, :2] - sure.centre_m[None, :, :2], axis=2)
    near = apart <= WITHIN_M
    named = near & (truth.class_index[rows][:, None] == sure.class_index[None])
    seen = near.any(axis=1)
    there = touches(path, _bodies(sure), speed_mps)
    phantoms = np.flatnonzero(there & ~_near_any(sure, truth))
    return {
        "critical": _names(truth.class_index[rows]),
        "missed": _names(truth.class_index[rows[~seen]]),
        "misnamed": _names(truth.class_index[rows[seen & ~named.any(axis=1)]]),
        "phantoms": _names(sure.class_index[phantoms]),
    }


def path_ahead(matrices: Sequence[Float64s]) -> Float64s:
    """The way of the ego's middle from the first of some poses on, in its ego frame: [k, 4] x, y,
    heading, distance.
    """
    local = inverse_SE3(matrices[0])
    ego = [local @ each for each in matrices]
    middle = np.array([[AXLE_TO_MIDDLE_M, 0.0, 0.0]])
    places = np.concatenate([apply_SE3(each, middle) for each in ego])[:, :2]
    headings = np.unwrap([yaw_of(each) for each in ego])
    parts = [places[:1]]
    parts += [_curve(places[k : k + 2], headings[k : k + 2])[1:] for k in range(len(ego) - 1)]
    end = np.array([np.cos(headings[-1]), np.sin(headings[-1])])
    ahead = np.arange(_STEP_M, _BEYOND_M + _STEP_M, _STEP_M)
    parts.append(places[-1] + ahead[:, None] * end)
    return _measured(np.concatenate(parts), float(headings[0]))


def _curve(ends: Float64s, headings: Float64s) -> Float64s:
    """Points from one pose to the next, a cubic that has both headings, [m, 2]."""
    away = float(np.linalg.norm(ends[1] - ends[0]))
    t = np.linspace(0, 1, max(2, int(np.ceil(away / _STEP_M)) + 1))[:, None]
    one, two = (away * np.array([np.cos(h), np.sin(h)]) for h in headings)
    return np.asarray(
        (2 * t**3 - 3 * t**2 + 1) * ends[0] + (t**3 - 2 * t**2 + t) * one
        + (3 * t**2 - 2 * t**3) * ends[1] + (t**3 - t**2) * two
    )  # fmt: skip


def _measured(points: Float64s, first_heading: float) -> Float64s:
    """Points [m, 2] with heading and distance; those in one place are taken once."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    points = points[np.concatenate([[True], steps > 1e-3])]
    delta = np.diff(points, axis=0)
    lengths = np.linalg.norm(delta, axis=1)
    headings = np.concatenate([[first_heading], np.arctan2(delta[:, 1], delta[:, 0])])
    return np.column_stack([points, headings, np.concatenate([[0.0], np.cumsum(lengths)])])


def _speeds(matrices: Sequence[Float64s], times: Float64s) -> Float64s:
    places = np.array([each[:2, 3] for each in matrices])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1) / np.diff(times)
    speeds = np.concatenate([steps, steps[-1:]])
    return np.asarray(np.where(speeds < _SLOW_MPS, 0.0, speeds))


def _bodies(boxes: Boxes) -> Bodies:
    velocity = np.nan_to_num(boxes.velocity_mps)
    return Bodies(boxes.centre_m[:, :2], boxes.yaw_rad, boxes.size_m[:, :2], velocity)


def _near_any(told: Boxes, truth: Boxes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which boxes told have their middle in a true box, or within `WITHIN_M` of its sides."""
    if not len(truth) or not len(told):
        return np.zeros(len(told), dtype=np.bool_)
    flat = replace(truth, centre_m=truth.centre_m * (1, 1, 0))
    return np.asarray(flat.contain(told.centre_m * (1, 1, 0), WITHIN_M).any(axis=0))


def _names(kinds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    return [TAXONOMY.names[kind] for kind in kinds.tolist()]
