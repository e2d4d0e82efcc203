"""Where detected objects would go, against where they went.

A detection that answers for a true box at 2 m, and is told with at least
`OPERATING_PROBABILITY`, is moved on at its detected velocity, in the world frame, and compared
with the true track 1, 2 and 3 s later. The track is that of the drive's labelled frames,
straight between two that are no more than `MAX_GAP_S` apart. Only objects whose truth is known
at all three times count, so that the horizons compare.

ADE: the mean distance over the three horizons; FDE: the distance at the last. Beside the
model's stand those of an object that stands still where it was detected, and of the true
position and velocity moved on: no such extrapolation does better, save by luck.
A detection without a velocity is taken to stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s, apply_SE3
from contracts.samples import Float64s
from models.evaluation.matching import Matched, Matcher
from models.evaluation.report import OPERATING_PROBABILITY

HORIZONS_S = (1.0, 2.0, 3.0)
MAX_GAP_S = 1.05
MOVING_MPS = 0.5


@dataclass(frozen=True, slots=True)
class Instant:
    """One labelled frame: `world_SE3_ego` float64 [4, 4], None where nobody knows it."""

    drive_id: str
    mono_ns: int
    world_SE3_ego: Float64s | None


@dataclass(frozen=True, slots=True)
class Displacements:
    """Distances in metres float64 [m, 3] by horizon, of m followed objects: as `told`, if it
    stood still, by its `true` motion (NaN: velocity unknown); `frame`, `class_index` int64 [m];
    `moving` bool [m] where the true velocity is known and over `MOVING_MPS`.
    """

    told: Float64s
    standing: Float64s
    true: Float64s
    frame: Int64s
    class_index: Int64s
    moving: Bools


@dataclass(frozen=True, slots=True)
class _Track:
    """Times int64 [n] that rise, and world positions float64 [n, 2]."""

    mono_ns: Int64s
    xy_m: Float64s

    def at(self, mono_ns: Int64s) -> Float64s | None:
        """Positions [k, 2] at times [k]; None when one of them is not covered."""
        after = np.searchsorted(self.mono_ns, mono_ns)
        if after[-1] >= self.mono_ns.size or after[0] < 1:
            return None
        if ((self.mono_ns[after] - self.mono_ns[after - 1]) * 1e-9 > MAX_GAP_S).any():
            return None
        return np.column_stack(
            [np.interp(mono_ns, self.mono_ns, self.xy_m[:, axis]) for axis in (0, 1)]
        )


def displacements(
    matcher: Matcher, matches: Sequence[Matched], instants: Sequence[Instant]
) -> Displacements:
    """All followed objects of some matches.

    Raises `InputError` when a drive has two frames of one time, or a frame two boxes of one
    track.
    """
    tracks = _tracks(matcher, instants)
    ahead_ns: Int64s = np.array([round(s * 1e9) for s in HORIZONS_S], dtype=np.int64)
    ahead_s = np.array(HORIZONS_S)[:, None]
    rows: list[tuple[Float64s, Float64s, Float64s]] = []
    places: list[tuple[int, int, bool]] = []
    for each in matches:
        sure = each.scores >= OPERATING_PROBABILITY
        matched = replace(each, right=each.right & sure)
        found, truth = matcher.right_pairs(matched)
        velocity = np.nan_to_num(found.velocity_mps)
        for k, frame in enumerate(matched.frame[matched.right].tolist()):
            now, key = instants[frame], int(truth.track_id[k])
            pose, track = now.world_SE3_ego, tracks.get((now.drive_id, key))
            went = None if pose is None or track is None else track.at(now.mono_ns + ahead_ns)
            if pose is None or went is None:
                continue
            turn = pose[:2, :2].T
            here = apply_SE3(pose, found.centre_m[k : k + 1])[:, :2]
            real = apply_SE3(pose, truth.centre_m[k : k + 1])[:, :2]
            told = here + ahead_s * (velocity[k] @ turn)
            true = real + ahead_s * (truth.velocity_mps[k] @ turn)
            rows.append((_apart(told, went), _apart(here, went), _apart(true, went)))
            speed = float(np.hypot(*truth.velocity_mps[k]))
            places.append((frame, int(truth.class_index[k]), speed >= MOVING_MPS))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3, len(HORIZONS_S))
    frame_of, kind, moving = np.array(places, dtype=np.int64).reshape(-1, 3).T
    return Displacements(
        table[:, 0], table[:, 1], table[:, 2], frame_of, kind, moving.astype(np.bool_)
    )


def _apart(one: Float64s, two: Float64s) -> Float64s:
    return np.asarray(np.hypot(*(one - two).T))


def _tracks(matcher: Matcher, instants: Sequence[Instant]) -> dict[tuple[str, int], _Track]:
    """Every true track in the world, by drive and track id."""
    order = sorted(range(len(instants)), key=lambda i: (instants[i].drive_id, instants[i].mono_ns))
    seen: dict[tuple[str, int], list[tuple[int, float, float]]] = {}
    for number in order:
        now = instants[number]
        if now.world_SE3_ego is None:
            continue
        rows = slice(*matcher.truth_first[number : number + 2])
        world = apply_SE3(now.world_SE3_ego, matcher.truth.centre_m[rows])[:, :2].tolist()
        for key, (x, y) in zip(matcher.truth.track_id[rows].tolist(), world, strict=True):
            if key < 0:
                continue
            track = seen.setdefault((now.drive_id, key), [])
            if track and track[-1][0] >= now.mono_ns:
                raise InputError(f"track {key} is twice at {now.mono_ns}", now.drive_id)
            track.append((now.mono_ns, x, y))
    return {
        key: _Track(
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1:] for row in rows], dtype=np.float64),
        )
        for key, rows in seen.items()
    }
