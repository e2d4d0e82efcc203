"""Frame labels as COCO detection JSON: a 2D box for each cuboid in each picture that shows it.

Nothing is lost: a `longtail` field beside `bbox` holds the whole labelled box, and one at the
file's end what else is told of each frame, with the boxes that no picture shows. `iscrowd` is 1
where a box is ignored, which is what COCO's measures make of it.

What an annotation tool may change is taken back: a category (a new class), a deletion (of all of
a box's annotations). A `bbox` that was moved, or drawn where there was none, tells no cuboid: it
comes back as a `FlatBox`, and the cuboid stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite, taxonomy_of
from contracts.labels import FrameLabels, LabelledBox, Provenance
from offline.labels.formats.cameras import Cameras, short_name
from offline.labels.formats.files import read_json, validated
from offline.labels.formats.frame_head import FrameHead, frame_of, head_of
from offline.labels.formats.openlabel_axes import Loose
from offline.labels.formats.projection import Px, shown_in
from offline.labels.formats.sequence import LabelSequence, in_order

_SAME_PX = 0.05
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pictured:
    """A picture's file: which camera took it, and at which labelled instant it is shown."""

    channel: str
    instant_ns: int
    file_name: str


@dataclass(frozen=True, slots=True)
class PicturedDrive:
    """A drive's labels with its cameras and the pictures that lie in files."""

    sequence: LabelSequence
    cameras: Cameras
    pictures: Sequence[Pictured]


@dataclass(frozen=True, slots=True)
class FlatBox:
    """A 2D box that somebody drew or moved: `place` is the cuboid's in its frame, None where
    there is none.
    """

    drive_id: str
    mono_ns: int
    channel: str
    class_name: str
    box_px: Px
    place: int | None


@dataclass(frozen=True, slots=True)
class CocoLabels:
    """What a file holds: cuboids, and 2D boxes without one."""

    sequences: tuple[LabelSequence, ...]
    flat: tuple[FlatBox, ...]


@dataclass(slots=True)
class _Writing:
    images: list[Json] = field(default_factory=list)
    annotations: list[Json] = field(default_factory=list)
    frames: list[Json] = field(default_factory=list)


def coco_document(drives: Sequence[PicturedDrive]) -> Json:
    """The file's content. Raises `InputError` for drives of different taxonomies."""
    versions = {drive.sequence.taxonomy.version for drive in drives}
    if len(versions) != 1:
        raise InputError(f"one taxonomy is expected, not {sorted(versions)}")
    taxonomy = drives[0].sequence.taxonomy
    writing = _Writing()
    for drive in drives:
        for frame in drive.sequence.frames:
            _add_frame(writing, drive, frame)
    return {
        "info": {"description": "frame labels", "version": "1.0"},
        "licenses": [],
        "categories": [
            {"id": number, "name": one.name, "supercategory": one.group}
            for number, one in enumerate(taxonomy.classes, start=1)
        ],
        "images": writing.images,
        "annotations": writing.annotations,
        "longtail": {"taxonomy_version": taxonomy.version, "frames": writing.frames},
    }


def _add_frame(writing: _Writing, drive: PicturedDrive, frame: FrameLabels) -> None:
    here, seen = len(writing.frames), set()
    for picture in drive.pictures:
        if picture.instant_ns != frame.record.mono_ns:
            continue
        camera = drive.cameras[picture.channel]
        image_id = len(writing.images) + 1
        writing.images.append({
            "id": image_id, "file_name": picture.file_name, "width": camera.width,
            "height": camera.height, "camera": picture.channel, "frame": here,
        })  # fmt: skip
        for place, labelled in enumerate(frame.record.boxes):
            shown = shown_in(labelled.box, camera)
            if shown is None:
                continue
            seen.add(place)
            category = drive.sequence.taxonomy.index(labelled.box.class_name) + 1
            row = _annotation(labelled, shown.box_px, category)
            row |= {"id": len(writing.annotations) + 1, "image_id": image_id}
            row["longtail"] |= {"frame": here, "place": place}
            writing.annotations.append(row)
    writing.frames.append(
        head_of(frame).model_dump(mode="json")
        | {
            "unseen": [
                {"place": place, "box": labelled.model_dump(mode="json")}
                for place, labelled in enumerate(frame.record.boxes)
                if place not in seen
            ]
        }
    )


def _annotation(labelled: LabelledBox, box_px: Px, category: int) -> Json:
    left, top, right, bottom = box_px
    bbox = [left, top, right - left, bottom - top]
    return {
        "category_id": category,
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
        "segmentation": [],
        "iscrowd": int(labelled.ignored),
        "score": labelled.confidence,
        "track_id": labelled.box.track_id,
        "longtail": {"bbox": list(bbox), "box": labelled.model_dump(mode="json")},
    }


class _Image(Loose):
    id: int
    camera: str = ""
    frame: int = Field(-1, ge=-1)


class _Category(Loose):
    id: int
    name: str


_Bbox = tuple[Finite, Finite, Finite, Finite]


class _Own(Loose):
    frame: int = Field(ge=0)
    place: int = Field(ge=0)
    bbox: _Bbox
    box: LabelledBox


class _Annotation(Loose):
    id: int
    image_id: int
    category_id: int
    bbox: _Bbox
    longtail: _Own | None = None


class _Unseen(Loose):
    place: int = Field(ge=0)
    box: LabelledBox


class _Beside(Loose):
    unseen: tuple[_Unseen, ...] = ()


class _Ours(Loose):
    taxonomy_version: int
    frames: tuple[dict[str, Any], ...]


class _File(Loose):
    images: tuple[_Image, ...]
    categories: tuple[_Category, ...]
    annotations: tuple[_Annotation, ...]
    longtail: _Ours | None = None


def read_coco(path: Path, said_by: Provenance | None = None) -> CocoLabels:
    """What a file of ours says, after a tool may have changed it.

    Args:
        said_by: who changed classes; needed only where some are changed.

    Raises `InputError` with the place in the file: for a file that was not written here, since
    COCO alone tells no cuboid, and for annotations that disagree about one box.
    """
    found = validated(_File, read_json(path), str(path))
    if found.longtail is None:
        raise InputError("no cuboids: this file was not written by Longtail", f"{path}: longtail")
    reader = _Reader(found, found.longtail, said_by, str(path))
    for number, annotation in enumerate(found.annotations):
        reader.take(annotation, f"{path}: annotations.{number}")
    frames = reader.frames()
    drives: dict[str, list[FrameLabels]] = {}
    for frame in frames:
        drives.setdefault(frame.record.drive_id, []).append(frame)
    return CocoLabels(tuple(in_order(each) for each in drives.values()), tuple(reader.flat))


class _Reader:
    def __init__(self, found: _File, ours: _Ours, said_by: Provenance | None, path: str) -> None:
        self._said_by, self._path = said_by, path
        self._images = {image.id: image for image in found.images}
        if len(self._images) != len(found.images):
            raise InputError("an image's id is there twice", f"{path}: images")
        known = taxonomy_of(ours.taxonomy_version).names
        for number, category in enumerate(found.categories):
            if category.name not in known:
                raise InputError(f"unknown class {category.name!r}", f"{path}: categories.{number}")
        self._names = {category.id: category.name for category in found.categories}
        self._heads: list[FrameHead] = []
        self._boxes: list[dict[int, LabelledBox]] = []
        self.flat: list[FlatBox] = []
        for number, told in enumerate(ours.frames):
            place = f"{path}: longtail.frames.{number}"
            head = {name: value for name, value in told.items() if name != "unseen"}
            self._heads.append(validated(FrameHead, head, place))
            unseen = validated(_Beside, told, place).unseen
            self._boxes.append({row.place: row.box for row in unseen})

    def take(self, annotation: _Annotation, place: str) -> None:
        image, name = self._images.get(annotation.image_id), self._names.get(annotation.category_id)
        if image is None or name is None:
            what = "image" if image is None else "category"
            raise InputError(f"no such {what} is declared", place)
        own = annotation.longtail
        moved = own is not None and any(
            abs(a - b) > _SAME_PX for a, b in zip(annotation.bbox, own.bbox, strict=True)
        )
        if own is None or moved:
            self._add_flat(image, name, annotation.bbox, own.place if own else None, place)
        if own is None:
            return
        if own.frame >= len(self._heads) or image.frame != own.frame:
            raise InputError("belongs to another frame than its image", place)
        box, boxes = self._classed(own.box, name, place), self._boxes[own.frame]
        if boxes.setdefault(own.place, box) != box:
            raise InputError("says otherwise of the same box than another annotation", place)

    def _classed(self, box: LabelledBox, name: str, place: str) -> LabelledBox:
        if box.box.class_name == name:
            return box
        if self._said_by is None:
            raise InputError(f"is now a {name}: say who changed it", place)
        solid = box.box.model_copy(update={"class_name": name})
        return box.model_copy(
            update={"box": solid, "confidence": 1.0, "provenance": self._said_by}
        )  # fmt: skip

    def _add_flat(
        self, image: _Image, name: str, bbox: _Bbox, of: int | None, place: str
    ) -> None:  # fmt: skip
        if not 0 <= image.frame < len(self._heads):
            raise InputError("its image belongs to no frame", place)
        head = self._heads[image.frame]
        left, top, width, height = bbox
        if width <= 0 or height <= 0:
            raise InputError("a 2D box needs a positive width and height", place)
        box_px = (left, top, left + width, top + height)
        self.flat.append(FlatBox(head.drive_id, head.mono_ns, image.camera, name, box_px, of))

    def frames(self) -> list[FrameLabels]:
        return [
            frame_of(head, tuple(boxes[place] for place in sorted(boxes)),
                     f"{self._path}: longtail.frames.{number}")
            for number, (head, boxes) in enumerate(zip(self._heads, self._boxes, strict=True))
        ]  # fmt: skip


def pictured_without_files(
    sequence: LabelSequence, cameras: Cameras
) -> list[Pictured]:  # fmt: skip
    """A picture of each camera at each frame by its name alone, for files that nobody extracts."""
    return [
        Pictured(name, instant, f"{sequence.drive_id}/{short_name(name)}/{instant}.jpg")
        for instant in sequence.instants()
        for name in cameras
    ]
