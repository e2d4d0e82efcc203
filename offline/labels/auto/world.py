"""A clip's detections in a world that the sensor moves through: poses given, or estimated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from contracts.geometry import Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.clip import Clip
from offline.labels.auto.ego import EgoEstimator
from offline.labels.auto.ego_refinement import refined_poses
from offline.labels.auto.filter import WorldBoxes
from offline.labels.auto.linking import associated
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.planar import placed
from offline.labels.kitti import CLASSES, TrackedBoxes

_ROUNDS = 2
_LEAST_HITS = 8
_SLOW_M, _SPAN_M = 0.15, 3.0


def probabilities(found: TrackedBoxes, by_class: Mapping[str, ClassParameters]) -> Float64s:
    """Of raw scores, by each class's scale: float64 [n]; 0 for a class without parameters."""
    result: Float64s = np.zeros(len(found), dtype=np.float64)
    for name, parameters in by_class.items():
        rows = found.kind == CLASSES.index(name)
        result[rows] = parameters.scale.probability(found.score[rows])
    return result


def in_world(found: TrackedBoxes, poses: Float64s, parameters: ClassParameters) -> WorldBoxes:
    """Boxes of one class, their sizes freed of the detector's bias; `poses` [frames, 3]."""
    here = poses[found.frame]
    bottom = found.centre_m[:, 2] - found.size_m[:, 2] / 2
    size = found.size_m * np.array(parameters.scale.size_factor)
    return WorldBoxes(
        placed(here, found.centre_m[:, :2]), bottom + size[:, 2] / 2, size,
        wrapped(found.yaw_rad + here[:, 2]), parameters.scale.probability(found.score),
        np.hypot(found.centre_m[:, 0], found.centre_m[:, 1]),
    )  # fmt: skip


def estimated_poses(clip: Clip, by_class: Mapping[str, ClassParameters]) -> Float64s:
    """The clip's poses, or those that its detections tell of: float64 [frames, 3]."""
    if clip.world_SE2_sensor is not None:
        return clip.world_SE2_sensor
    poses = first_poses(clip, by_class)
    for _ in range(_ROUNDS):
        sightings = [
            part for parameters in by_class.values()
            for part in _standing(clip, poses, parameters)
        ]  # fmt: skip
        if not sightings:
            break
        frame, xy, noise = (np.concatenate(column) for column in zip(*sightings, strict=True))
        landmark = np.repeat(np.arange(len(sightings)), [part[0].size for part in sightings])
        poses = refined_poses(poses, frame, landmark, xy, noise)
    return poses


def first_poses(clip: Clip, by_class: Mapping[str, ClassParameters]) -> Float64s:
    """Poses as the causal estimator finds them, frame by frame: float64 [frames, 3]."""
    estimator = EgoEstimator.at_rest()
    probability = probabilities(clip.found, by_class)
    edges = clip.edges(clip.found)
    poses = np.empty((clip.frames, 3))
    for k in range(clip.frames):
        rows = slice(int(edges[k]), int(edges[k + 1]))
        poses[k] = estimator.step(clip.found.centre_m[rows, :2], probability[rows])
    return poses


def _standing(
    clip: Clip, poses: Float64s, parameters: ClassParameters
) -> list[tuple[Int64s, Float64s, Float64s]]:
    """Frame, place seen from the sensor and its noise of each track that hardly moves."""
    found = clip.found.of_classes((parameters.class_name,))
    seen = in_world(found, poses, parameters)
    tracks = associated(seen, clip.edges(found), parameters.association)
    noise = parameters.association.noise_m(seen.range_m, seen.probability)
    result = []
    for rows in by_track(tracks):
        count = int(found.frame[rows[-1]] - found.frame[rows[0]]) + 1
        if rows.size < _LEAST_HITS:
            continue
        side = max(3, rows.size // 4)
        xy = seen.xy_m[rows]
        gone = np.median(xy[-side:], axis=0) - np.median(xy[:side], axis=0)
        slow = np.hypot(*gone) < _SLOW_M * 0.75 * count
        if slow and np.hypot(*np.ptp(xy, axis=0)) < _SPAN_M + _SLOW_M / 2 * count:
            result.append((found.frame[rows], found.centre_m[rows, :2], noise[rows]))
    return result


def by_track(tracks: Int64s) -> list[Int64s]:
    """Rows of each track 0, 1 .. that there is, each in their order."""
    order = np.argsort(tracks, kind="stable")
    order = order[np.searchsorted(tracks[order], 0) :]
    cuts = np.flatnonzero(np.diff(tracks[order])) + 1
    return [rows for rows in np.split(order, cuts) if rows.size]
