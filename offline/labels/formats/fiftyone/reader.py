"""A FiftyOne dataset that was written here, edited there or not, as labelled drives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import Box3D, Finite, Frozen
from contracts.labels import FrameLabels, LabelledBox, Provenance
from offline.labels.formats.coco import FlatBox
from offline.labels.formats.fiftyone.documents import SCENE
from offline.labels.formats.fiftyone.writer import SAMPLES
from offline.labels.formats.files import json_of, read_json, reason, validated
from offline.labels.formats.frame_head import FrameHead, frame_of
from offline.labels.formats.openlabel_axes import Loose
from offline.labels.formats.sequence import LabelSequence, LeftOut, in_order

_Three = tuple[Finite, Finite, Finite]
_SAME = 1e-6
_UPRIGHT_RAD = 1e-6


class _Group(Loose):
    name: str


class _Size(Loose):
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class _Detection(Loose):
    label: str
    bounding_box: tuple[Finite, ...] = ()
    location: _Three | None = None
    dimensions: _Three | None = None
    rotation: _Three | None = None
    index: int | None = None
    longtail: str | None = None


class _Detections(Loose):
    detections: tuple[_Detection, ...] = ()


class _Sample(Loose):
    group: _Group
    drive: str | None = None
    channel: str | None = None
    mono_ns: int | None = None
    frame_head: str | None = None
    metadata: dict[str, object] | None = None
    labels: _Detections | None = None

    def detections(self) -> tuple[_Detection, ...]:
        return self.labels.detections if self.labels else ()


class _Samples(Loose):
    samples: tuple[_Sample, ...] = Field(min_length=1)


class _Drawn(Frozen):
    """A box in a picture as it was written."""

    place: int
    label: str
    bounding_box: tuple[Finite, Finite, Finite, Finite]


@dataclass(slots=True)
class FiftyOneLabels:
    """What a dataset holds: drives, and boxes of pictures that tell no cuboid."""

    sequences: list[LabelSequence] = field(default_factory=list)
    flat: list[FlatBox] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def read_fiftyone(folder: Path, said_by: Provenance | None = None) -> FiftyOneLabels:
    """Raises `InputError` with file and sample, also for a dataset that was not written here:
    without its scenes nothing tells a cuboid, or a frame's time.

    Args:
        said_by: who changed or added cuboids; needed only where somebody did.
    """
    path = folder / SAMPLES
    samples = validated(_Samples, read_json(path), str(path)).samples
    found = FiftyOneLabels()
    frames: dict[str, dict[int, FrameLabels]] = {}
    for number, sample in enumerate(samples):
        if sample.group.name != SCENE:
            continue
        place = f"{path}: samples.{number}"
        frame = _frame(sample, said_by, place, found.left_out)
        record = frame.record
        drive = frames.setdefault(record.drive_id, {})
        if drive.setdefault(record.mono_ns, frame) is not frame:
            raise InputError(f"frame {record.mono_ns} is there twice", place)
    if not frames:
        raise InputError("no scene: this dataset was not written by Longtail", str(path))
    for name, drive in frames.items():
        try:
            found.sequences.append(in_order(drive.values()))
        except InputError as error:
            raise InputError(error.message, f"{path}: {name}: {error.place}") from None
    for number, sample in enumerate(samples):
        if sample.group.name != SCENE:
            found.flat += _flat(sample, frames, f"{path}: samples.{number}")
    return found


def _frame(
    sample: _Sample, said_by: Provenance | None, place: str, left_out: LeftOut
) -> FrameLabels:
    if sample.frame_head is None:
        raise InputError("a scene without frame_head was not written by Longtail", place)
    where = f"{place}: frame_head"
    head = validated(FrameHead, json_of(sample.frame_head, where), where)
    boxes = []
    for number, one in enumerate(sample.detections()):
        here = f"{place}: labels.detections.{number}"
        try:
            boxes.append(_solid(one, said_by, here, left_out))
        except ValidationError as error:
            why, at = reason(error)
            raise InputError(why, f"{here}: {at}" if at else here) from None
    return frame_of(head, tuple(boxes), place)


def _solid(
    one: _Detection, said_by: Provenance | None, place: str, left_out: LeftOut
) -> LabelledBox:
    if one.location is None or one.dimensions is None or one.rotation is None:
        raise InputError("a cuboid has location, dimensions and rotation", place)
    own = None
    if one.longtail is not None:
        own = validated(LabelledBox, json_of(one.longtail, place), f"{place}: longtail")
        box = own.box
        told = (*one.location, *one.dimensions, *one.rotation)
        was = (*box.centre_m, *box.size_m, 0.0, 0.0, box.yaw_rad)
        same = all(abs(a - b) <= _SAME for a, b in zip(told, was, strict=True))
        if same and (one.label, one.index) == (box.class_name, box.track_id):
            return own
    if said_by is None:
        raise InputError("was changed or added: say by whom (--made-by)", place)
    if max(map(abs, one.rotation[:2])) > _UPRIGHT_RAD:
        left_out.add("tilt of a cuboid")
    solid = Box3D(
        centre_m=one.location, size_m=one.dimensions, yaw_rad=one.rotation[2],
        class_name=one.label, track_id=one.index,
        velocity_mps=own.box.velocity_mps if own else None,
    )  # fmt: skip
    if own is None:
        return LabelledBox(box=solid, provenance=said_by)
    return own.model_copy(update={"box": solid, "confidence": 1.0, "provenance": said_by})


def _flat(
    sample: _Sample, frames: dict[str, dict[int, FrameLabels]], place: str
) -> list[FlatBox]:  # fmt: skip
    """Boxes of a picture that are not as they were written."""
    found = []
    for number, one in enumerate(sample.detections()):
        here = f"{place}: labels.detections.{number}"
        own = None
        if one.longtail is not None:
            own = validated(_Drawn, json_of(one.longtail, here), f"{here}: longtail")
        if len(one.bounding_box) != 4 or min(one.bounding_box[2:]) <= 0:
            raise InputError("a box has left, top, and a positive width and height", here)
        left, top, width, height = one.bounding_box
        if own is not None and own.label == one.label and all(
            abs(a - b) <= _SAME for a, b in zip(one.bounding_box, own.bounding_box, strict=True)
        ):  # fmt: skip
            continue
        if sample.drive is None or sample.mono_ns not in frames.get(sample.drive, {}):
            raise InputError("belongs to no frame of a scene", here)
        size = validated(_Size, sample.metadata or {}, f"{place}: metadata")
        box_px = (
            left * size.width, top * size.height,
            (left + width) * size.width, (top + height) * size.height,
        )  # fmt: skip
        channel = sample.channel or f"/camera/{sample.group.name}"
        found.append(
            FlatBox(sample.drive, sample.mono_ns, channel, one.label, box_px,
                    own.place if own else None)
        )  # fmt: skip
    return found
