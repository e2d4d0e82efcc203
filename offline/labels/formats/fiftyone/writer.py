"""Drives as a FiftyOne dataset. Pictures and sweeps pass through one at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from contracts.ids import digest_file, parse_name
from contracts.labels import FrameLabels, LabelledBox
from contracts.samples import CalibrationSample
from kernels.jpeg import jpeg_size
from offline.labels.formats.cameras import Picture, read_pictures, short_name
from offline.labels.formats.fiftyone.documents import (
    IMAGE_MEDIA,
    SCENE,
    SCENE_MEDIA,
    dataset_document,
    detection,
    object_id,
    sample_document,
)
from offline.labels.formats.fiftyone.scene_files import pcd_bytes, scene_bytes
from offline.labels.formats.files import write_json
from offline.labels.formats.frame_head import head_of
from offline.labels.formats.projection import Shown, shown_in
from offline.labels.formats.recording import Recording, read_recording
from offline.labels.formats.sequence import CLIP_FILE, LabelSequence, LeftOut
from offline.labels.formats.sweeps import points_of

METADATA, SAMPLES, DATA = "metadata.json", "samples.json", "data"
DATASET = "longtail"
Json = dict[str, Any]


@dataclass(slots=True)
class FiftyOneExport:
    """What was written, and what was not."""

    pictures: int = 0
    sweeps: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


def write_fiftyone(drives: Sequence[tuple[Path, LabelSequence]], out: Path) -> FiftyOneExport:
    """Write drives, each with its folder, into the dataset folder `out`.

    Raises `InputError` where there is a dataset already, and for what a drive lacks.
    """
    if (out / METADATA).exists():
        raise InputError("there is a dataset already", str(out / METADATA))
    versions = {sequence.taxonomy.version for _, sequence in drives}
    if len(versions) != 1:
        raise InputError(f"one taxonomy is expected, not {sorted(versions)}")
    done, samples = FiftyOneExport(), list[Json]()
    slices: dict[str, str] = {}
    for folder, sequence in drives:
        writer = _Drive(read_recording(folder / CLIP_FILE), sequence, out, done)
        samples += writer.samples()
        slices |= {short_name(channel): IMAGE_MEDIA for channel in writer.cameras}
    slices[SCENE] = SCENE_MEDIA
    write_json(out / SAMPLES, {SAMPLES.removesuffix(".json"): samples})
    # Last: FiftyOne takes a folder with this file for a dataset.
    write_json(out / METADATA, dataset_document(DATASET, slices, drives[0][1].taxonomy))
    return done


class _Drive:
    def __init__(
        self, recording: Recording, sequence: LabelSequence, out: Path, done: FiftyOneExport
    ) -> None:
        self._recording, self._sequence, self._out, self._done = recording, sequence, out, done
        self._name = parse_name(sequence.drive_id, str(recording.clip))
        self.cameras = recording.cameras
        if SCENE in map(short_name, self.cameras):
            raise InputError(f"a camera named {SCENE!r} would hide the scene", str(recording.clip))
        self._told = self._of_clip()

    def samples(self) -> Iterator[Json]:
        """A sample for each picture, and one for the scene, frame by frame."""
        left_out = self._done.left_out
        left_out.add("radar frame", self._recording.radar)
        left_out.add("message that does not come after the one before it", self._recording.late)
        swept = self._write_points()
        shown = groupby(
            read_pictures(self._recording.clip, self._sequence.instants()),
            key=lambda picture: picture.instant_ns,
        )
        taken = next(shown, None)
        for frame in self._sequence.frames:
            if taken is not None and taken[0] == frame.record.mono_ns:
                for picture in taken[1]:
                    yield self._picture(frame, picture)
                taken = next(shown, None)
            else:
                left_out.add("frame without any picture")
            yield self._scene(frame, swept.get(frame.record.mono_ns))

    def _of_clip(self) -> Json:
        """What is the same in all frames."""
        manifest = self._recording.manifest
        return {
            "drive": self._name,
            "clip_id": digest_file(self._recording.clip).clip_id(),
            "vehicle": manifest.event.vehicle_id,
            "stream": manifest.stream,
            "safety": manifest.safety,
            "triggers": sorted({cause.trigger_id for cause in manifest.causes}),
        }

    def _of_frame(self, frame: FrameLabels) -> Json:
        record, summary = frame.record, self._recording.manifest.summary
        utc_ms = self._recording.stamp_us(record.mono_ns) // 1000
        return self._told | {
            "mono_ns": record.mono_ns,
            "taken": {"$date": {"$numberLong": str(utc_ms)}},
            "weather": record.tags.get("weather", summary.weather),
            "tod": record.tags.get("tod", summary.tod),
            "light": record.light,
        }

    def _write_points(self) -> dict[int, str]:
        """The files of the lidars' points, by the instant of their frame."""
        files: dict[int, str] = {}
        frames = self._sequence.frames
        for instant, points in points_of(self._recording, frames, self._done.left_out):
            files[instant] = self._write(SCENE, f"{instant}.pcd", pcd_bytes(points))
        self._done.sweeps += len(files)
        if self._recording.mounts:
            without = len(frames) - len(files)
            self._done.left_out.add("frame without any sweep", without)
        return files

    def _picture(self, frame: FrameLabels, picture: Picture) -> Json:
        camera, name = self.cameras[picture.channel], short_name(picture.channel)
        place = f"{self._recording.clip}: {picture.channel} at {picture.taken_ns} ns"
        size = _size(picture, place)
        if size not in {None, (camera.height, camera.width)}:
            raise InputError(f"is {size} pixels high and wide, its calibration is of "
                             f"{(camera.height, camera.width)}", place)  # fmt: skip
        ending = {"jpeg": "jpg"}.get(picture.encoding, picture.encoding)
        path = self._write(name, f"{picture.instant_ns}.{ending}", picture.content)
        self._done.pictures += 1
        metadata = {
            "_cls": "ImageMetadata", "size_bytes": len(picture.content),
            "mime_type": f"image/{picture.encoding}", "width": camera.width,
            "height": camera.height, "num_channels": 3,
        }  # fmt: skip
        found = [
            self._flat(frame, name, place, camera, shown)
            for place, labelled in enumerate(frame.record.boxes)
            if (shown := shown_in(labelled.box, camera)) is not None
        ]
        fields = {"channel": picture.channel}
        return self._sample(frame, name, path, metadata, fields, found)

    def _scene(self, frame: FrameLabels, points_file: str | None) -> Json:
        instant = frame.record.mono_ns
        beside = None if points_file is None else Path(points_file).name
        content = scene_bytes(f"{self._name}/{instant}", beside)
        path = self._write(SCENE, f"{instant}.fo3d", content)
        metadata = {"_cls": "Metadata", "size_bytes": len(content), "mime_type": None}
        found = [self._solid(frame, place) for place in range(len(frame.record.boxes))]
        head = head_of(frame).model_dump_json()
        return self._sample(frame, SCENE, path, metadata, {"frame_head": head}, found)

    def _sample(
        self, frame: FrameLabels, slice_name: str, path: str, metadata: Json,
        fields: Mapping[str, Any], found: Sequence[Json],
    ) -> Json:  # fmt: skip
        key = (self._name, frame.record.mono_ns)
        return sample_document(
            (*key, slice_name), object_id("group", *key), slice_name, path, metadata,
            {**self._of_frame(frame), **fields}, found,
        )  # fmt: skip

    def _solid(self, frame: FrameLabels, place: int) -> Json:
        labelled = frame.record.boxes[place]
        box = labelled.box
        return detection((self._name, frame.record.mono_ns, SCENE, place), box.class_name, {
            "location": list(box.centre_m), "dimensions": list(box.size_m),
            "rotation": [0.0, 0.0, box.yaw_rad], "bounding_box": [],
            "longtail": labelled.model_dump_json(), **_attributes(frame, labelled),
        })  # fmt: skip

    def _flat(
        self, frame: FrameLabels, name: str, place: int, camera: CalibrationSample, shown: Shown
    ) -> Json:
        labelled = frame.record.boxes[place]
        left, top, right, bottom = shown.box_px
        box = [
            left / camera.width, top / camera.height,
            (right - left) / camera.width, (bottom - top) / camera.height,
        ]  # fmt: skip
        own = {"place": place, "label": labelled.box.class_name, "bounding_box": box}
        key = (self._name, frame.record.mono_ns, name, place)
        return detection(key, labelled.box.class_name, {
            "bounding_box": box, "truncation": shown.truncation, "longtail": json.dumps(own),
            **_attributes(frame, labelled),
        })  # fmt: skip

    def _write(self, folder: str, name: str, content: bytes) -> str:
        """A file of the dataset; its path in it."""
        path = f"{DATA}/{self._name}/{folder}/{name}"
        (self._out / path).parent.mkdir(parents=True, exist_ok=True)
        (self._out / path).write_bytes(content)
        return path


def _attributes(frame: FrameLabels, labelled: LabelledBox) -> Json:
    """What one searches labels by."""
    velocity, provenance = labelled.box.velocity_mps, labelled.provenance
    return {
        "confidence": labelled.confidence,
        "index": labelled.box.track_id,
        "ignored": labelled.ignored,
        "visibility": labelled.visibility,
        "points": labelled.points,
        "speed_mps": None if velocity is None else math.hypot(*velocity),
        "source": (provenance or frame.record.provenance).source,
    }


def _size(picture: Picture, place: str) -> tuple[int, int] | None:
    """Height and width in pixels; None where the encoding does not tell it cheaply."""
    return jpeg_size(picture.content, place) if picture.encoding == "jpeg" else None
