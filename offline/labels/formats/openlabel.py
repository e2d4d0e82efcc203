"""Frame labels as ASAM OpenLABEL 1.0.0 JSON. Everything is carried.

An object is a track, its uid the track's id; a box without a track is an object of its own under
a UUID made of drive, instant and place. A cuboid is `(x, y, z, 0, 0, yaw, length, width, height)`
in `vehicle-iso8855`: with one angle alone the order of Euler angles says nothing, and no bit of
it is lost, as it would be by way of a quaternion. Its attributes are `confidence`, `visibility`,
`points`, `ignored`, `velocity_mps` and the provenance `source`, `made_by`, `digest`; `class_name`
where a frame disagrees with the track's type.

A frame's `timestamp` is `mono_ns` in digits. The ego's pose is a transform of the frame. What
OpenLABEL has no words for (light, ground, tags) is a `longtail` object of the frame's properties,
which the schema leaves open.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from contracts.labels import EgoPose, FrameRecord, LabelledBox, Provenance
from contracts.samples import CalibrationSample
from offline.labels.formats.cameras import Cameras
from offline.labels.formats.frame_head import head_of
from offline.labels.formats.sequence import LabelSequence

SCHEMA_VERSION = "1.0.0"
EGO, WORLD = "vehicle-iso8855", "odom"
CUBOID, ONTOLOGY = "cuboid", "0"
EXTENSION = "longtail"
_NAMESPACE = uuid.UUID("6f1f8a0e-4f5b-5d0c-9c7e-0d3c9a3b7e11")

Json = dict[str, Any]


def openlabel_document(sequence: LabelSequence, cameras: Cameras | None = None) -> Json:
    """The file's content; with `cameras`, their streams and mounts too."""
    last = len(sequence.frames) - 1
    uids = [_uids(frame.record) for frame in sequence.frames]
    return {
        "openlabel": {
            "metadata": {
                "schema_version": SCHEMA_VERSION,
                "name": sequence.drive_id,
                "annotator": sequence.frames[0].record.provenance.made_by,
            },
            "ontologies": {
                ONTOLOGY: {
                    "uri": f"https://longtail.invalid/taxonomy/{sequence.taxonomy.version}",
                    "boundary_mode": "include",
                    "boundary_list": list(sequence.taxonomy.names),
                }
            },
            "coordinate_systems": _coordinate_systems(cameras or {}),
            "streams": {name: _stream(camera) for name, camera in (cameras or {}).items()},
            "objects": _objects(sequence, uids),
            "frames": {
                str(number): {
                    "frame_properties": _properties(frame.record, head_of(frame).model_dump()),
                    "objects": _boxes(frame.record, uids[number], _types(sequence, uids)),
                }
                for number, frame in enumerate(sequence.frames)
            },
            "frame_intervals": [{"frame_start": 0, "frame_end": last}],
        }
    }


def _uids(record: FrameRecord) -> list[str]:
    return [
        _own_uid(record, place) if box.box.track_id is None else str(box.box.track_id)
        for place, box in enumerate(record.boxes)
    ]


def _own_uid(record: FrameRecord, place: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{record.drive_id}/{record.mono_ns}/{place}"))


def _types(sequence: LabelSequence, uids: list[list[str]]) -> dict[str, str]:
    """Each object's class: the one that most of its frames tell, the first of equals."""
    votes: dict[str, Counter[str]] = {}
    for frame, names in zip(sequence.frames, uids, strict=True):
        for uid, box in zip(names, frame.record.boxes, strict=True):
            votes.setdefault(uid, Counter())[box.box.class_name] += 1
    return {uid: counted.most_common(1)[0][0] for uid, counted in votes.items()}


def _objects(sequence: LabelSequence, uids: list[list[str]]) -> Json:
    seen: dict[str, list[int]] = {}
    attributes: dict[str, dict[str, str]] = {}
    types = _types(sequence, uids)
    for number, (frame, names) in enumerate(zip(sequence.frames, uids, strict=True)):
        for uid, box in zip(names, frame.record.boxes, strict=True):
            seen.setdefault(uid, []).append(number)
            told = _attributes(box, frame.record.provenance, types[uid])
            attributes.setdefault(uid, {}).update(
                {each["name"]: kind for kind, listed in told.items() for each in listed}
            )
    return {
        uid: {
            "name": f"{types[uid]} {uid[:8]}",
            "type": types[uid],
            "ontology_uid": ONTOLOGY,
            "coordinate_system": EGO,
            "frame_intervals": _intervals(numbers),
            "object_data_pointers": {
                CUBOID: {
                    "type": "cuboid",
                    "frame_intervals": _intervals(numbers),
                    "attribute_pointers": attributes[uid],
                }
            },
        }
        for uid, numbers in seen.items()
    }


def _intervals(numbers: Iterable[int]) -> list[Json]:
    """Rising frame numbers as closed intervals."""
    found: list[Json] = []
    for number in numbers:
        if found and found[-1]["frame_end"] == number - 1:
            found[-1]["frame_end"] = number
        else:
            found.append({"frame_start": number, "frame_end": number})
    return found


def _boxes(record: FrameRecord, uids: list[str], types: Mapping[str, str]) -> Json:
    return {
        uid: {
            "object_data": {
                "cuboid": [
                    {
                        "name": CUBOID,
                        "coordinate_system": EGO,
                        "val": [*box.box.centre_m, 0.0, 0.0, box.box.yaw_rad, *box.box.size_m],
                        "attributes": _attributes(box, record.provenance, types[uid]),
                    }
                ]
            }
        }
        for uid, box in zip(uids, record.boxes, strict=True)
    }


def _attributes(box: LabelledBox, frame_s: Provenance, kind: str) -> dict[str, list[Json]]:
    said = box.provenance or frame_s
    found: dict[str, list[Json]] = {
        "num": [{"name": "confidence", "val": box.confidence}],
        "boolean": [{"name": "ignored", "val": box.ignored}],
        "text": [
            {"name": "source", "val": said.source},
            {"name": "made_by", "val": said.made_by},
        ],
    }
    for name, value in (("visibility", box.visibility), ("points", box.points)):
        if value is not None:
            found["num"].append({"name": name, "val": value})
    if said.digest is not None:
        found["text"].append({"name": "digest", "val": said.digest})
    if box.box.class_name != kind:
        found["text"].append({"name": "class_name", "val": box.box.class_name})
    if box.box.velocity_mps is not None:
        found["vec"] = [{"name": "velocity_mps", "val": list(box.box.velocity_mps)}]
    return found


def _properties(record: FrameRecord, head: Json) -> Json:
    properties: Json = {
        "timestamp": str(record.mono_ns),
        # The pose stands where OpenLABEL has a place for it, and there alone.
        EXTENSION: {name: value for name, value in head.items() if name != "ego_pose"},
    }
    if record.ego_pose is not None:
        properties["transforms"] = {f"{EGO}_to_{WORLD}": _transform(record.ego_pose)}
    return properties


def _transform(pose: EgoPose) -> Json:
    return {
        "src": EGO,
        "dst": WORLD,
        "transform_src_to_dst": {
            "quaternion": list(pose.orientation_xyzw),
            "translation": list(pose.position_m),
        },
    }


def _coordinate_systems(cameras: Cameras) -> Json:
    systems: Json = {
        WORLD: {"type": "scene_cs", "parent": "", "children": [EGO]},
        EGO: {"type": "local_cs", "parent": WORLD, "children": list(cameras)},
    }
    for name, camera in cameras.items():
        systems[name] = {
            "type": "sensor_cs",
            "parent": EGO,
            "children": [],
            "pose_wrt_parent": {"matrix4x4": camera.ego_SE3_camera.ravel().tolist()},
        }
    return systems


def _stream(camera: CalibrationSample) -> Json:
    matrix = [[*row, 0.0] for row in camera.intrinsics.tolist()]
    return {
        "type": "camera",
        "description": f"pinhole camera {camera.channel}",
        "stream_properties": {
            "intrinsics_pinhole": {
                "camera_matrix": [value for row in matrix for value in row],
                "width_px": camera.width,
                "height_px": camera.height,
            }
        },
    }
