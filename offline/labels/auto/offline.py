"""The non-causal labeller: a clip's detections to tracks, with past and future at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.labels.auto.clip import FEATURES, SMOOTHED, AutoLabels, Clip, boxes_of, in_order
from offline.labels.auto.completion import Completed, completed
from offline.labels.auto.features import track_features
from offline.labels.auto.filter import WorldBoxes
from offline.labels.auto.kinds import MODEL_CLASSES
from offline.labels.auto.linking import tracks_of
from offline.labels.auto.overlaps import covered, doubles
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.pitch import nods
from offline.labels.auto.tracks import Course, Sightings, noise_of, refined
from offline.labels.auto.world import by_track, estimated_poses, in_world
from offline.labels.calibration.calibrator import Calibrator, published
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.points.appearance import Looks
from offline.labels.points.axes import righted
from offline.labels.points.beams import occupancy, solidity, told_by_beams, velocities
from offline.labels.points.gather import gathered as gathered_points
from offline.labels.points.heights import stood
from offline.labels.points.refinement import Evidence, improved
from offline.labels.points.registration import BODIES, Body
from offline.labels.points.sweep import Sweeps

_STEADY_HITS = 5


def label_clip(
    clip: Clip, by_class: Mapping[str, ClassParameters], everything: bool = False,
    calibrator: Calibrator | None = None,
) -> AutoLabels:  # fmt: skip
    """All classes of one clip; frames rise, no track is twice in one.

    Args:
        clip: what was detected.
        by_class: parameters by class name, for each class that shall be labelled.
        everything: also tracks that the parameters take for wrong, and their weak ends.
        calibrator: tells the scores; that for PointRCNN's detections where none is given.
    """
    labels = unscored(clip, estimated_poses(clip, by_class), by_class)
    labels = scored(labels, by_class, published() if calibrator is None else calibrator)
    return labels if everything else accepted(labels, by_class)


def unscored(
    clip: Clip, poses: Float64s, by_class: Mapping[str, ClassParameters]
) -> AutoLabels:  # fmt: skip
    """Everything that is told of a clip, doubles gone, with scores of 0.

    Args:
        clip: what was detected.
        poses: `world_SE2_sensor` [frames, 3], known or estimated.
        by_class: as of `label_clip`.
    """
    groups = [_tracked(clip, poses, parameters) for parameters in by_class.values()]
    if clip.sweeps is not None:
        groups = _with_points(clip, poses, clip.sweeps, groups)
    first, parts = 0, []
    for group in groups:
        part = _told(clip, poses, group, first)
        first = 1 + max(first - 1, int(part.boxes.track_id.max(initial=-1)))
        parts.append(part)
    labels = _with_cover(_joined(parts))
    if clip.sweeps is not None and clip.world_SE2_sensor is not None:
        labels = _with_beams(labels, clip.sweeps, poses)
    limit = np.array([by_class[name].duplicate_overlap for name in by_class])
    # How often its track was rightly seen, as far as the detector can tell.
    trust = labels.feature("hits") * labels.feature("mean_probability")
    return labels.take(~doubles(labels.boxes, trust, float(limit.min(initial=1.0))))


def accepted(labels: AutoLabels, by_class: Mapping[str, ClassParameters]) -> AutoLabels:
    """Without weak ends of tracks, then without tracks whose mean score is too low."""
    trim, keep = np.ones(len(labels.boxes)), np.ones(len(labels.boxes))
    for parameters in by_class.values():
        rows = _rows_of(labels.boxes, parameters)
        trim[rows], keep[rows] = parameters.extent.trim_score, parameters.keep_score
    inside = _within(labels.boxes, labels.boxes.score >= trim)
    labels, keep = labels.take(inside), keep[inside]
    track = labels.boxes.track_id
    mean = np.bincount(track, labels.boxes.score) / np.maximum(np.bincount(track), 1)
    return labels.take(mean[track] >= keep)


@dataclass(frozen=True, slots=True)
class _Group:
    """Tracks of one class: what was seen of each, its course, and the sensor's nod [frames]."""

    parameters: ClassParameters
    tracks: list[Sightings]
    courses: list[Course]
    tilt: Float64s


def _tracked(clip: Clip, poses: Float64s, parameters: ClassParameters) -> _Group:
    found = clip.found.of_classes((parameters.class_name,))
    seen = in_world(found, poses, parameters)
    looks = None if clip.sweeps is None else Looks(found, clip.sweeps)
    tracks = tracks_of(
        found.frame, seen, clip.edges(found), parameters.association, parameters.linking, looks
    )
    gathered = [_sightings(found, seen, poses, rows) for rows in by_track(tracks)]
    tilt = _nods(clip.frames, gathered, parameters)
    known = clip.world_SE2_sensor is not None
    courses = [
        refined(
            replace(track, z_m=track.z_m - tilt[track.frame] * track.range_m), parameters.motion,
            parameters.association, known,
        )
        for track in gathered
    ]  # fmt: skip
    return _Group(parameters, gathered, courses, tilt)


def _with_points(clip: Clip, poses: Float64s, sweeps: Sweeps, groups: list[_Group]
                 ) -> list[_Group]:  # fmt: skip
    known = clip.world_SE2_sensor is not None
    if known:
        groups = [_righted(group, poses, sweeps) for group in groups]
    courses = [course for group in groups for course in group.courses]
    nods = [group.tilt for group in groups for _ in group.courses]
    points = iter(gathered_points(courses, sweeps, poses, nods))
    groups = [
        replace(group, courses=[
            improved(Evidence(track, course, next(points)), group.parameters, poses, known)
            for track, course in zip(group.tracks, group.courses, strict=True)
        ])
        for group in groups
    ]  # fmt: skip
    if not known:
        return groups
    return [
        replace(group, courses=stood(group.courses, sweeps, poses, group.tilt))
        if _body(group).has_sides else group
        for group in groups
    ]  # fmt: skip


def _righted(group: _Group, poses: Float64s, sweeps: Sweeps) -> _Group:
    tracks, courses = righted(group.tracks, group.courses, sweeps, poses, _body(group))
    return replace(group, tracks=tracks, courses=courses)


def _body(group: _Group) -> Body:
    return BODIES[MODEL_CLASSES[group.parameters.class_name]]


def _told(clip: Clip, poses: Float64s, group: _Group, first: int) -> AutoLabels:
    """One class, tracks numbered from `first` on, without scores."""
    known = clip.world_SE2_sensor is not None
    columns, features = [], []
    for number, (track, course) in enumerate(
        zip(group.tracks, group.courses, strict=True), start=first
    ):
        whole = completed(course, group.parameters.extent, poses, group.tilt)
        columns.append((whole, np.full(whole.frame.size, number), course.size_m))
        noise = noise_of(track, group.parameters.association, course.motion) if known else None
        features.append(track_features(whole, track, course, noise))
    return _table(group.parameters.class_name, columns, features, clip)


def _sightings(found: TrackedBoxes, seen: WorldBoxes, poses: Float64s, rows: Int64s) -> Sightings:
    bearing = np.arctan2(found.centre_m[rows, 1], found.centre_m[rows, 0])
    return Sightings(
        found.frame[rows], seen.xy_m[rows], seen.z_m[rows], seen.size_m[rows],
        seen.yaw_rad[rows], seen.probability[rows], seen.range_m[rows],
        bearing + poses[found.frame[rows], 2],
    )  # fmt: skip


def _nods(frames: int, tracks: list[Sightings], parameters: ClassParameters) -> Float64s:
    steady = [track for track in tracks if len(track) >= _STEADY_HITS]
    if not steady:
        return np.zeros(frames)
    noise = parameters.association.noise_m
    heights = [
        (t.frame, t.z_m - t.size_m[:, 2] / 2, 0.5 * noise(t.range_m, t.probability), t.range_m)
        for t in steady
    ]
    return nods(frames, heights, parameters.motion.height_drift_m)


def _table(
    class_name: str, columns: list[tuple[Completed, Int64s, Float64s]], features: list[Float64s],
    clip: Clip,
) -> AutoLabels:  # fmt: skip
    none = np.zeros(0, dtype=np.int64)
    wholes = [whole for whole, _, _ in columns]
    frame = np.concatenate([none, *(whole.frame for whole in wholes)])
    order = np.argsort(frame, kind="stable")
    sizes = [np.tile(size, (whole.frame.size, 1)) for whole, _, size in columns]
    boxes, shown = boxes_of(
        class_name, frame[order], np.concatenate([none, *(t for _, t, _ in columns)])[order],
        np.concatenate([np.zeros((0, 3)), *(whole.centre_m for whole in wholes)])[order],
        np.concatenate([np.zeros((0, 3)), *sizes])[order],
        np.concatenate([np.zeros(0), *(whole.yaw_rad for whole in wholes)])[order],
        np.zeros(frame.size), clip.view,
    )  # fmt: skip
    provenance = np.concatenate([none, *(whole.provenance for whole in wholes)])[order]
    table = np.concatenate([np.zeros((0, len(FEATURES))), *features])[order]
    table[:, FEATURES.index("cut")] = clip.view.cut(boxes.box_px)
    return AutoLabels(boxes, provenance, table).take(shown)


def _joined(parts: list[AutoLabels]) -> AutoLabels:
    frame = np.concatenate([np.zeros(0, dtype=np.int64), *(part.boxes.frame for part in parts)])
    order = np.argsort(frame, kind="stable")
    return AutoLabels(
        in_order([part.boxes for part in parts]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(p.provenance for p in parts)])[order],
        np.concatenate([np.zeros((0, len(FEATURES))), *(p.features for p in parts)])[order],
    )


def _with_cover(labels: AutoLabels) -> AutoLabels:
    features = labels.features.copy()
    features[:, FEATURES.index("covered")] = covered(labels.boxes)
    return replace(labels, features=features)


def _with_beams(labels: AutoLabels, sweeps: Sweeps, poses: Float64s) -> AutoLabels:
    boxes, features = labels.boxes, labels.features.copy()
    told = told_by_beams(boxes, velocities(boxes, poses), sweeps, poses)
    features[:, FEATURES.index("occupied")] = occupancy(boxes.track_id, boxes.frame, told)
    seen = labels.provenance <= SMOOTHED
    features[:, FEATURES.index("solid")] = solidity(boxes.track_id, told, seen)
    return replace(labels, features=features)


def scored(
    labels: AutoLabels, by_class: Mapping[str, ClassParameters], calibrator: Calibrator
) -> AutoLabels:
    """The same boxes, their scores the probability that each is right."""
    score = np.zeros(len(labels.boxes))
    for parameters in by_class.values():
        rows = _rows_of(labels.boxes, parameters)
        score[rows] = calibrator.confidence(labels.features[rows], parameters.calibrated_as)
    return replace(labels, boxes=replace(labels.boxes, score=score))


def _rows_of(boxes: TrackedBoxes, parameters: ClassParameters) -> Bools:
    return np.asarray(boxes.kind == CLASSES.index(parameters.class_name))


def _within(boxes: TrackedBoxes, good: Bools) -> Bools:
    """Rows from the first good one of their track to its last, bool [n]."""
    tracks = int(boxes.track_id.max(initial=-1)) + 1
    first, last = np.full(tracks, np.iinfo(np.int64).max), np.full(tracks, -1)
    np.minimum.at(first, boxes.track_id[good], boxes.frame[good])
    np.maximum.at(last, boxes.track_id[good], boxes.frame[good])
    inside = boxes.frame >= first[boxes.track_id]
    return np.asarray(inside & (boxes.frame <= last[boxes.track_id]))
