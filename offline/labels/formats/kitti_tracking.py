"""Frame labels as KITTI tracking labels, and back.

    OUT/label_02/NAME.txt   17 columns, and the confidence as an 18th (`offline.labels.kitti`)
    OUT/calib/NAME.txt      the ego frame stands where KITTI has its lidar
    OUT/drives.json         NAME's drive, camera and the `mono_ns` of each frame

Two variants. With a camera: boxes in that camera's axes, only those that its picture shows, 2D
boxes by projection, ignored boxes as `DontCare`. Level: an identity camera in the ego's origin,
every box, no 2D boxes (all zero).

KITTI carries a cuboid (to a micrometre and microradian), a track, a confidence and a class; of
ours it has four itself, the rest go under words of `offline.labels.kitti`, which its own tools
pass over. It does not carry: velocity, visibility but in three steps that are not read back,
lidar points, provenance, light, ground, ego pose, tags, the cuboid of what is ignored. A box
without a track gets a number of its own, above all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import EGO_FRAME, Boxes, Int64s, checked_SE3, inverse_SE3, wrapped
from contracts.ids import parse_name
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance
from contracts.samples import CalibrationSample, Float64s
from offline.labels.formats.files import read_json, reason, validated, write_json, write_whole
from offline.labels.formats.openlabel_axes import Loose
from offline.labels.formats.projection import Shown, shown_in
from offline.labels.formats.sequence import LabelSequence, LeftOut
from offline.labels.kitti import (
    CAMERA_FRAME,
    CLASSES,
    OF_TAXONOMY,
    LabelFile,
    TrackedBoxes,
    label_text,
    read_labels,
)
from offline.labels.kitti_calibration import read_calibration

LABELS, CALIBRATION, DRIVES = "label_02", "calib", "drives.json"
_MAX_LABEL_BYTES = 64 * 1024**2
_TAKEN = frozenset({*OF_TAXONOMY.values(), "Van", "Person"})
"""The classes that the taxonomy knows: not Tram, nor Misc."""
_OPTICAL: Float64s = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
"""The camera's axes (right, down, ahead) from those of ISO 8855 (ahead, left, up)."""


class _Drive(Loose):
    drive_id: str
    camera: str | None = None
    taxonomy_version: int = 1
    mono_ns: tuple[int, ...] = Field(min_length=1)


class _Drives(Loose):
    drives: dict[str, _Drive]


def write_kitti(
    drives: Sequence[tuple[LabelSequence, CalibrationSample | None]], out: Path
) -> LeftOut:
    """Write drives, each with the camera in whose axes its boxes go, or None for level axes.

    Raises `InputError` for a camera that is tilted: KITTI's boxes have a yaw only.
    """
    left_out = LeftOut()
    (out / LABELS).mkdir(parents=True, exist_ok=True)
    (out / CALIBRATION).mkdir(exist_ok=True)
    index = {}
    for number, (sequence, camera) in enumerate(drives):
        name = f"{number:04d}"
        text = label_text(_label_file(sequence, camera, left_out))
        write_whole(out / LABELS / f"{name}.txt", text.encode())
        write_whole(out / CALIBRATION / f"{name}.txt", _calibration_text(camera).encode())
        index[name] = {
            "drive_id": sequence.drive_id, "camera": camera.channel if camera else None,
            "taxonomy_version": sequence.taxonomy.version, "mono_ns": list(sequence.instants()),
        }  # fmt: skip
    write_json(out / DRIVES, {"drives": index})
    return left_out


@dataclass(frozen=True, slots=True)
class _Row:
    frame: int
    labelled: LabelledBox
    shown: Shown | None


def _label_file(
    sequence: LabelSequence, camera: CalibrationSample | None, left_out: LeftOut
) -> LabelFile:
    rows, regions = [], []
    for number, frame in enumerate(sequence.frames):
        _count_losses(frame.record, left_out)
        for labelled in frame.record.boxes:
            shown = None if camera is None else shown_in(labelled.box, camera)
            if camera is not None and shown is None:
                left_out.add("box that the picture does not show")
            elif not labelled.ignored:
                rows.append(_Row(number, labelled, shown))
            elif shown is None:
                left_out.add("ignored box: level files have no region for it")
            else:
                regions.append((number, shown.box_px))
    columns = _columns(rows, sequence, camera_SE3_ego(camera))
    return LabelFile(
        columns,
        np.array([number for number, _ in regions], dtype=np.int64),
        np.array([box for _, box in regions], dtype=np.float64).reshape(-1, 4),
    )


def _count_losses(record: FrameRecord, left_out: LeftOut) -> None:
    boxes = record.boxes
    left_out.add("velocity", sum(b.box.velocity_mps is not None for b in boxes))
    left_out.add("provenance of a box", sum(b.provenance is not None for b in boxes))
    for name in ("light", "ground_grid", "ego_pose"):
        left_out.add(f"{name.split('_')[0]} of a frame", int(getattr(record, name) is not None))


def camera_SE3_ego(camera: CalibrationSample | None) -> Float64s:  # noqa: N802
    """From the ego to the camera in axes after ISO 8855 (`kitti.CAMERA_FRAME`), [4, 4]."""
    if camera is None:
        return np.eye(4)
    return np.asarray(_OPTICAL.T @ inverse_SE3(checked_SE3(camera.ego_SE3_camera)))


def _columns(rows: list[_Row], sequence: LabelSequence, camera_from_ego: Float64s) -> TrackedBoxes:
    boxes = FrameLabels(_all_of(rows, sequence)).boxes().moved(camera_from_ego, CAMERA_FRAME)
    boxes = replace(boxes, track_id=_numbered(boxes.track_id))
    x, y = boxes.centre_m[:, 0], boxes.centre_m[:, 1]
    turn = wrapped(-boxes.yaw_rad - np.pi / 2)
    return TrackedBoxes(
        frame=np.array([row.frame for row in rows], dtype=np.int64),
        kind=np.array([_kind(row.labelled) for row in rows], dtype=np.int64),
        track_id=boxes.track_id,
        occlusion=np.array([_occlusion(row.labelled) for row in rows], dtype=np.int64),
        truncation=np.array(
            [row.shown.truncation if row.shown else 0.0 for row in rows], dtype=np.float64
        ),
        alpha_rad=wrapped(turn - np.arctan2(-y, x)),
        box_px=np.array(
            [row.shown.box_px if row.shown else (0.0,) * 4 for row in rows], dtype=np.float64
        ).reshape(-1, 4),
        centre_m=boxes.centre_m, size_m=boxes.size_m, yaw_rad=boxes.yaw_rad,
        score=np.array([row.labelled.confidence for row in rows], dtype=np.float64),
    )  # fmt: skip


def _all_of(rows: list[_Row], sequence: LabelSequence) -> FrameRecord:
    return sequence.frames[0].record.model_copy(
        update={"boxes": tuple(row.labelled for row in rows), "ground_grid": None}
    )


def _numbered(track_id: Int64s) -> Int64s:
    """Boxes without a track get numbers above all others."""
    found = track_id.copy()
    without = np.flatnonzero(found < 0)
    found[without] = found.max(initial=-1) + 1 + np.arange(len(without))
    return found


def _kind(labelled: LabelledBox) -> int:
    return CLASSES.index(OF_TAXONOMY[labelled.box.class_name])


def _occlusion(labelled: LabelledBox) -> int:
    """KITTI's steps: 0 fully in sight, 1 partly, 2 largely occluded, 3 unknown."""
    if labelled.visibility is None:
        return 3
    return 0 if labelled.visibility >= 0.8 else 1 if labelled.visibility >= 0.4 else 2


def _calibration_text(camera: CalibrationSample | None) -> str:
    intrinsics = np.eye(3) if camera is None else camera.intrinsics
    projection = np.column_stack([intrinsics, np.zeros(3)])
    optical_from_ego = (_OPTICAL @ camera_SE3_ego(camera))[:3]
    matrices = {f"P{number}": projection for number in range(4)}
    matrices |= {"R0_rect": np.eye(3), "Tr_velo_to_cam": optical_from_ego}
    matrices |= {"Tr_imu_to_velo": np.eye(4)[:3]}
    return "".join(
        f"{name}: {' '.join(repr(value) for value in matrix.ravel().tolist())}\n"
        for name, matrix in matrices.items()
    )


def read_kitti(folder: Path, said_by: Provenance) -> tuple[list[LabelSequence], LeftOut]:
    """Labels of a folder that `write_kitti` wrote, perhaps edited since; `said_by` is named as
    who made them, for KITTI's files do not say.

    Raises `InputError` with `file:line`, also for KITTI's own folders: without `drives.json`
    nothing tells a frame's time, nor where the ego is.
    """
    index = validated(_Drives, read_json(folder / DRIVES), str(folder / DRIVES))
    left_out, found = LeftOut(), []
    for name, drive in index.drives.items():
        place = folder / LABELS / f"{parse_name(name, str(folder / DRIVES))}.txt"
        read = read_labels(_bounded(place))
        left_out.add("DontCare region", len(read.region_frame))
        calibration = read_calibration(_bounded(folder / CALIBRATION / f"{name}.txt"))
        ego_from_camera = inverse_SE3(calibration.camera_SE3_lidar)
        try:
            found.append(_sequence(drive, read.objects, ego_from_camera, said_by, left_out))
        except (InputError, ValidationError) as error:
            why, where = reason(error)
            raise InputError(why, f"{place}: {where}" if where else str(place)) from None
    return found, left_out


def _bounded(path: Path) -> Path:
    if path.is_file() and path.stat().st_size > _MAX_LABEL_BYTES:
        raise InputError(f"larger than {_MAX_LABEL_BYTES} bytes", str(path))
    return path


def _sequence(
    drive: _Drive, objects: TrackedBoxes, ego_from_camera: Float64s, said_by: Provenance,
    left_out: LeftOut,
) -> LabelSequence:  # fmt: skip
    if len(objects) and int(objects.frame.max()) >= len(drive.mono_ns):
        raise InputError(f"frame {objects.frame.max()} is after the last")
    known = np.array([CLASSES[kind] in _TAKEN for kind in objects.kind.tolist()], dtype=np.bool_)
    left_out.add("object of a class that is not in the taxonomy", int((~known).sum()))
    taken = objects.take(known)
    boxes: Boxes = taken.as_boxes().moved(ego_from_camera, EGO_FRAME)
    score = taken.score
    wrong = ~(np.isnan(score) | ((score >= 0) & (score <= 1)))
    if wrong.any():
        raise InputError(f"score {score[wrong][0]:g} is no probability")
    solids = boxes.as_records()
    frames = []
    for number, instant in enumerate(drive.mono_ns):
        here = np.flatnonzero(taken.frame == number).tolist()
        labelled = tuple(
            LabelledBox(
                box=solids[row], confidence=1.0 if np.isnan(score[row]) else float(score[row])
            )
            for row in here
        )
        record = FrameRecord(
            taxonomy_version=drive.taxonomy_version, drive_id=drive.drive_id, mono_ns=instant,
            boxes=labelled, provenance=said_by,
        )  # fmt: skip
        frames.append(FrameLabels(record))
    return LabelSequence(tuple(frames))
