"""Protobuf schemas of a clip's channels.

Foxglove's own schemas come from foxglove-sdk. What they lack (a scalar with full double
precision, an encoded sweep, radar tracks, a timed trajectory, class distributions) is defined
here, built as descriptors so that no generated code and no compiler is needed. Field numbers
are for ever: contracts only grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import foxglove.messages as fox
from google.protobuf import descriptor_pb2, timestamp_pb2

_F = descriptor_pb2.FieldDescriptorProto
_FILE = "longtail/clip.proto"
_TIMESTAMP = ".google.protobuf.Timestamp"

# message → (field, number, type, repeated, type name)
_FIELDS: dict[str, list[tuple[str, int, int, bool, str | None]]] = {
    "Signal": [("value", 1, _F.TYPE_DOUBLE, False, None)],
    "LidarSweep": [
        ("timestamp", 1, _F.TYPE_MESSAGE, False, _TIMESTAMP),
        ("frame_id", 2, _F.TYPE_STRING, False, None),
        ("codec", 3, _F.TYPE_STRING, False, None),
        ("payload", 4, _F.TYPE_BYTES, False, None),
    ],
    "RadarTrack": [
        ("id", 1, _F.TYPE_DOUBLE, False, None),
        ("x_m", 2, _F.TYPE_DOUBLE, False, None),
        ("y_m", 3, _F.TYPE_DOUBLE, False, None),
        ("closing_mps", 4, _F.TYPE_DOUBLE, False, None),
    ],
    "RadarTracks": [
        ("timestamp", 1, _F.TYPE_MESSAGE, False, _TIMESTAMP),
        ("tracks", 2, _F.TYPE_MESSAGE, True, ".longtail.RadarTrack"),
    ],
    "PlannedTrajectory": [
        ("timestamp", 1, _F.TYPE_MESSAGE, False, _TIMESTAMP),
        ("t_s", 2, _F.TYPE_DOUBLE, True, None),
        ("x_m", 3, _F.TYPE_DOUBLE, True, None),
        ("y_m", 4, _F.TYPE_DOUBLE, True, None),
    ],
    "Cuboid": [
        ("x_m", 1, _F.TYPE_DOUBLE, False, None),
        ("y_m", 2, _F.TYPE_DOUBLE, False, None),
        ("z_m", 3, _F.TYPE_DOUBLE, False, None),
        ("length_m", 4, _F.TYPE_DOUBLE, False, None),
        ("width_m", 5, _F.TYPE_DOUBLE, False, None),
        ("height_m", 6, _F.TYPE_DOUBLE, False, None),
        ("yaw_rad", 7, _F.TYPE_DOUBLE, False, None),
        ("velocity_x_mps", 8, _F.TYPE_DOUBLE, False, None),
        ("velocity_y_mps", 9, _F.TYPE_DOUBLE, False, None),
    ],
    "Detection": [
        ("class_name", 1, _F.TYPE_STRING, False, None),
        ("probability", 2, _F.TYPE_DOUBLE, False, None),
        ("x0_px", 3, _F.TYPE_DOUBLE, False, None),
        ("y0_px", 4, _F.TYPE_DOUBLE, False, None),
        ("x1_px", 5, _F.TYPE_DOUBLE, False, None),
        ("y1_px", 6, _F.TYPE_DOUBLE, False, None),
        ("distribution", 7, _F.TYPE_FLOAT, True, None),
        ("cuboid", 8, _F.TYPE_MESSAGE, False, ".longtail.Cuboid"),
        ("without_box_px", 9, _F.TYPE_BOOL, False, None),
    ],
    "Perception": [
        ("timestamp", 1, _F.TYPE_MESSAGE, False, _TIMESTAMP),
        ("camera", 2, _F.TYPE_STRING, False, None),
        ("model_digest", 3, _F.TYPE_STRING, False, None),
        ("detections", 4, _F.TYPE_MESSAGE, True, ".longtail.Detection"),
        ("uncertainty", 5, _F.TYPE_DOUBLE, False, None),
        ("margin", 6, _F.TYPE_DOUBLE, False, None),
        ("embedding", 7, _F.TYPE_FLOAT, True, None),
        ("light", 8, _F.TYPE_FLOAT, True, None),
        ("present", 9, _F.TYPE_FLOAT, True, None),
    ],
}

SIGNAL = "longtail.Signal"
LIDAR_SWEEP = "longtail.LidarSweep"
RADAR_TRACKS = "longtail.RadarTracks"
PLANNED_TRAJECTORY = "longtail.PlannedTrajectory"
PERCEPTION = "longtail.Perception"
IMAGE = "foxglove.CompressedImage"
TRANSFORM = "foxglove.FrameTransform"
LOCATION_FIX = "foxglove.LocationFix"
CAMERA_CALIBRATION = "foxglove.CameraCalibration"
IMAGE_ANNOTATIONS = "foxglove.ImageAnnotations"
SCENE_UPDATE = "foxglove.SceneUpdate"
LOG = "foxglove.Log"
SAMPLES = (
    LIDAR_SWEEP, RADAR_TRACKS, PLANNED_TRAJECTORY, PERCEPTION, IMAGE, TRANSFORM, LOCATION_FIX,
    CAMERA_CALIBRATION,
)  # fmt: skip
"""Those that samples are read from by protobuf. A `SIGNAL` is read by hand, the rest by viewers."""

_FOXGLOVE: Mapping[str, Any] = {
    IMAGE: fox.CompressedImage,
    TRANSFORM: fox.FrameTransform,
    LOCATION_FIX: fox.LocationFix,
    CAMERA_CALIBRATION: fox.CameraCalibration,
    IMAGE_ANNOTATIONS: fox.ImageAnnotations,
    SCENE_UPDATE: fox.SceneUpdate,
    LOG: fox.Log,
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=_FILE,
        package="longtail",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated, type_name in fields:
            label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
            message.field.add(
                name=field, number=number, type=kind, label=label, type_name=type_name
            )
    return file


def _timestamp_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(file)
    return file


@cache
def schema_bytes(schema_name: str) -> bytes:
    """The serialised FileDescriptorSet of a schema, as MCAP stores it."""
    known = _FOXGLOVE.get(schema_name)
    if known is not None:
        return bytes(known.get_schema().data)
    files = descriptor_pb2.FileDescriptorSet(file=[_timestamp_file(), _file()])
    return bytes(files.SerializeToString(deterministic=True))
