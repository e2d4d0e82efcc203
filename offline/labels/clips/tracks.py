"""A clip's detections to tracks, all around the ego: `offline.labels.auto` in a recorded world.

Classes that a detector mixes up are tracked together, a class group of the taxonomy at a time;
what a track is called is decided once, by all of its sightings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Boxes, Int64s, Taxonomy, wrapped, yaw_of
from contracts.samples import Float32s, Float64s
from offline.labels.auto.clip import SMOOTHED, AutoLabels, Clip
from offline.labels.auto.kinds import log_odds
from offline.labels.auto.offline import accepted, label_clip
from offline.labels.auto.online import track_clip
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.planar import placed, turned
from offline.labels.auto.round_view import RoundView
from offline.labels.auto.world import by_track
from offline.labels.calibration.calibrator import Calibrator
from offline.labels.clips.headings import driven
from offline.labels.clips.instants import PERIOD_NS, frames_of
from offline.labels.evaluation.scene import same_frame
from offline.labels.fusion.boxes import class_groups
from offline.labels.fusion.table import Detections
from offline.labels.kitti import CLASSES, OF_TAXONOMY, TrackedBoxes
from offline.labels.points.sweep import Sweeps

REACH_M = 80.0
"""How far from the ego boxes are told."""
DRIVEN = ("vehicle", "two_wheels")
"""Class groups whose members point where they go."""
_SAME_M = 2.0
_LEAST = 1e-4
_MOST_TRACKS = 2**32


@dataclass(frozen=True, slots=True)
class ClipBoxes:
    """Boxes of a clip over its instants, in the order of time: `boxes` in the ego frame with
    class, velocity and track; `instant` int64 [n]; `confidence` float64 [n]; `provenance` int64
    [n] into `offline.labels.auto.clip.PROVENANCES`; `accepted` bool [n], whether the parameters
    take the box for one; `class_share` float64 [n], of what its track was seen as.
    """

    boxes: Boxes
    instant: Int64s
    confidence: Float64s
    provenance: Int64s
    accepted: Bools
    class_share: Float64s

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: Int64s | Bools) -> ClipBoxes:
        """The chosen rows, by index or mask."""
        return ClipBoxes(
            self.boxes.take(rows), self.instant[rows], self.confidence[rows],
            self.provenance[rows], self.accepted[rows], self.class_share[rows],
        )  # fmt: skip


def group_classes(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Which of the tracker's classes stands for each class group: that of its first class."""
    return tuple(OF_TAXONOMY[names[0]] for names in taxonomy.groups)


def clip_of(
    found: Detections, mono_ns: Int64s, world_SE3_ego: Float64s, taxonomy: Taxonomy,
    sweeps: Sweeps | None = None,
) -> Clip:  # fmt: skip
    """Detections by instant as the tracker takes them: frames of a tenth of a second, each class
    group as one class, scores as log-odds.
    """
    frame = frames_of(mono_ns)
    kinds = np.array([CLASSES.index(name) for name in group_classes(taxonomy)])
    n, none = len(found), np.zeros(len(found), dtype=np.int64)
    tracked = TrackedBoxes(
        frame=frame[found.group], kind=kinds[class_groups(taxonomy)[found.boxes.class_index]],
        track_id=none - 1, occlusion=none, truncation=np.zeros(n), alpha_rad=np.zeros(n),
        box_px=np.zeros((n, 4)), centre_m=found.boxes.centre_m, size_m=found.boxes.size_m,
        yaw_rad=found.boxes.yaw_rad, score=log_odds(found.scores),
    )  # fmt: skip
    poses = _poses(frame, world_SE3_ego)
    return Clip(int(frame[-1]) + 1, tracked, RoundView(REACH_M), poses, sweeps)


def tracked_boxes(
    found: Detections, mono_ns: Int64s, world_SE3_ego: Float64s, taxonomy: Taxonomy,
    by_class: Mapping[str, ClassParameters], calibrator: Calibrator, sweeps: Sweeps | None = None,
) -> ClipBoxes:  # fmt: skip
    """Every track of a clip, doubtful ones included and told as such.

    Args:
        found: by instant, in the order of time.
        mono_ns: of the instants, int64 [f].
        world_SE3_ego: their poses [f, 4, 4].
        taxonomy: of the classes.
        by_class: parameters of the tracker's classes, one for each class group.
        calibrator: tells how likely each box is right.
        sweeps: the lidar's, where boxes shall be fitted to points.
    """
    clip = clip_of(found, mono_ns, world_SE3_ego, taxonomy, sweeps)
    labels = label_clip(clip, by_class, everything=True, calibrator=calibrator)
    sure = np.isin(_keys(labels.boxes), _keys(accepted(labels, by_class).boxes))
    shares = _class_shares(labels, clip.found, found.distributions)
    velocity = _velocities(labels.boxes, clip)
    # Frames without an instant, where a sweep is missing, are not told.
    frames = frames_of(mono_ns)
    instant = np.searchsorted(frames, labels.boxes.frame)
    shown = frames[np.minimum(instant, frames.size - 1)] == labels.boxes.frame
    kind = _classes(labels.boxes, shares, taxonomy)
    told = labels.boxes
    yaw = _headings(told, labels.provenance, clip, taxonomy)
    boxes = Boxes(told.centre_m, told.size_m, yaw, velocity, kind, told.track_id)
    return ClipBoxes(
        boxes, instant, told.score, labels.provenance, sure,
        shares[np.arange(kind.size), kind],
    ).take(shown)  # fmt: skip


def online_boxes(
    found: Detections, mono_ns: Int64s, world_SE3_ego: Float64s, taxonomy: Taxonomy,
    by_class: Mapping[str, ClassParameters],
) -> TrackedBoxes:  # fmt: skip
    """What the causal tracker tells of the same, to compare with."""
    return track_clip(clip_of(found, mono_ns, world_SE3_ego, taxonomy), by_class)


def _poses(frame: Int64s, world_SE3_ego: Float64s) -> Float64s:
    """In the plane, of every frame from 0 on; of those between instants by straight lines."""
    yaw = np.unwrap([yaw_of(pose) for pose in world_SE3_ego])
    columns = (world_SE3_ego[:, 0, 3], world_SE3_ego[:, 1, 3], yaw)
    every = np.arange(int(frame[-1]) + 1)
    return np.column_stack([np.interp(every, frame, column) for column in columns])


def _poses_of(clip: Clip) -> Float64s:
    if clip.world_SE2_sensor is None:
        raise InputError("courses over ground need poses")
    return clip.world_SE2_sensor


def _keys(boxes: TrackedBoxes) -> Int64s:
    """A number for each frame and track, the same whatever else is in the table."""
    return np.asarray(boxes.frame * _MOST_TRACKS + boxes.track_id)


def _class_shares(labels: AutoLabels, found: TrackedBoxes, distributions: Float32s) -> Float64s:
    """Of each box, what its track's sightings were taken for: [n, classes], summing up to 1."""
    boxes, seen = labels.boxes, np.flatnonzero(labels.provenance <= SMOOTHED)
    one, two = same_frame(boxes.frame[seen], found.frame)
    one = seen[one]
    away = np.hypot(*(boxes.centre_m[one, :2] - found.centre_m[two, :2]).T)
    near = (away < _SAME_M) & (boxes.kind[one] == found.kind[two])
    one, two, away = one[near], two[near], away[near]
    order = np.lexsort((away, one))
    first = np.append(True, np.diff(one[order]) > 0)[: order.size]
    one, two = one[order][first], two[order][first]
    tracks = int(boxes.track_id.max(initial=-1)) + 1
    sums = np.full((tracks, distributions.shape[1]), _LEAST)
    np.add.at(sums, boxes.track_id[one], distributions[two].astype(np.float64))
    return np.asarray((sums / sums.sum(axis=1, keepdims=True))[boxes.track_id])


def _classes(boxes: TrackedBoxes, shares: Float64s, taxonomy: Taxonomy) -> Int64s:
    """The likeliest class of each box's group."""
    names = [CLASSES[kind] for kind in boxes.kind.tolist()]
    groups = {name: group for group, name in enumerate(group_classes(taxonomy))}
    group = np.array([groups[name] for name in names], dtype=np.int64)
    own = np.where(class_groups(taxonomy)[None] == group[:, None], shares, -1.0)
    return np.asarray(own.argmax(axis=1), dtype=np.int64)


def _headings(boxes: TrackedBoxes, provenance: Int64s, clip: Clip, taxonomy: Taxonomy) -> Float64s:
    """In the ego frame; of what drives, by its course."""
    drives = [one.name for one in taxonomy.classes if one.group in DRIVEN]
    kinds = {CLASSES.index(OF_TAXONOMY[name]) for name in drives}
    here = _poses_of(clip)[boxes.frame]
    world, yaw = placed(here, boxes.centre_m[:, :2]), boxes.yaw_rad + here[:, 2]
    for rows in by_track(boxes.track_id):
        if boxes.kind[rows[0]] in kinds:
            yaw[rows] = driven(
                boxes.frame[rows], world[rows], yaw[rows], provenance[rows] <= SMOOTHED
            )
    return wrapped(yaw - here[:, 2])


def _velocities(boxes: TrackedBoxes, clip: Clip) -> Float64s:
    """Over ground along the ego's axes, m/s, from the track's places about each instant; NaN
    where a track has one place only.
    """
    here = _poses_of(clip)[boxes.frame]
    world = placed(here, boxes.centre_m[:, :2])
    result = np.full((len(boxes), 2), np.nan)
    for rows in by_track(boxes.track_id):
        if rows.size > 1:
            t_s = boxes.frame[rows] * (PERIOD_NS * 1e-9)
            result[rows] = np.gradient(world[rows], t_s, axis=0)
    return turned(result, -here[:, 2])
