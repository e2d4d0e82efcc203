"""A small simulated street: drives with truth, and auto-labels whose errors are known.

Of each drive's tracks most are sure and nearly right, some are doubtful and off, some are of the
wrong class, some are of nothing, and some objects no auto-label tells of.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contracts.geometry import Box3D, Boxes
from contracts.labels import (
    EgoPose,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    Provenance,
    labels_bytes,
)
from models.evaluation.overlap import iou_3d
from offline.labels.formats.sequence import read_sequence
from tests.offline.datasets.drives import write_drive

FRAMES, PERIOD_NS, START_NS = 25, 100_000_000, 1_000_000_000
ORACLE = Provenance(source="oracle", made_by="tests")
AUTO = Provenance(source="auto", made_by="auto-labeller of tests", digest="ab" * 32)
SIZES_M = {"car": (4.4, 1.9, 1.6), "truck": (8.0, 2.5, 3.0), "pedestrian": (0.8, 0.7, 1.75)}
FATES = ("sure",) * 6 + ("doubtful",) * 3 + ("reclassed", "missed")


def write_street(root: Path, drives: int, seed: int = 0, tracks: int = 11) -> tuple[Path, Path]:
    """Folders `truth` and `auto`, each of as many drives."""
    for number in range(drives):
        rng = np.random.default_rng([seed, number])
        truth, auto = _drive(rng, tracks)
        name = f"clip-{number}"
        _write(root / "truth" / name, truth, ORACLE, number)
        _write(root / "auto" / name, auto, AUTO, number)
    return root / "truth", root / "auto"


def wrongness(labels: Path, truth: Path) -> tuple[float, float, float]:
    """Of labels against truth, all drives of the first: share of wrong boxes among those that are
    taught, share of true boxes that neither a taught nor an ignored box tells of, and the mean
    overlap of taught boxes that are right.
    """
    wrong = taught = lost = true = 0
    overlaps: list[float] = []
    for drive in sorted(labels.glob("*/labels")):
        pairs = zip(
            read_sequence(drive.parent).frames, read_sequence(truth / drive.parent.name).frames,
            strict=True,
        )  # fmt: skip
        for told, right in pairs:
            boxes, real = told.boxes(), right.boxes()
            kept, best = ~told.ignored(), _best(boxes, real)
            good = kept & (best >= 0.5)
            wrong, taught = wrong + int((kept & ~good).sum()), taught + int(kept.sum())
            covered = iou_3d(real, boxes).max(axis=1, initial=0.0) >= 0.25
            lost, true = lost + int((~covered).sum()), true + len(real)
            overlaps += best[good].tolist()
    return wrong / max(1, taught), lost / true, float(np.mean(overlaps))


def _best(boxes: Boxes, real: Boxes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    overlap = iou_3d(boxes, real)
    overlap[boxes.class_index[:, None] != real.class_index[None]] = 0.0
    return np.asarray(overlap.max(axis=1, initial=0.0))


def _drive(
    rng: np.random.Generator, tracks: int
) -> tuple[list[list[LabelledBox]], list[list[LabelledBox]]]:
    truth: list[list[LabelledBox]] = [[] for _ in range(FRAMES)]
    auto: list[list[LabelledBox]] = [[] for _ in range(FRAMES)]
    for track in range(tracks):
        fate = FATES[track % len(FATES)]
        kind = ("car", "car", "truck", "pedestrian")[int(rng.integers(4))]
        start = np.array([-50 + 9.0 * track, float(rng.choice([-14, -7, 7, 14]))])
        speed, yaw = rng.uniform(-8, 8), rng.uniform(-0.3, 0.3)
        off = rng.normal(0, 0.9, 2) + 0.6
        for frame in range(FRAMES):
            place = start + 0.1 * frame * speed * np.array([np.cos(yaw), np.sin(yaw)])
            truth[frame].append(_labelled(place, kind, yaw, track, 1.0))
            if fate == "missed":
                continue
            shift = rng.normal(0, 0.05, 2) + (off if fate == "doubtful" else 0.0)
            named = "truck" if fate == "reclassed" and kind == "car" else kind
            sure = {"sure": 0.99, "doubtful": 0.6, "reclassed": 0.65}[fate] + rng.normal(0, 0.004)
            auto[frame].append(_labelled(place + shift, named, yaw, track, min(0.999, sure)))
    for ghost in range(3):
        place = np.array([-40.0 + 30 * ghost, 28.0])
        for frame in range(5, 15):
            auto[frame].append(_labelled(place, "car", 0.0, 900 + ghost, 0.4 if ghost else 0.004))
    return truth, auto


def _labelled(
    place: np.ndarray[tuple[int], np.dtype[np.float64]], kind: str, yaw: float, track: int,
    sure: float,
) -> LabelledBox:  # fmt: skip
    size = SIZES_M[kind]
    box = Box3D(
        centre_m=(float(place[0]), float(place[1]), size[2] / 2), size_m=size, yaw_rad=yaw,
        class_name=kind, track_id=track, velocity_mps=(1.0, 0.0),
    )  # fmt: skip
    return LabelledBox(box=box, confidence=sure)


def _write(folder: Path, frames: list[list[LabelledBox]], said: Provenance, number: int) -> None:
    end = START_NS + FRAMES * PERIOD_NS
    write_drive(folder, (), START_NS - PERIOD_NS, end, drive=f"drive-{number}")
    for frame, boxes in enumerate(frames):
        mono_ns = START_NS + frame * PERIOD_NS
        record = FrameRecord(
            drive_id=f"drive-{number}", mono_ns=mono_ns, boxes=tuple(boxes), provenance=said,
            ego_pose=EgoPose(
                position_m=(2.0 * frame, 0.0, 0.0), orientation_xyzw=(0.0, 0.0, 0.0, 1.0)
            ),
        )  # fmt: skip
        (folder / f"labels/{mono_ns}.npz").write_bytes(labels_bytes(FrameLabels(record)))
