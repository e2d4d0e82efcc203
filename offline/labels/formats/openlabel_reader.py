"""OpenLABEL files back to frame labels: ours, and other tools' cuboids with one yaw.

Of a foreign file it takes frames with a `timestamp` in whole nanoseconds, cuboids of 9 or 10
values in any coordinate system that leads to the ego's, and our attributes where they are told.
A cuboid that is tilted, a class that is not in the taxonomy, or a missing provenance is refused
with its place: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import Box3D, Finite, SE3_of_quaternion, apply_SE3, yaw_of
from contracts.labels import EgoPose, FrameLabels, LabelledBox, Provenance
from contracts.samples import Float64s
from kernels.clip.encoding import quaternion_of
from offline.labels.formats.files import read_json, reason, validated
from offline.labels.formats.frame_head import FrameHead, frame_of
from offline.labels.formats.openlabel import EGO, EXTENSION
from offline.labels.formats.openlabel_axes import (
    CoordinateSystem,
    Loose,
    Transform,
    between,
    euler_rotation,
)
from offline.labels.formats.sequence import LabelSequence, in_order

_TILT = 1e-3
_Values = Annotated[tuple[Finite, ...], Field(min_length=9, max_length=10)]


class _Num(Loose):
    name: str = ""
    val: Finite


class _Text(Loose):
    name: str = ""
    val: str


class _Flag(Loose):
    name: str = ""
    val: bool


class _Vector(Loose):
    name: str = ""
    val: tuple[float | str, ...]


class _Attributes(Loose):
    num: tuple[_Num, ...] = ()
    text: tuple[_Text, ...] = ()
    boolean: tuple[_Flag, ...] = ()
    vec: tuple[_Vector, ...] = ()

    def named(self) -> dict[str, Any]:
        every: list[_Num | _Text | _Flag | _Vector] = []
        for listed in (self.num, self.text, self.boolean, self.vec):
            every += listed
        return {each.name: each.val for each in every}


class _Cuboid(Loose):
    val: _Values | None
    coordinate_system: str | None = None
    attributes: _Attributes = _Attributes()


class _Data(Loose):
    cuboid: tuple[_Cuboid, ...] = ()


class _Seen(Loose):
    object_data: _Data = _Data()


class _Properties(Loose):
    timestamp: str | float | None = None
    transforms: dict[str, Transform] = Field(default_factory=dict)
    longtail: dict[str, Any] | None = Field(None, alias=EXTENSION)


class _Frame(Loose):
    frame_properties: _Properties = _Properties()
    objects: dict[str, _Seen] = Field(default_factory=dict)


class _Object(Loose):
    name: str
    type: str
    coordinate_system: str | None = None


class _Metadata(Loose):
    schema_version: Literal["1.0.0"]
    name: str = ""


class _OpenLabel(Loose):
    metadata: _Metadata
    coordinate_systems: dict[str, CoordinateSystem] = Field(default_factory=dict)
    objects: dict[str, _Object] = Field(default_factory=dict)
    frames: dict[str, _Frame] = Field(default_factory=dict)


class _File(Loose):
    openlabel: _OpenLabel


def read_openlabel(
    path: Path, said_by: Provenance | None = None, classes: Mapping[str, str] | None = None
) -> LabelSequence:
    """The labels of a file.

    Args:
        said_by: who is to be named for labels that do not say it themselves.
        classes: our class by the file's own word for it; its words are ours where None.

    Raises `InputError` with the place in the file.
    """
    found = validated(_File, read_json(path), str(path)).openlabel
    if not found.frames:
        raise InputError("no frame is told", f"{path}: openlabel.frames")
    reader = _Reader(found, said_by, classes or {}, str(path))
    return in_order(reader.frame(number) for number in found.frames)


class _Reader:
    def __init__(
        self, found: _OpenLabel, said_by: Provenance | None, classes: Mapping[str, str], path: str
    ) -> None:
        self._found, self._said_by, self._classes, self._path = found, said_by, classes, path

    def frame(self, number: str) -> FrameLabels:
        frame, place = self._found.frames[number], f"{self._path}: frames.{number}"
        head = self._head(frame, place)
        boxes = []
        for uid, seen in frame.objects.items():
            if uid not in self._found.objects:
                raise InputError("no such object is declared", f"{place}.objects.{uid}")
            for cuboid in seen.object_data.cuboid:
                if cuboid.val is None:  # the standard's word for "not visible here"
                    continue
                try:
                    boxes.append(self._box(uid, cuboid, frame, head))
                except (InputError, ValidationError) as error:
                    why, where = reason(error)
                    raise InputError(why, f"{place}.objects.{uid} {where}".rstrip()) from None
        return frame_of(head, tuple(boxes), place)

    def _head(self, frame: _Frame, place: str) -> FrameHead:
        properties = frame.frame_properties
        told = dict(properties.longtail or {})
        if not told:
            if self._said_by is None:
                raise InputError("does not say who made these labels: name them", place)
            told = {
                "drive_id": self._found.metadata.name or Path(self._path).stem,
                "provenance": self._said_by.model_dump(),
            }
        told["mono_ns"] = _instant(properties.timestamp, place)
        head = validated(FrameHead, told, f"{place}.frame_properties.{EXTENSION}")
        try:
            return head.model_copy(update={"ego_pose": self._pose(properties)})
        except (InputError, ValidationError) as error:
            raise InputError(reason(error)[0], f"{place}.frame_properties.transforms") from None

    def _pose(self, properties: _Properties) -> EgoPose | None:
        world = self._found.coordinate_systems.get(EGO, CoordinateSystem()).parent
        transforms = list(properties.transforms.values())
        if not world or not any(EGO in (each.src, each.dst) for each in transforms):
            return None
        for each in transforms:
            told = each.transform_src_to_dst
            if (each.src, each.dst) == (EGO, world) and told.quaternion and told.translation:
                return EgoPose(position_m=told.translation, orientation_xyzw=told.quaternion)
        world_SE3_ego = between(EGO, world, self._found.coordinate_systems, transforms)
        return EgoPose(
            position_m=tuple(world_SE3_ego[:3, 3].tolist()),
            orientation_xyzw=tuple(quaternion_of(world_SE3_ego[:3, :3])),
        )

    def _box(self, uid: str, cuboid: _Cuboid, frame: _Frame, head: FrameHead) -> LabelledBox:
        kind = self._found.objects[uid]
        told = cuboid.attributes.named()
        centre, yaw, size = _geometry(cuboid.val or ())
        velocity = told.get("velocity_mps")
        system = cuboid.coordinate_system or kind.coordinate_system or EGO
        if system != EGO:
            transforms = list(frame.frame_properties.transforms.values())
            moved = between(system, EGO, self._found.coordinate_systems, transforms)
            turn = _yaw_only(moved[:3, :3])
            centre = tuple(apply_SE3(moved, np.array([centre]))[0].tolist())
            yaw += turn
            if velocity is not None:
                velocity = tuple((moved[:2, :2] @ np.array(velocity, np.float64)).tolist())
        name = told.get("class_name", kind.type)
        box = Box3D.model_validate({
            "centre_m": centre, "size_m": size, "yaw_rad": yaw,
            "class_name": self._classes.get(name, name), "velocity_mps": velocity,
            "track_id": int(uid) if uid.isdecimal() else None,
        })  # fmt: skip
        points = told.get("points")
        return LabelledBox.model_validate({
            "box": box, "confidence": told.get("confidence", 1.0),
            "visibility": told.get("visibility"), "ignored": told.get("ignored", False),
            "points": None if points is None else int(points),
            "provenance": _own_provenance(told, head.provenance),
        })  # fmt: skip


def _own_provenance(told: Mapping[str, Any], frame_s: Provenance) -> Provenance | None:
    """Who said this box; None where it is who said the frame."""
    if "source" not in told and "made_by" not in told:
        return None
    names = ("source", "made_by", "digest")
    own = Provenance.model_validate({name: told[name] for name in names if name in told})
    return None if own == frame_s else own


def _geometry(
    values: tuple[float, ...],
) -> tuple[tuple[float, ...], float, tuple[float, ...]]:
    """Centre, yaw and size of a cuboid's 9 or 10 values."""
    if len(values) == 10:
        turn = SE3_of_quaternion(np.zeros(3), np.array(values[3:7]))[:3, :3]
        return values[:3], _yaw_only(turn), values[7:]
    if values[3] == 0 and values[4] == 0:
        return values[:3], values[5], values[6:]
    return values[:3], _yaw_only(euler_rotation(values[3:6])), values[6:]


def _yaw_only(turn: Float64s) -> float:
    if abs(turn[2, 2] - 1.0) > _TILT:
        raise InputError("boxes have a yaw only: this one is tilted")
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return yaw_of(matrix)


def _instant(timestamp: str | float | None, place: str) -> int:
    if isinstance(timestamp, str) and timestamp.isdecimal() and len(timestamp) < 20:
        return int(timestamp)
    if isinstance(timestamp, float) and timestamp.is_integer() and 0 <= timestamp < 2**53:
        return int(timestamp)
    raise InputError(
        f"whole nanoseconds are expected, not {timestamp!r}", f"{place}.frame_properties.timestamp"
    )
