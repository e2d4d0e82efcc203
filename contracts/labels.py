"""What is told of one frame: boxes, ground, light, and who said so.

A label file is an npz: the record as JSON bytes (`labels`) and, where the ground is labelled,
its raster (`ground`, uint8). No pickle is read or written. The same labels give the same bytes.

What is not known is said so, and is never background: a box that nobody can judge has
`ignored`, a ground cell holds `UNKNOWN`, an unlabelled ground or light is None. A model learns
nothing from these and is not measured on them.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from contracts.errors import CorruptError, InputError
from contracts.geometry import (
    EGO_FRAME,
    BevGrid,
    Bools,
    Box3D,
    Boxes,
    Finite,
    Frozen,
    SE3_of_quaternion,
    boxes_of,
    taxonomy_of,
)
from contracts.ids import Sha256Hex
from contracts.samples import Float64s

LightState = Literal["none", "green", "amber", "red"]
LIGHT_STATES: tuple[LightState, ...] = get_args(LightState)
"""Of the light that the ego's route obeys next; `none` when there is no such light in sight."""

GROUND_LAYERS = ("drivable", "lane")
"""`drivable` is ground on which a vehicle may drive, `lane` what a lane's centre line covers."""
UNKNOWN = 255
_NPZ_DATE = (1980, 1, 1, 0, 0, 0)
_MAX_FILE_BYTES = 256 * 1024**2

U8s = NDArray[np.uint8]


class Provenance(Frozen):
    """Who said it: `made_by` names the model, person or simulator; `digest` its content."""

    source: Literal["oracle", "human", "auto", "consensus", "recording"]
    made_by: str = Field(min_length=1, max_length=200)
    digest: Sha256Hex | None = None


class LabelledBox(Frozen):
    """A box with what is known about it.

    `confidence` is the calibrated probability that the box is right, 1 where it is truth;
    `visibility` the share of the object in sight; `points` how many lidar points lie in it.
    `provenance` overrides the frame's.
    """

    box: Box3D
    confidence: Finite = Field(1.0, ge=0, le=1)
    visibility: Finite | None = Field(None, ge=0, le=1)
    points: int | None = Field(None, ge=0)
    ignored: bool = False
    provenance: Provenance | None = None


class EgoPose(Frozen):
    """Where the ego frame is in the drive's world frame, as a `PoseSample` has it."""

    position_m: tuple[Finite, Finite, Finite]
    orientation_xyzw: tuple[Finite, Finite, Finite, Finite]

    @model_validator(mode="after")
    def _is_a_rotation(self) -> EgoPose:
        length = math.hypot(*self.orientation_xyzw)
        if not abs(length - 1.0) < 1e-3:
            raise ValueError(f"orientation_xyzw: a rotation has length 1, not {length:.4g}")
        return self

    def world_SE3_ego(self) -> Float64s:  # noqa: N802
        """The pose as a transform, float64 [4, 4]."""
        return SE3_of_quaternion(np.array(self.position_m), np.array(self.orientation_xyzw))


class FrameRecord(Frozen):
    """The labels of one frame, save the ground's raster; boxes are in the ego frame.

    `ego_pose` ties the frames of a drive together: tracks can be followed only where it is told.
    `tags` tell slices: weather, tod, region, scenario.
    """

    schema_version: Literal[1] = 1
    taxonomy_version: int = Field(1, ge=1)
    drive_id: str = Field(min_length=1, max_length=200)
    mono_ns: int = Field(ge=0)
    boxes: tuple[LabelledBox, ...] = ()
    light: LightState | None = None
    ground_grid: BevGrid | None = None
    ego_pose: EgoPose | None = None
    provenance: Provenance
    tags: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _boxes_are_of_the_taxonomy(self) -> FrameRecord:
        known = set(taxonomy_of(self.taxonomy_version).names)
        for number, labelled in enumerate(self.boxes):
            if labelled.box.class_name not in known:
                raise ValueError(f"boxes.{number}: unknown class {labelled.box.class_name!r}")
            if labelled.box.frame != EGO_FRAME:
                raise ValueError(f"boxes.{number}: frame {labelled.box.frame!r}, expected ego")
        return self


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """A record with its arrays: `ground` uint8 [2, rows, columns], a layer each of
    `GROUND_LAYERS`, holding 0, 1 or `UNKNOWN`; None where the ground is not labelled.
    """

    record: FrameRecord
    ground: U8s | None = None

    def __post_init__(self) -> None:
        grid = self.record.ground_grid
        if (grid is None) != (self.ground is None):
            raise InputError("the ground's raster and its grid come together", "ground")
        if grid is None or self.ground is None:
            return
        shape = (len(GROUND_LAYERS), grid.rows, grid.columns)
        if self.ground.dtype != np.uint8 or self.ground.shape != shape:
            found = f"{self.ground.dtype} {list(self.ground.shape)}"
            raise InputError(f"must be uint8 {list(shape)}, is {found}", "ground")
        if not np.isin(self.ground, (0, 1, UNKNOWN)).all():
            raise InputError(f"holds 0, 1 and {UNKNOWN} only", "ground")

    def boxes(self) -> Boxes:
        """All boxes as columns, the ignored ones included."""
        taxonomy = taxonomy_of(self.record.taxonomy_version)
        return boxes_of((labelled.box for labelled in self.record.boxes), taxonomy)

    def ignored(self) -> Bools:
        """Which boxes nobody is to learn from, bool [n]."""
        return np.array([labelled.ignored for labelled in self.record.boxes], dtype=np.bool_)


def labels_bytes(labels: FrameLabels) -> bytes:
    """The label file's content."""
    arrays = {"labels": np.frombuffer(labels.record.model_dump_json().encode(), np.uint8)}
    if labels.ground is not None:
        arrays["ground"] = labels.ground
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            # A fixed date, so that the same labels give the same bytes.
            entry = zipfile.ZipInfo(f"{name}.npy", _NPZ_DATE)
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def read_labels(path: Path) -> FrameLabels:
    """Read a label file; see `labels_from`."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"larger than {_MAX_FILE_BYTES} bytes", str(path))
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no labels can be read here: {error.strerror}", str(path)) from error
    return labels_from(content, str(path))


def labels_from(content: bytes, place: str) -> FrameLabels:
    """Labels of a file's content.

    Raises `CorruptError` when it is no such archive, `InputError` when it breaks a rule.
    """
    try:
        arrays = _arrays(content, place)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptError(f"this is no label file: {error}", place) from error
    try:
        record = FrameRecord.model_validate_json(arrays["labels"].tobytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{place}: {where}" if where else place) from error
    return FrameLabels(record, arrays.get("ground"))


def _arrays(content: bytes, place: str) -> dict[str, U8s]:
    """The file's arrays by name, no larger than a label file may be."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if "labels" not in entries or set(entries) - {"labels", "ground"}:
            raise InputError(f"holds {sorted(entries)}, expected labels and perhaps ground", place)
        if sum(entry.file_size for entry in entries.values()) > _MAX_FILE_BYTES:
            raise InputError(f"unpacks to more than {_MAX_FILE_BYTES} bytes", place)
        arrays = {}
        for name, entry in entries.items():
            unpacked = io.BytesIO(archive.read(entry))
            array = np.lib.format.read_array(unpacked, allow_pickle=False)
            if array.dtype != np.uint8:
                raise InputError(f"must be uint8, is {array.dtype}", f"{place}: {name}")
            arrays[name] = array
    return arrays
