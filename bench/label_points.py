"""Boxes made better: by the world alone on a real log, by points where there are any.

Argoverse 2, one log, five noised copies: 0.3 m of noise along each axis, 5 degrees of yaw, one
box in ten dropped; boxes before against after, each with the truth of its own object, boxes that
no track follows counted as they were. The log has two of its sweeps: what points add there is
measured in those two frames. Its sweeps are published deskewed: the check takes the motion into
them again and out, and looks how well the two lidars agree on walls. Its annotated vehicles stand
up to half a metre off their own points, on the near side: points cannot bring boxes closer to such
a truth, and must not take them away from it.

A made-up street gives points in all frames: the same noise, with points against without; and
tracks cut by gaps of 2 to 5 s, joined with looks against without. KITTI tracking 0000 has 30
sweeps and published detections: of vans, which the detector calls cars, and cyclists. Time is of
CPU and includes reading sweeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.figures import Figure, figure
from bench.points_measures import (
    LONGEST,
    Errors,
    cut,
    errors_of,
    joined_again,
    labelled,
    noised_errors,
    standing,
    stated_noise,
)
from bench.points_scene import Street, noised, street
from bench.points_sharpness import wall_disagreement_m
from contracts.geometry import Bools
from offline.labels.argoverse import ArgoverseLog, read_log, read_sweep
from offline.labels.auto.clip import Clip
from offline.labels.auto.kitti_clips import detection_files, read_clip
from offline.labels.auto.parameters import read_parameters
from offline.labels.auto.planar import placed
from offline.labels.auto.round_view import RoundView
from offline.labels.kitti import CLASSES, TrackedBoxes, read_labels
from offline.labels.points.appearance import Looks
from offline.labels.points.deskew import deskewed, skewed
from offline.labels.points.sweep import files_of

SEEDS = 5
_STREETS = 3
_SIGMA_M, _SIGMA_RAD = 0.3, float(np.radians(5))
_LEAST_INTERIOR = 20
_KITTI = "0000"


def run(recorded: Path | None) -> list[Figure]:
    """All figures; only those of the made-up street without recorded data."""
    figures = [*street_figures(), *join_figures()]
    if recorded is None:
        return figures
    log = read_log(next(each for each in sorted((recorded / "av2").iterdir()) if each.is_dir()))
    return [*argoverse_figures(log), *deskew_figures(log), *figures,
            *kitti_figures(recorded / "kitti_tracking")]  # fmt: skip


def argoverse_figures(log: ArgoverseLog, seeds: int = SEEDS) -> list[Figure]:
    """Boxes of the whole log, and those of the two frames with points."""
    truth = log.truth
    by_class = stated_noise(truth, _SIGMA_M, _SIGMA_RAD)
    stands = standing(truth, placed(log.world_SE2_level[truth.frame], truth.centre_m[:, :2]))
    vehicle = np.isin(truth.kind, [CLASSES.index(name) for name in ("Car", "Truck", "Bus")])
    pointed = vehicle & np.isin(truth.frame, list(log.sweep_files))
    pointed &= log.interior_points >= _LEAST_INTERIOR
    before, after, points = [], [], []
    for seed in range(seeds):
        found, kept = noised(truth, seed, _SIGMA_M, _SIGMA_RAD)
        clip = Clip(log.frames, found, RoundView(), log.world_SE2_level)
        before.append(noised_errors(truth, found, kept))
        after.append(errors_of(truth, labelled(clip, by_class)))
        points.append(errors_of(truth, labelled(replace(clip, sweeps=log), by_class)))
    were, are, with_points = (Errors.together(each) for each in (before, after, points))
    every = np.ones(len(truth), dtype=np.bool_)
    figures = []
    for name, rows in (("", every), (" of what stands", stands), (" of what moves", ~stands)):
        mask = np.tile(rows, seeds) & ~np.isnan(were.centre_m)
        goal = "" if name else "ratio <= 0.5"
        figures += _pair(f"Argoverse{name}", are.where_told(were), were, mask, "noised", goal)
    dropped = np.isnan(were.centre_m)
    figures += [
        figure("Argoverse: dropped boxes that were filled",
               100 * float((~np.isnan(are.centre_m[dropped])).mean()), "%"),
        figure("Argoverse, filled: centre error",
               float(np.nanmean(are.centre_m[dropped])), "m"),
        figure("Argoverse: boxes that no track follows",
               100 * float(np.isnan(are.centre_m[~dropped]).mean()), "%"),
    ]  # fmt: skip
    mask = np.tile(pointed, seeds)
    name = "Argoverse, vehicles in the frames with points"
    return [*figures, *_pair(name, with_points, are, mask, "without points", "ratio <= 1.05")]


def deskew_figures(log: ArgoverseLog) -> list[Figure]:
    """How far apart the log's two lidars see the same walls, before and after."""
    raw, clean = [], []
    for frame, path in log.sweep_files.items():
        sweep, stamp = read_sweep(path), int(log.stamp_ns[frame])
        taken = stamp + sweep.offset_ns
        still = sweep.laser < 32
        as_taken = skewed(sweep.xyz_m, taken, stamp, log.trajectory)
        again = deskewed(as_taken, taken, stamp, log.trajectory)
        moving = log.covered(frame)
        raw.append(wall_disagreement_m(as_taken[still & ~moving], as_taken[~still & ~moving]))
        clean.append(wall_disagreement_m(again[still & ~moving], again[~still & ~moving]))
    return [
        figure("Argoverse: walls, one lidar to the other, deskewed", float(np.mean(clean)) * 1e3,
               "mm", reference="with the motion in them",
               reference_value=float(np.mean(raw)) * 1e3, goal="ratio <= 0.7"),
    ]  # fmt: skip


def street_figures(streets: int = _STREETS) -> list[Figure]:
    """The made-up street with points in all frames."""
    parts: dict[str, list[Errors]] = {"before": [], "after": [], "points": []}
    stands, dropped = [], []
    spent = [0.0, 0.0]
    frames = 0
    for seed in range(streets):
        world = street(seed)
        by_class = stated_noise(world.truth, _SIGMA_M, _SIGMA_RAD)
        found, kept = noised(world.truth, seed, _SIGMA_M, _SIGMA_RAD)
        clip = Clip(world.frames, found, RoundView(), world.world_SE2_sensor)
        full = replace(clip, sweeps=world.sweeps)
        if not seed:
            labelled(full, by_class)
        plain, spent[0] = _timed(lambda: labelled(clip, by_class), spent[0])  # noqa: B023
        better, spent[1] = _timed(lambda: labelled(full, by_class), spent[1])  # noqa: B023
        frames += world.frames
        parts["before"].append(noised_errors(world.truth, found, kept))
        parts["after"].append(errors_of(world.truth, plain))
        parts["points"].append(errors_of(world.truth, better))
        stands.append(_stands(world))
        dropped.append(~np.isin(np.arange(len(world.truth)), kept))
    were, are, points = (Errors.together(parts[name]) for name in ("before", "after", "points"))
    still, gone = np.concatenate(stands), np.concatenate(dropped)
    figures = []
    for name, mask in (("what stands", still & ~gone), ("what moves", ~still & ~gone)):
        title = f"street, {name}"
        figures += _pair(title, points.where_told(were), are.where_told(were), mask,
                         "without points", "ratio <= 0.9")  # fmt: skip
    figures += _pair("street, filled", points, are, gone, "without points", "ratio <= 0.9")
    return [
        *figures,
        figure("street: CPU time a frame, 22 objects", 1e3 * spent[1] / frames, "ms",
               reference="without points", reference_value=1e3 * spent[0] / frames,
               goal="<= 40"),
    ]  # fmt: skip


def join_figures(streets: int = _STREETS) -> list[Figure]:
    """Tracks cut by gaps of 2 to 5 s."""
    right, wrong, count = [0, 0, 0], [0, 0, 0], 0
    for seed in range(streets):
        world = street(100 + seed, frames=110, standing=14, moving=14)
        parameters = stated_noise(world.truth, _SIGMA_M, _SIGMA_RAD)["Car"]
        found, kept = noised(world.truth, seed, _SIGMA_M, _SIGMA_RAD)
        cuts = cut(world.truth, seed)
        outside = cuts.kept[kept]
        found, kept = found.take(outside), kept[outside]
        count += len(cuts.gaps)
        far = parameters.linking.model_copy(update={"max_gap": LONGEST})
        reaching = parameters.model_copy(update={"linking": far})
        ways = ((parameters, None), (parameters, Looks(found, world.sweeps)), (reaching, None))
        for k, (each, looks) in enumerate(ways):
            told = joined_again(world.truth, found, kept, cuts, world.world_SE2_sensor, each, looks)
            right[k] += told[0]
            wrong[k] += told[1]
    return [
        figure("street: tracks joined over 2 to 5 s, with looks", 100 * right[1] / count, "%",
               reference="motion alone", reference_value=100 * right[0] / count, goal=">= 50"),
        figure("street: tracks that went over to another object, with looks", float(wrong[1]), "",
               reference="motion alone", reference_value=float(wrong[0]),
               goal=f"<= {wrong[0]}"),
        figure("street: tracks joined by motion alone, were it led on for 5 s",
               100 * right[2] / count, "%"),
        figure("street: tracks that went over to another object, likewise", float(wrong[2]), ""),
    ]  # fmt: skip


def kitti_figures(folder: Path) -> list[Figure]:
    """Published detections of the frames that have sweeps, with points against without."""
    sweeps = list(files_of(folder, _KITTI).values())
    calibration = folder / "calib" / f"{_KITTI}.txt"
    clip = read_clip(detection_files(folder, _KITTI), calibration, sweeps)
    frames = len(sweeps)
    clip = replace(clip, frames=frames, found=clip.found.take(clip.found.frame < frames))
    truth = read_labels(folder / "label_02" / f"{_KITTI}.txt").objects
    truth = truth.take(truth.frame < frames)
    # PointRCNN has no class for vans: it tells cars.
    vans = truth.kind == CLASSES.index("Van")
    truth = replace(truth, kind=np.where(vans, CLASSES.index("Car"), truth.kind))
    by_class = read_parameters()
    labelled(clip, by_class)
    better, spent = _timed(lambda: labelled(clip, by_class), 0.0)
    plain, first = _timed(lambda: labelled(replace(clip, sweeps=None), by_class), 0.0)
    are, points = errors_of(truth, plain), errors_of(truth, better)
    figures = []
    for name, kind in (("vans", "Car"), ("cyclists", "Cyclist")):
        mask = truth.kind == CLASSES.index(kind)
        figures += _pair(f"KITTI 0000, {name}", points, are, mask, "without points",
                         "ratio <= 1.05")  # fmt: skip
    return [
        *figures,
        figure("KITTI 0000: CPU time a frame with points", 1e3 * spent / frames, "ms",
               reference="without", reference_value=1e3 * first / frames, goal="<= 40"),
    ]  # fmt: skip


def _pair(
    name: str, new: Errors, old: Errors, mask: Bools, reference: str, goal: str
) -> list[Figure]:
    """Against noised boxes in space; points tell of the ground plan only."""
    both = mask & ~np.isnan(new.centre_m) & ~np.isnan(old.centre_m)
    flat = reference != "noised"
    one, two = (each.plane_m[both] if flat else each.centre_m[both] for each in (new, old))
    column = "place error" if flat else "centre error"
    turn, before = (np.degrees(each.heading_rad[both]) for each in (new, old))
    return [
        figure(f"{name}: {column}", float(one.mean()), "m", reference=reference,
               reference_value=float(two.mean()), goal=goal),
        figure(f"{name}: heading error", float(turn.mean()), "deg", reference=reference,
               reference_value=float(before.mean()), goal=goal),
    ]  # fmt: skip


def _stands(world: Street) -> Bools:
    pose = world.world_SE2_sensor[world.truth.frame]
    return standing(world.truth, placed(pose, world.truth.centre_m[:, :2]))


def _timed(make: Callable[[], TrackedBoxes], before: float) -> tuple[TrackedBoxes, float]:
    start = time.process_time()
    made = make()
    return made, before + time.process_time() - start
