"""A clip channel's payload back to samples: the inverse of `encoding`.

Every failure of a payload is a `CorruptError` naming its channel and time.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from mcap.records import Schema
from mcap.well_known import SchemaEncoding
from numpy.typing import NDArray

from contracts.channels import POSE, SIGNAL_PREFIX, calibration_channel
from contracts.errors import CorruptError, LongtailError
from contracts.samples import (
    CalibrationSample,
    Cuboid,
    Detection,
    FixSample,
    Float32s,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from kernels.clip import schemas
from kernels.clip.encoding import EncodedMessage
from kernels.clip.messages import check_alike, message_class
from kernels.lidar_codec import decode_sweep

_FOREIGN_ERRORS = (DecodeError, ValueError, TypeError, struct.error, LookupError, OverflowError)
_CALIBRATION_SUFFIX = calibration_channel("")


class PayloadDecoder:
    """Decodes payloads of one file; keeps which of its schemas are ours, and sensor mounts."""

    def __init__(self) -> None:
        self._ours: set[int] = set()
        self._ego_SE3: dict[str, NDArray[np.float64]] = {}

    def _message(self, schema: Schema, payload: bytes) -> Any:
        if schema.id not in self._ours:
            if schema.encoding != SchemaEncoding.Protobuf:
                raise CorruptError(f"schema {schema.name!r} is not protobuf")
            check_alike(schema.name, schema.data)
            self._ours.add(schema.id)
        return message_class(schema.name).FromString(payload)

    def decode(
        self, schema: Schema, channel: str, mono_ns: int, payload: bytes
    ) -> Sample | PerceptionFrame | None:
        """The sample in a payload, or None for channels made only for viewers, and others' own.

        Raises `CorruptError`.
        """
        place = f"{channel} at {mono_ns} ns"
        try:
            return self._decode(schema, channel, mono_ns, payload)
        except LongtailError as error:
            raise CorruptError(error.message, place) from error
        except _FOREIGN_ERRORS as error:
            raise CorruptError(f"cannot decode {schema.name}: {error}", place) from error

    def _decode(
        self, schema: Schema, channel: str, mono_ns: int, payload: bytes
    ) -> Sample | PerceptionFrame | None:
        if schema.name == schemas.SIGNAL:
            (value,) = struct.unpack_from("<d", payload, 1)
            return SignalSample(channel.removeprefix(SIGNAL_PREFIX), mono_ns, value)
        if schema.name not in schemas.SAMPLES:
            return None
        message = self._message(schema, payload)
        if schema.name == schemas.TRANSFORM and channel != POSE:
            # A mount also completes the calibration of its camera, which follows it.
            matrix = self._ego_SE3[message.child_frame_id] = _matrix(message)
            return MountSample(mono_ns, message.child_frame_id, matrix)
        match schema.name:
            case schemas.IMAGE:
                return _image(channel, mono_ns, message)
            case schemas.LIDAR_SWEEP:
                return _lidar(channel, mono_ns, message)
            case schemas.RADAR_TRACKS:
                rows = [(t.id, t.x_m, t.y_m, t.closing_mps) for t in message.tracks]
                return RadarSample(channel, mono_ns, np.array(rows, np.float64).reshape(-1, 4))
            case schemas.TRANSFORM:
                return _pose(mono_ns, message)
            case schemas.LOCATION_FIX:
                return FixSample(mono_ns, message.latitude, message.longitude, message.altitude)
            case schemas.PLANNED_TRAJECTORY:
                xy = np.stack([np.array(message.x_m), np.array(message.y_m)], axis=1)
                return PlanSample(mono_ns, np.array(message.t_s), xy)
            case schemas.CAMERA_CALIBRATION:
                return self._calibration(channel, mono_ns, message)
            case schemas.PERCEPTION:
                return _perception(mono_ns, message)
        return None

    def _calibration(self, channel: str, mono_ns: int, message: Any) -> CalibrationSample:
        return CalibrationSample(
            channel.removesuffix(_CALIBRATION_SUFFIX), mono_ns, message.width, message.height,
            np.array(message.K).reshape(3, 3), self._ego_SE3.get(message.frame_id, np.eye(4)),
            message.frame_id,
        )  # fmt: skip


def _image(channel: str, mono_ns: int, message: Any) -> ImageSample:
    if message.format not in ("jpeg", "png"):
        raise CorruptError(f"image format {message.format!r} is not jpeg or png")
    # Size is read by whoever decodes the picture; the container does not carry it.
    return ImageSample(channel, mono_ns, message.format, message.data, 0, 0, message.frame_id)


def _lidar(channel: str, mono_ns: int, message: Any) -> LidarSample:
    points = decode_sweep(message.payload)
    return LidarSample(
        channel, mono_ns, points.xyz_m, points.intensity, message.frame_id, points.ring,
        points.time_offset_ns,
    )  # fmt: skip


def _pose(mono_ns: int, message: Any) -> PoseSample:
    t, q = message.translation, message.rotation
    return PoseSample(mono_ns, np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))


def _matrix(message: Any) -> NDArray[np.float64]:
    """Homogeneous transform [4, 4] of a FrameTransform."""
    q, t = message.rotation, message.translation
    x, y, z, w = q.x, q.y, q.z, q.w
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = [t.x, t.y, t.z]
    return matrix


def _perception(mono_ns: int, message: Any) -> PerceptionFrame:
    return PerceptionFrame(
        message.camera, mono_ns, message.model_digest,
        tuple(_detection(found) for found in message.detections),
        message.uncertainty, message.margin, _vector(message.embedding),
        _vector(message.light), _vector(message.present),
    )  # fmt: skip


def _detection(message: Any) -> Detection:
    d = message
    box_px = None if d.without_box_px else (d.x0_px, d.y0_px, d.x1_px, d.y1_px)
    cuboid = None
    if d.HasField("cuboid"):
        c = d.cuboid
        cuboid = Cuboid(
            (c.x_m, c.y_m, c.z_m), (c.length_m, c.width_m, c.height_m), c.yaw_rad,
            (c.velocity_x_mps, c.velocity_y_mps),
        )  # fmt: skip
    distribution = np.array(d.distribution, np.float32)
    return Detection(box_px, d.class_name, d.probability, distribution, cuboid)


def _vector(values: Any) -> Float32s | None:
    """A repeated float field, None where it is empty."""
    return np.array(values, np.float32) if len(values) else None


@cache
def _own_schema(name: str) -> Schema:
    number = 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:2])
    return Schema(id=number, data=schemas.schema_bytes(name), encoding="protobuf", name=name)


class OwnDecoder:
    """Decodes messages that this process encoded itself and that are not in a file yet."""

    def __init__(self) -> None:
        self._decoder = PayloadDecoder()

    def decode(self, message: EncodedMessage) -> Sample | PerceptionFrame | None:
        """As `PayloadDecoder.decode`."""
        return self._decoder.decode(
            _own_schema(message.schema_name), message.channel, message.mono_ns, message.payload
        )
