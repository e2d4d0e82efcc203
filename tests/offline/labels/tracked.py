"""Scenes, tracks and files for the tests of labels: made by chance, or from published detections
by an association of a few lines that is no part of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from contracts.geometry import Int64s
from contracts.samples import Float64s
from offline.labels.evaluation.scene import Scene
from offline.labels.kitti import CLASSES, LabelFile, TrackedBoxes, read_detections

NO_REGIONS = np.zeros(0, dtype=np.int64), np.zeros((0, 4))


@dataclass(frozen=True)
class Frame:
    """Track ids of truth [n] and found [m], and how alike they are [n, m]."""

    truth: Int64s
    found: Int64s
    similarity: Float64s


Frames = Sequence[Frame]


def scene_of(*sequences: Frames) -> Scene:
    """Tracks of different sequences are different."""
    frames = [
        Frame(frame.truth + 1000 * k, frame.found + 1000 * k, frame.similarity)
        for k, sequence in enumerate(sequences)
        for frame in sequence
    ]
    none = np.zeros(0, dtype=np.int64)
    truth, found, pair_truth, pair_found = [none], [none], [none], [none]
    similarity = [np.zeros(0)]
    for frame in frames:
        alike = np.nonzero(frame.similarity)
        pair_truth.append(alike[0] + sum(map(len, truth)))
        pair_found.append(alike[1] + sum(map(len, found)))
        similarity.append(frame.similarity[alike])
        truth.append(frame.truth)
        found.append(frame.found)
    return Scene(
        np.repeat(np.arange(len(frames)), [len(frame.truth) for frame in frames]),
        np.concatenate(truth),
        np.repeat(np.arange(len(frames)), [len(frame.found) for frame in frames]),
        np.concatenate(found), np.concatenate(pair_truth), np.concatenate(pair_found),
        np.concatenate(similarity),
    )  # fmt: skip


def random_frames(rng: np.random.Generator, frames: int = 30, tracks: int = 6) -> list[Frame]:
    """Tracks that come and go, are confused, doubled and missed."""
    made = []
    for _ in range(frames):
        truth = np.flatnonzero(rng.random(tracks) < 0.7)
        found = np.flatnonzero(rng.random(tracks + 2) < 0.7)
        similarity = rng.random((truth.size, found.size)) ** 3
        similarity[rng.random(similarity.shape) < 0.4] = 0
        same = truth[:, None] == found
        similarity[same] = rng.random(int(same.sum())) ** 0.3
        made.append(Frame(truth, found, similarity))
    return made


def trackeval_sequence(frames: Frames) -> dict[str, Any]:
    """What TrackEval's metrics take."""
    ids: dict[str, list[Int64s]] = {}
    for name in ("truth", "found"):
        column = [getattr(frame, name) for frame in frames]
        known = np.unique(np.concatenate(column))
        ids[name] = [np.searchsorted(known, each) for each in column]
    return {
        "num_timesteps": len(frames), "gt_ids": ids["truth"], "tracker_ids": ids["found"],
        "similarity_scores": [frame.similarity for frame in frames],
        "num_gt_dets": sum(len(frame.truth) for frame in frames),
        "num_tracker_dets": sum(len(frame.found) for frame in frames),
        "num_gt_ids": len(set(np.concatenate([frame.truth for frame in frames]).tolist())),
        "num_tracker_ids": len(set(np.concatenate([frame.found for frame in frames]).tolist())),
    }  # fmt: skip


def associated(found: TrackedBoxes, reach_m: float = 2.0, patience: int = 2) -> TrackedBoxes:
    """Detections as tracks: to the nearest place that a track's last step leads to."""
    ids = np.full(len(found), -1)
    last: dict[int, tuple[int, Float64s, Float64s]] = {}
    for frame in np.unique(found.frame).tolist():
        rows = np.flatnonzero(found.frame == frame)
        here = found.centre_m[rows, :2]
        live = [(key, *now) for key, now in last.items() if frame - now[0] <= patience]
        if live:
            ahead = np.array([place + (frame - then) * step for _, then, place, step in live])
            away = np.hypot(*np.moveaxis(ahead[:, None] - here, -1, 0))
            for one, two in zip(
                *linear_sum_assignment(np.minimum(away, 10 * reach_m)), strict=True
            ):
                if away[one, two] < reach_m:
                    ids[rows[two]] = live[one][0]
        for place, row in zip(here, rows.tolist(), strict=True):
            if ids[row] < 0:
                ids[row] = ids.max() + 1
                step = np.zeros(2)
            else:
                then, before, _ = last[int(ids[row])]
                step = (place - before) / (frame - then)
            last[int(ids[row])] = frame, place, step
    return replace(found, track_id=ids)


def published_tracks(root: Path, sequence: str, min_score: float = 2.0) -> LabelFile:
    """Tracks of every class from the PointRCNN detections of one KITTI sequence."""
    parts, taken = [], 0
    for name in ("Car", "Pedestrian", "Cyclist"):
        found = read_detections(root / f"pointrcnn_{name}" / f"{sequence}.txt")
        tracks = associated(found.take(found.score >= min_score))
        parts.append(replace(tracks, track_id=tracks.track_id + taken))
        taken += 1 + int(tracks.track_id.max(initial=-1))
    return LabelFile(in_order(parts), *NO_REGIONS)


def in_order(parts: Sequence[TrackedBoxes]) -> TrackedBoxes:
    """Several tables as one, by frame."""
    order = np.argsort(np.concatenate([part.frame for part in parts]), kind="stable")
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])[order]
        for field in fields(TrackedBoxes)
    }
    return TrackedBoxes(**columns)


def random_labels(rng: np.random.Generator, frames: int = 25) -> tuple[LabelFile, LabelFile]:
    """A sequence of crossing 2D boxes of every class, with regions that nobody labelled, and
    what was found of it. The 3D boxes stand apart along the road.
    """
    kinds = rng.integers(0, CLASSES.index("Tram"), 14)
    truth, found, regions = [], [], []
    for frame in range(frames):
        seen = rng.random(14) < 0.8
        left_top = rng.uniform(0, 250, (14, 2))
        box = np.concatenate([left_top, left_top + rng.uniform(15, 90, (14, 2))], axis=1)
        truth.append(_table(frame, np.flatnonzero(seen), kinds, box, rng))
        told = rng.random(14) < 0.75
        shaken = box + rng.normal(0, 4, box.shape)
        shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
        called = np.where(rng.random(14) < 0.8, np.where(kinds == 1, 0, kinds), 0)
        found.append(_table(frame, np.flatnonzero(told), called, shaken, rng))
        corner = rng.uniform(0, 250, 2)
        regions.append((frame, *corner, *(corner + rng.uniform(50, 120, 2))))
    area = np.array(regions)
    return (
        LabelFile(in_order(truth), area[:, 0].astype(np.int64), area[:, 1:]),
        LabelFile(in_order(found), *NO_REGIONS),
    )


def _table(frame: int, tracks: Int64s, kinds: Int64s, box: Float64s, rng: np.random.Generator
           ) -> TrackedBoxes:  # fmt: skip
    n = tracks.size
    place = np.column_stack([10.0 * tracks, np.full(n, 2.0), np.full(n, 0.5)])
    return TrackedBoxes(
        frame=np.full(n, frame), kind=kinds[tracks], track_id=tracks,
        occlusion=rng.integers(0, 4, n), truncation=rng.integers(0, 2, n).astype(float) *
        (rng.random(n) < 0.3), alpha_rad=np.zeros(n), box_px=box[tracks].round(2),
        centre_m=place + rng.normal(0, 0.1, (n, 3)), size_m=np.tile([4.0, 1.8, 1.5], (n, 1)),
        yaw_rad=rng.normal(0, 0.1, n), score=rng.random(n),
    )  # fmt: skip
