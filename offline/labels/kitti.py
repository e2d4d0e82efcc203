"""KITTI's tracking labels, published detections in AB3DMOT's format, and calibration.

A label or result file has 17 columns divided by blanks: frame, track, class, truncation,
occlusion, alpha, 2D box (left, top, right, bottom, pixels), height, width, length, x, y, z of
the bottom's middle in the rectified camera (x right, y down, z ahead), rotation about y; results
have an 18th, the score. A detection file has 15 divided by commas: frame, class (1 pedestrian,
2 car, 3 cyclist), 2D box, score, the same seven values of the 3D box, alpha.

Inside, boxes are in `CAMERA_FRAME`: the same camera with axes after ISO 8855 (x ahead, y left,
z up), centres in the boxes' middle, yaw to the left.
(Geiger et al. 2012, devkit_tracking; Weng et al. 2020.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Bools, Boxes, Int64s, Taxonomy, wrapped
from contracts.samples import Float64s

CAMERA_FRAME = "camera"
CLASSES = (
    "Car", "Van", "Truck", "Pedestrian", "Person", "Cyclist", "Tram", "Misc",
    "Bus", "Motorcycle", "Animal", "Debris", "RoadWorker",
)  # fmt: skip
"""KITTI's eight, then what other sources have beside them; files may name any of them."""
DONT_CARE = "DontCare"
_ALIASES = {"Person_sitting": "Person"}
_DETECTED = {1: "Pedestrian", 2: "Car", 3: "Cyclist"}
# What the taxonomy has no word for (Tram, Misc) has no place here.
_IN_TAXONOMY = {
    "Car": "car", "Van": "car", "Truck": "truck", "Pedestrian": "pedestrian",
    "Person": "pedestrian", "Cyclist": "cyclist", "Bus": "bus", "Motorcycle": "motorcycle",
    "Animal": "animal", "Debris": "debris", "RoadWorker": "road_worker",
}  # fmt: skip
OF_TAXONOMY = {
    "car": "Car", "truck": "Truck", "bus": "Bus", "pedestrian": "Pedestrian",
    "cyclist": "Cyclist", "motorcycle": "Motorcycle", "animal": "Animal", "debris": "Debris",
    "road_worker": "RoadWorker",
}  # fmt: skip
"""Which of `CLASSES` stands for each class of the taxonomy's version 1."""


@dataclass(frozen=True, slots=True)
class TrackedBoxes:
    """Columns over n boxes of one sequence, in the order of their frames.

    `frame`, `kind` (into `CLASSES`), `track_id` (-1: none), `occlusion` int64 [n]; `centre_m`,
    `size_m` (length, width, height) float64 [n, 3] and `yaw_rad` [n] in `CAMERA_FRAME`;
    `box_px` float64 [n, 4]: left, top, right, bottom; `alpha_rad`, `truncation`, `score` [n],
    score NaN where there is none.
    """

    frame: Int64s
    kind: Int64s
    track_id: Int64s
    occlusion: Int64s
    truncation: Float64s
    alpha_rad: Float64s
    box_px: Float64s
    centre_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s
    score: Float64s

    def __post_init__(self) -> None:
        n = self.frame.shape[0]
        widths = {"box_px": 4, "centre_m": 3, "size_m": 3}
        for name in (field.name for field in fields(self)):
            wanted = (n, widths[name]) if name in widths else (n,)
            found = getattr(self, name).shape
            if found != wanted:
                raise InputError(f"has shape {list(found)}, expected {list(wanted)}", name)
        if (np.diff(self.frame) < 0).any():
            raise InputError("the rows are not in the order of their frames", "frame")

    def __len__(self) -> int:
        return int(self.frame.shape[0])

    def take(self, rows: Int64s | Bools) -> TrackedBoxes:
        """The chosen rows, by mask or by indices that keep the order."""
        chosen = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return replace(self, **chosen)

    def of_classes(self, names: Sequence[str]) -> TrackedBoxes:
        """Only the rows of some of `CLASSES`."""
        return self.take(np.isin(self.kind, [CLASSES.index(name) for name in names]))

    def as_boxes(self, taxonomy: Taxonomy = TAXONOMY) -> Boxes:
        """The geometry. Raises `InputError` where a class is not in the taxonomy."""
        known = [_IN_TAXONOMY.get(name) for name in CLASSES]
        index = np.array([-1 if name is None else taxonomy.index(name) for name in known])
        class_index = index[self.kind]
        if (class_index < 0).any():
            lost = CLASSES[int(self.kind[np.argmin(class_index)])]
            raise InputError(f"{lost} is no class of taxonomy version {taxonomy.version}")
        return Boxes(
            self.centre_m, self.size_m, self.yaw_rad, np.full((len(self), 2), np.nan),
            class_index, self.track_id, CAMERA_FRAME,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelFile:
    """Objects, and regions where nobody labelled: `region_frame` int64 [k], `region_px` float64
    [k, 4].
    """

    objects: TrackedBoxes
    region_frame: Int64s
    region_px: Float64s


_Row = tuple[int, int, int, int, float, float, tuple[float, ...], tuple[float, ...], float]
"""Frame, kind, track, occlusion, truncation, alpha, 2D box, 3D box as in the file, score."""


def read_labels(path: Path) -> LabelFile:
    """Labels, or results with scores. Raises `InputError` with `file:line`."""
    rows: list[_Row] = []
    regions: list[tuple[float, ...]] = []
    seen: set[tuple[int, int]] = set()

    def read(words: list[str]) -> None:
        if len(words) not in {17, 18}:
            raise InputError(f"has {len(words)} columns, expected 17, or 18 with a score")
        frame, track, kind = _frame(words[0]), _whole(words[1]), words[2]
        values = [_number(word) for word in words[3:]]
        box = _checked_px(values[3:7])
        if kind == DONT_CARE:
            regions.append((frame, *box))
            return
        if track < 0 or (frame, track) in seen:
            why = "is no track" if track < 0 else f"is twice in frame {frame}"
            raise InputError(f"track {track} {why}")
        seen.add((frame, track))
        score = values[14] if len(words) == 18 else float("nan")
        rows.append((
            frame, _kind(kind), track, _whole(words[4]), values[0], values[2], box,
            _checked_box(values[7:14]), score,
        ))  # fmt: skip

    _each_line(path, None, read)
    table = np.array(sorted(regions, key=lambda row: row[0]), dtype=np.float64).reshape(-1, 5)
    return LabelFile(_table(rows), table[:, 0].astype(np.int64), table[:, 1:])


def read_detections(path: Path) -> TrackedBoxes:
    """Detections, which have no track. Raises `InputError` with `file:line`."""
    rows: list[_Row] = []

    def read(words: list[str]) -> None:
        if len(words) != 15:
            raise InputError(f"has {len(words)} columns, expected 15")
        kind = _DETECTED.get(_whole(words[1]))
        if kind is None:
            raise InputError(f"class {words[1]} is none of {sorted(_DETECTED)}")
        values = [_number(word) for word in words[2:]]
        rows.append((
            _frame(words[0]), CLASSES.index(kind), -1, 0, 0.0, values[12],
            _checked_px(values[:4]), _checked_box(values[5:12]), values[4],
        ))  # fmt: skip

    _each_line(path, ",", read)
    return _table(rows)


def label_text(found: LabelFile) -> str:
    """A label or result file: with scores where every object has one."""
    objects = found.objects
    scored = len(objects) > 0 and not np.isnan(objects.score).any()
    lines = [
        (frame, f"{frame} -1 {DONT_CARE} -1 -1 -10 {_words(box)} "
                "-1000 -1000 -1000 -10 -1 -1 -1")
        for frame, box in zip(found.region_frame.tolist(), found.region_px.tolist(), strict=True)
    ]  # fmt: skip
    for row, solid in enumerate(_solids(objects)):
        frame = int(objects.frame[row])
        words = [
            f"{frame} {objects.track_id[row]} {CLASSES[objects.kind[row]]}",
            f"{objects.truncation[row]:g} {objects.occlusion[row]}",
            _words([objects.alpha_rad[row], *objects.box_px[row], *solid]),
        ]
        if scored:
            words.append(_words([objects.score[row]]))
        lines.append((frame, " ".join(words)))
    lines.sort(key=lambda line: line[0])
    return "".join(f"{text}\n" for _, text in lines)


def detection_text(found: TrackedBoxes) -> str:
    """A detection file. Raises `InputError` for a class that the format has no number for."""
    numbers = {CLASSES.index(name): number for number, name in _DETECTED.items()}
    lines = []
    for row, solid in enumerate(_solids(found)):
        if int(found.kind[row]) not in numbers:
            raise InputError(f"detection files have no number for {CLASSES[found.kind[row]]}")
        values = [*found.box_px[row], found.score[row], *solid, found.alpha_rad[row]]
        words = ",".join(f"{value:.6f}" for value in values)
        lines.append(f"{found.frame[row]},{numbers[int(found.kind[row])]},{words}\n")
    return "".join(lines)


def joined(parts: Sequence[TrackedBoxes]) -> TrackedBoxes:
    """One table after the other; frames must rise."""
    every = [_table([]), *parts]
    return TrackedBoxes(
        *(np.concatenate([getattr(part, f.name) for part in every]) for f in fields(TrackedBoxes))
    )


def _each_line(path: Path, divider: str | None, read: Callable[[list[str]], None]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            read(line.split(divider))
        except InputError as error:
            raise InputError(error.message, f"{path}:{number}") from None


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise InputError(f"{word!r} is no number") from None
    if not math.isfinite(value):
        raise InputError(f"{word!r} is not finite")
    return value


def _whole(word: str) -> int:
    value = _number(word)
    if value != int(value) or abs(value) >= 2**53:
        raise InputError(f"{word!r} is no whole number")
    return int(value)


def _frame(word: str) -> int:
    frame = _whole(word)
    if frame < 0:
        raise InputError(f"frame {frame} lies before the first")
    return frame


def _kind(name: str) -> int:
    name = _ALIASES.get(name, name)
    if name not in CLASSES:
        raise InputError(f"{name!r} is none of {', '.join((*CLASSES, DONT_CARE))}")
    return CLASSES.index(name)


def _checked_px(box: Sequence[float]) -> tuple[float, ...]:
    if box[2] < box[0] or box[3] < box[1]:
        raise InputError("the 2D box ends before it begins")
    return tuple(box)


def _checked_box(solid: Sequence[float]) -> tuple[float, ...]:
    if min(solid[:3]) <= 0:
        raise InputError("a 3D box needs a positive height, width and length")
    return tuple(solid)


def _table(rows: list[_Row]) -> TrackedBoxes:
    rows = sorted(rows, key=lambda row: row[0])
    whole = np.array([row[:4] for row in rows], dtype=np.int64).reshape(-1, 4)
    loose = np.array([(row[4], row[5], row[8]) for row in rows], dtype=np.float64).reshape(-1, 3)
    box_px = np.array([row[6] for row in rows], dtype=np.float64).reshape(-1, 4)
    solid = np.array([row[7] for row in rows], dtype=np.float64).reshape(-1, 7)
    height, x, y, z = solid[:, 0], solid[:, 3], solid[:, 4], solid[:, 5]
    return TrackedBoxes(
        frame=whole[:, 0], kind=whole[:, 1], track_id=whole[:, 2], occlusion=whole[:, 3],
        truncation=loose[:, 0], alpha_rad=loose[:, 1], box_px=box_px, score=loose[:, 2],
        centre_m=np.column_stack([z, -x, height / 2 - y]), size_m=solid[:, [2, 1, 0]],
        yaw_rad=wrapped(-solid[:, 6] - np.pi / 2),
    )  # fmt: skip


def _solids(found: TrackedBoxes) -> Float64s:
    """Height, width, length, x, y, z and rotation as the files have them: float64 [n, 7]."""
    ahead, left, up = found.centre_m.T
    height = found.size_m[:, 2]
    turn = wrapped(-found.yaw_rad - np.pi / 2)
    return np.column_stack([found.size_m[:, ::-1], -left, height / 2 - up, ahead, turn])


def _words(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6f}" for value in values)
