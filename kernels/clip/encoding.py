"""Samples to a clip channel's payload.

Encoding happens once, when a sample enters the ring; packing only copies. Timestamps inside
payloads are wall time for viewers; the exact time of a message is its log time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import foxglove.messages as fox
import numpy as np

from contracts.channels import (
    CAUSE,
    FIX,
    PLAN,
    POSE,
    TRANSFORMS,
    calibration_channel,
    signal_channel,
)
from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.samples import (
    CalibrationSample,
    FixSample,
    ImageSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from kernels.clip import schemas
from kernels.clip.messages import message_class
from kernels.lidar_codec import LidarPoints, encode_sweep_in_pieces

WORLD_FRAME = "world"
EGO_FRAME = "ego"
LIDAR_CODEC = "longtail-range-1"


Pieces = tuple[bytes | memoryview, ...]
"""A payload, to join."""


@dataclass(frozen=True, slots=True)
class EncodedMessage:
    """A message ready for the ring and the clip. `schema_name` names its protobuf schema."""

    channel: str
    schema_name: str
    mono_ns: int
    payload: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.payload)


@dataclass(frozen=True, slots=True)
class MessageHead:
    """A message without its payload."""

    channel: str
    schema_name: str
    mono_ns: int
    size_bytes: int


@runtime_checkable
class HeadedMessages(Protocol):
    """Messages that tell their heads and size for less than it takes to read them all."""

    def heads(self) -> Iterator[MessageHead | EncodedMessage]: ...

    def size_bytes(self) -> int:
        """Of all payloads."""
        ...


def heads_of(messages: Sequence[EncodedMessage]) -> Iterator[MessageHead | EncodedMessage]:
    """Heads in the order of the messages; a message at hand is its own."""
    return messages.heads() if isinstance(messages, HeadedMessages) else iter(messages)


def payload_bytes(messages: Sequence[EncodedMessage]) -> int:
    """Size of all payloads."""
    if isinstance(messages, HeadedMessages):
        return messages.size_bytes()
    return sum(len(message.payload) for message in messages)


def stamp(utc_ns: int) -> fox.Timestamp:
    """Wall time as Foxglove's schemas have it."""
    return fox.Timestamp(sec=utc_ns // NS_PER_S, nsec=utc_ns % NS_PER_S)


_SIGNAL = struct.Struct("<Bd")  # written by hand because a drive holds millions
_SIGNAL_TAG = 1 << 3 | 1  # field 1, 64-bit
SIGNAL_BYTES = _SIGNAL.size
_IMAGE_DATA, _SWEEP_PAYLOAD = 2, 4
_PLAN_T_S, _PLAN_X_M, _PLAN_Y_M = 2, 3, 4
"""Numbers of the fields that hold most of a message."""


def encode_signal(value: float) -> bytes:
    """Payload of `longtail.Signal`: the double, bit for bit."""
    return _SIGNAL.pack(_SIGNAL_TAG, value)


def write_signal(buffer: memoryview, at: int, value: float) -> None:
    """Write the `SIGNAL_BYTES` of a payload of `longtail.Signal` into a buffer."""
    _SIGNAL.pack_into(buffer, at, _SIGNAL_TAG, value)


@lru_cache(maxsize=64)
def _time_field(utc_ns: int) -> bytes:
    """Field 1 of every message with a time. The pictures of an instant have it alike."""
    message = message_class(schemas.LIDAR_SWEEP)()
    message.timestamp.FromNanoseconds(utc_ns)
    return bytes(message.SerializeToString(deterministic=True))


def _bytes_field(number: int, *content: bytes | memoryview) -> Pieces:
    """A field of bytes, in pieces to join: protobuf messages that follow each other are one.

    For pictures, sweeps and plans: a message's own object copies them several times, which took
    half of a frame's time in the ring and the triggers.
    """
    rest = sum(map(len, content))
    if not rest:
        return ()
    head = bytearray([number << 3 | 2])
    while rest > 0x7F:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head), *content


def _image(sample: ImageSample, utc_ns: int) -> Pieces:
    if sample.encoding == "rgb8":
        raise InputError("a raw image must be compressed before it is stored", sample.channel)
    content = memoryview(sample.content).cast("B")
    after = _camera_fields(sample.frame_id, sample.encoding)
    return _time_field(utc_ns), *_bytes_field(_IMAGE_DATA, content), after


@lru_cache(maxsize=64)
def _camera_fields(frame_id: str, encoding: str) -> bytes:
    """What all pictures of a camera have alike."""
    return fox.CompressedImage(frame_id=frame_id, format=encoding).encode()


def _lidar(sample: LidarSample, utc_ns: int) -> Pieces:
    points = LidarPoints(sample.xyz_m, sample.intensity, sample.ring, sample.time_offset_ns)
    before = _time_field(utc_ns), _sweep_fields(sample.frame_id)
    return *before, *_bytes_field(_SWEEP_PAYLOAD, *encode_sweep_in_pieces(points))


@lru_cache(maxsize=64)
def _sweep_fields(frame_id: str) -> bytes:
    """What all sweeps of a lidar have alike."""
    message = message_class(schemas.LIDAR_SWEEP)(frame_id=frame_id, codec=LIDAR_CODEC)
    return bytes(message.SerializeToString(deterministic=True))


def _radar(sample: RadarSample, utc_ns: int) -> bytes:
    message = message_class(schemas.RADAR_TRACKS)()
    message.timestamp.FromNanoseconds(utc_ns)
    for track_id, x_m, y_m, closing_mps in sample.tracks.tolist():
        message.tracks.add(id=track_id, x_m=x_m, y_m=y_m, closing_mps=closing_mps)
    return bytes(message.SerializeToString(deterministic=True))


def _pose(sample: PoseSample, utc_ns: int) -> bytes:
    x, y, z = sample.position_m.tolist()
    qx, qy, qz, qw = sample.orientation_xyzw.tolist()
    return fox.FrameTransform(
        timestamp=stamp(utc_ns),
        parent_frame_id=WORLD_FRAME,
        child_frame_id=EGO_FRAME,
        translation=fox.Vector3(x=x, y=y, z=z),
        rotation=fox.Quaternion(x=qx, y=qy, z=qz, w=qw),
    ).encode()


def _fix(sample: FixSample, utc_ns: int) -> bytes:
    return fox.LocationFix(
        timestamp=stamp(utc_ns),
        frame_id=EGO_FRAME,
        latitude=sample.lat_deg,
        longitude=sample.lon_deg,
        altitude=sample.alt_m,
        # Rerun's importer writes a column that its own reader refuses when a fix has no colour.
        color=fox.Color(r=0.2, g=0.6, b=1.0, a=1.0),
    ).encode()


def _plan(sample: PlanSample, utc_ns: int) -> Pieces:
    t_s, xy_m = sample.t_s.astype("<f8"), sample.xy_m.astype("<f8")
    return (
        _time_field(utc_ns),
        *_bytes_field(_PLAN_T_S, t_s.tobytes()),
        *_bytes_field(_PLAN_X_M, xy_m[:, 0].tobytes()),
        *_bytes_field(_PLAN_Y_M, xy_m[:, 1].tobytes()),
    )


def _calibration(sample: CalibrationSample, utc_ns: int) -> bytes:
    k = sample.intrinsics
    projection = np.hstack([k, np.zeros((3, 1))])
    return fox.CameraCalibration(
        timestamp=stamp(utc_ns),
        frame_id=sample.frame_id,
        width=sample.width,
        height=sample.height,
        K=k.ravel().tolist(),
        R=np.eye(3).ravel().tolist(),
        P=projection.ravel().tolist(),
    ).encode()


def _mount(sample: MountSample, utc_ns: int) -> bytes:
    x, y, z, w = quaternion_of(sample.ego_SE3_sensor[:3, :3])
    tx, ty, tz = sample.ego_SE3_sensor[:3, 3].tolist()
    return fox.FrameTransform(
        timestamp=stamp(utc_ns),
        parent_frame_id=EGO_FRAME,
        child_frame_id=sample.frame_id,
        translation=fox.Vector3(x=tx, y=ty, z=tz),
        rotation=fox.Quaternion(x=x, y=y, z=z, w=w),
    ).encode()


def encode_sample(sample: Sample, utc_minus_mono_ns: int) -> EncodedMessage:
    """Encode any sample for its channel. Raises `InputError` for a raw image."""
    channel, schema_name, pieces = encode_in_pieces(sample, utc_minus_mono_ns)
    return EncodedMessage(channel, schema_name, sample.mono_ns, b"".join(pieces))


def encode_in_pieces(sample: Sample, utc_minus_mono_ns: int) -> tuple[str, str, Pieces]:
    """Channel, schema's name and payload of any sample, for whom has a place to put it together:
    pictures need not be copied for that. Raises `InputError` for a raw image.
    """
    utc_ns = sample.mono_ns + utc_minus_mono_ns
    match sample:
        case SignalSample(name=name, value=value):
            return signal_channel(name), schemas.SIGNAL, (encode_signal(value),)
        case ImageSample(channel=channel):
            return channel, schemas.IMAGE, _image(sample, utc_ns)
        case LidarSample(channel=channel):
            return channel, schemas.LIDAR_SWEEP, _lidar(sample, utc_ns)
        case RadarSample(channel=channel):
            return channel, schemas.RADAR_TRACKS, (_radar(sample, utc_ns),)
        case PoseSample():
            return POSE, schemas.TRANSFORM, (_pose(sample, utc_ns),)
        case FixSample():
            return FIX, schemas.LOCATION_FIX, (_fix(sample, utc_ns),)
        case PlanSample():
            return PLAN, schemas.PLANNED_TRAJECTORY, _plan(sample, utc_ns)
        case CalibrationSample(channel=channel):
            payload = _calibration(sample, utc_ns)
            return calibration_channel(channel), schemas.CAMERA_CALIBRATION, (payload,)
        case MountSample():
            return TRANSFORMS, schemas.TRANSFORM, (_mount(sample, utc_ns),)


def encode_mount(sample: CalibrationSample, utc_minus_mono_ns: int) -> EncodedMessage:
    """The camera's static transform, latched on `/tf` beside its calibration."""
    mount = MountSample(sample.mono_ns, sample.frame_id, sample.ego_SE3_camera)
    return encode_sample(mount, utc_minus_mono_ns)


def quaternion_of(rotation: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[float]:
    """Unit quaternion x, y, z, w of a rotation matrix [3, 3] (Bar-Itzhack's eigenvector)."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    _, vectors = np.linalg.eigh(k / 3.0)
    q = vectors[:, -1] * np.where(vectors[3, -1] < 0, -1.0, 1.0)
    return [float(v) for v in q]


def encode_log(mono_ns: int, utc_minus_mono_ns: int, name: str, message: str) -> EncodedMessage:
    """A line on `/clip/cause`."""
    payload = fox.Log(
        timestamp=stamp(mono_ns + utc_minus_mono_ns),
        level=fox.LogLevel.Warning,
        message=message,
        name=name,
    ).encode()
    return EncodedMessage(CAUSE, schemas.LOG, mono_ns, payload)
