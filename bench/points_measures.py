"""How far labels are from the truth, object by object, and whether cut tracks were joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.clip import Clip
from offline.labels.auto.kinds import parameters_like
from offline.labels.auto.linking import tracks_of
from offline.labels.auto.offline import unscored
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.world import estimated_poses, in_world
from offline.labels.evaluation.scene import same_frame
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.points.appearance import Looks

SHORTEST, LONGEST = 20, 50
"""Gaps that are cut, in frames."""
_SAME_M = 1.0
_LEAST_OF_ANOTHER = 3


@dataclass(frozen=True, slots=True)
class Errors:
    """Of n true boxes: `centre_m` float64 [n] in space, `plane_m` [n] on the ground,
    `heading_rad` [n]; NaN where no track that follows the object tells a box in its frame.
    """

    centre_m: Float64s
    plane_m: Float64s
    heading_rad: Float64s

    @classmethod
    def between(cls, truth: TrackedBoxes, rows: Int64s, told: TrackedBoxes, of: Int64s) -> Errors:
        """Of true boxes `rows` and the told boxes `of`, one to one; NaN for all others."""
        columns = np.full((3, len(truth)), np.nan)
        away = truth.centre_m[rows] - told.centre_m[of]
        columns[0, rows] = np.linalg.norm(away, axis=1)
        columns[1, rows] = np.hypot(away[:, 0], away[:, 1])
        columns[2, rows] = np.abs(wrapped(truth.yaw_rad[rows] - told.yaw_rad[of]))
        return cls(*columns)

    @classmethod
    def together(cls, parts: Sequence[Errors]) -> Errors:
        """One after the other."""
        return cls(
            np.concatenate([part.centre_m for part in parts]),
            np.concatenate([part.plane_m for part in parts]),
            np.concatenate([part.heading_rad for part in parts]),
        )

    def where_told(self, other: Errors) -> Errors:
        """The same, with another's errors where none is known."""
        none = np.isnan(self.centre_m)
        return Errors(
            np.where(none, other.centre_m, self.centre_m),
            np.where(none, other.plane_m, self.plane_m),
            np.where(none, other.heading_rad, self.heading_rad),
        )


def stated_noise(
    truth: TrackedBoxes, sigma_m: float, sigma_rad: float
) -> dict[str, ClassParameters]:
    """Parameters of all classes that there are, for a detector of known noise at any distance
    whose sides are no better than its centres.
    """
    result = {}
    for name, each in parameters_like(sorted({CLASSES[kind] for kind in truth.kind})).items():
        noise = {"place_noise_m": sigma_m, "place_noise_per_m": 0.0}
        result[name] = each.model_copy(
            update={
                "association": each.association.model_copy(update=noise),
                "motion": each.motion.model_copy(
                    update={"yaw_noise_rad": sigma_rad, "anchor": 0.0}
                ),
            }
        )
    return result


def labelled(clip: Clip, by_class: Mapping[str, ClassParameters]) -> TrackedBoxes:
    """Everything that the labeller makes of a clip."""
    return unscored(clip, estimated_poses(clip, by_class), by_class).boxes


def errors_of(truth: TrackedBoxes, told: TrackedBoxes) -> Errors:
    """Of each true box: to the box of the track that is most often the nearest to its object."""
    one, two = same_frame(truth.frame, told.frame)
    alike = truth.kind[one] == told.kind[two]
    one, two = one[alike], two[alike]
    away = np.linalg.norm(truth.centre_m[one] - told.centre_m[two], axis=1)
    owner = _owners(truth, told, one, two, away)
    mine = owner[told.track_id[two]] == truth.track_id[one]
    one, two, away = one[mine], two[mine], away[mine]
    # Of pieces of a broken track that meet in a frame, the nearer one.
    order = np.lexsort((away, one))
    first = order[np.flatnonzero(np.diff(one[order], prepend=-1))]
    return Errors.between(truth, one[first], told, two[first])


def noised_errors(truth: TrackedBoxes, found: TrackedBoxes, kept: Int64s) -> Errors:
    """Of boxes `found` that were made of rows `kept` of the truth; NaN for all others."""
    return Errors.between(truth, kept, found, np.arange(len(found)))


def standing(truth: TrackedBoxes, world_xy_m: Float64s, extent_m: float = 1.0) -> Bools:
    """Which boxes [n] are of objects that stay within an extent in the world: bool [n]."""
    count = int(truth.track_id.max(initial=-1)) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, truth.track_id, world_xy_m)
    np.maximum.at(high, truth.track_id, world_xy_m)
    return np.asarray(np.hypot(*(high - low).T)[truth.track_id] < extent_m)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Gaps made in tracks: `kept` bool [n] of the true boxes; by track the first frame of the gap
    and the first after it.
    """

    kept: Bools
    gaps: dict[int, tuple[int, int]]


def cut(truth: TrackedBoxes, seed: int) -> Cuts:
    """One gap in each track that is long enough for it, of a length drawn evenly, in frames."""
    rng = np.random.default_rng(seed)
    kept, gaps = np.ones(len(truth), dtype=np.bool_), {}
    for track in np.unique(truth.track_id):
        rows = truth.track_id == track
        first, last = int(truth.frame[rows].min()), int(truth.frame[rows].max())
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        if last - first < length + 16:
            continue
        start = int(rng.integers(first + 8, last - length - 6))
        kept &= ~(rows & (truth.frame >= start) & (truth.frame < start + length))
        gaps[int(track)] = start, start + length
    return Cuts(kept, gaps)


def joined_again(
    truth: TrackedBoxes, found: TrackedBoxes, rows: Int64s, cuts: Cuts, poses: Float64s,
    parameters: ClassParameters, looks: Looks | None,
) -> tuple[int, int]:  # fmt: skip
    """How many cut tracks go on as the same track after their gap, and how often a track goes
    over to another object.

    Args:
        truth: all true boxes.
        found: what was detected outside of the gaps, of one class.
        rows: which of `truth` each is, int64 [n].
        cuts: the gaps.
        poses: `world_SE2_sensor` [frames, 3].
        parameters: of the class.
        looks: at `found`, or None.
    """
    seen = in_world(found, poses, parameters)
    edges = np.asarray(np.searchsorted(found.frame, np.arange(poses.shape[0] + 1)))
    told = tracks_of(
        found.frame, seen, edges, parameters.association, parameters.linking, looks
    )  # fmt: skip
    real, right = truth.track_id[rows], 0
    for track, (start, end) in cuts.gaps.items():
        before = told[(real == track) & (found.frame < start) & (told >= 0)]
        after = told[(real == track) & (found.frame >= end) & (told >= 0)]
        if before.size and after.size:
            right += int(np.bincount(before).argmax() == np.bincount(after).argmax())
    wrong = 0
    for track in range(int(told.max(initial=-1)) + 1):
        objects = (np.bincount(real[told == track]) >= _LEAST_OF_ANOTHER).sum()
        wrong += max(0, int(objects) - 1)
    return right, wrong


def _owners(
    truth: TrackedBoxes, told: TrackedBoxes, one: Int64s, two: Int64s, away: Float64s
) -> Int64s:
    """The object that each told track is of, -1 for none: int64 [tracks]."""
    order = np.lexsort((away, two))
    nearest = order[np.flatnonzero(np.diff(two[order], prepend=-1))]
    nearest = nearest[away[nearest] < _SAME_M]
    tracks = int(told.track_id.max(initial=-1)) + 1
    votes = np.zeros((tracks, int(truth.track_id.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(votes, (told.track_id[two[nearest]], truth.track_id[one[nearest]]), 1)
    return np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
