"""A track's boxes in the sensor's frame: its course, gaps filled, led on at both ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.clip import DETECTED, EXTENDED, FILLED, SMOOTHED
from offline.labels.auto.parameters import Extent
from offline.labels.auto.planar import inverse, placed
from offline.labels.auto.tracks import Course

_SIDE = 6


@dataclass(frozen=True, slots=True)
class Completed:
    """Columns over the frames in which a track is told: `frame`, `provenance`, `unseen_for`
    int64 [t]; `centre_m` [t, 3] and `yaw_rad` [t] in the sensor's frame; `residual_m` [t], 0
    where unseen.
    """

    frame: Int64s
    provenance: Int64s
    unseen_for: Int64s
    centre_m: Float64s
    yaw_rad: Float64s
    residual_m: Float64s


def completed(course: Course, extent: Extent, poses: Float64s, nods: Float64s) -> Completed:
    """Fills gaps up to `extent.fill` frames long; the rest of a gap stays empty.

    Args:
        course: of the track, in the world.
        extent: how far.
        poses: `world_SE2_sensor` [frames, 3].
        nods: of the sensor, [frames].
    """
    count = course.seen.size
    steady = int(course.seen.sum()) >= extent.least_hits
    least = extent.standing if course.is_static else 0
    before = min(max(extent.before, least), course.first) if steady else 0
    after = min(max(extent.after, least), poses.shape[0] - course.first - count) if steady else 0
    step = np.arange(-before, count + after)
    inside = np.clip(step, 0, count - 1)
    beyond = step - inside
    previous, following = _neighbours(course.seen)
    gap = following - previous - 1
    told: Bools = gap[inside] <= max(extent.fill, least)
    step, inside, beyond = step[told], inside[told], beyond[told]

    frame = step + course.first
    moves = 0.0 if least else 1.0
    # The very end of a smooth course bends as its last sighting happens to lie.
    speed = np.where(
        (beyond < 0)[:, None], course.velocity_m[:_SIDE].mean(axis=0),
        course.velocity_m[-_SIDE:].mean(axis=0),
    )  # fmt: skip
    xy = course.xy_m[inside] + moves * speed * beyond[:, None]
    here = placed(inverse(poses[frame]), xy)
    z = course.z_m[inside] + nods[frame] * np.hypot(here[:, 0], here[:, 1])
    seen = course.seen[inside] & (beyond == 0)
    told_as = SMOOTHED if course.seen.sum() > 1 else DETECTED
    provenance = np.where(seen, told_as, np.where(beyond == 0, FILLED, EXTENDED))
    place = np.arange(count)
    unseen_for = np.minimum(place - previous, following - place)[inside] + np.abs(beyond)
    residual = np.where(seen, course.residual_m[inside], 0.0)
    return Completed(
        frame, provenance, unseen_for, np.column_stack([here, z]),
        wrapped(course.yaw_rad[inside] - poses[frame, 2]), residual,
    )  # fmt: skip


def _neighbours(seen: Bools) -> tuple[Int64s, Int64s]:
    """The last sighting up to each instant and the first from it on, int64 [t]."""
    place = np.arange(seen.size)
    previous = np.maximum.accumulate(np.where(seen, place, 0))
    following = np.minimum.accumulate(np.where(seen, place, seen.size - 1)[::-1])[::-1]
    return previous, following
