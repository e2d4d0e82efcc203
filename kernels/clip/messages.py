"""Protobuf classes of a clip's messages, and whether another file's messages are such.

The classes are made once and kept. protobuf keeps the class of a message within a message only
weakly: it is garbage as soon as its last instance is gone, and is handed out from a cache until it
is freed. A garbage collection that lets go of the interpreter half way (closing a database does)
so clears a class that another thread has just been handed, and the process dies of a segmentation
fault; the same befalls classes made anew for every file. So a file's messages are read with these
classes, and the schema that it brings is only compared with theirs (docs/adr/0025).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from contracts.errors import CorruptError
from kernels.clip import schemas

_READ: Mapping[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        schemas.IMAGE: "frame_id data format",
        schemas.TRANSFORM: "child_frame_id translation rotation",
        "foxglove.Vector3": "x y z",
        "foxglove.Quaternion": "x y z w",
        schemas.LOCATION_FIX: "latitude longitude altitude",
        schemas.CAMERA_CALIBRATION: "frame_id width height K",
        schemas.LIDAR_SWEEP: "frame_id payload",
        schemas.RADAR_TRACKS: "tracks",
        "longtail.RadarTrack": "id x_m y_m closing_mps",
        schemas.PLANNED_TRAJECTORY: "t_s x_m y_m",
        schemas.PERCEPTION: "camera model_digest detections uncertainty margin",
        "longtail.Detection": "class_name probability x0_px y0_px x1_px y1_px distribution",
        "longtail.Cuboid": "x_m y_m z_m length_m width_m height_m yaw_rad"
        " velocity_x_mps velocity_y_mps",
    }.items()
}
"""Fields without which a message says nothing. Others may be younger than the file."""


def message_class(schema_name: str) -> Any:
    """The protobuf class of one of `schemas.SAMPLES`. Raises `KeyError` for any other."""
    return _CLASSES[schema_name]


def check_alike(schema_name: str, theirs: bytes) -> None:
    """Check a file's own schema: its fields are those that `message_class` reads.

    Args:
        schema_name: one of `schemas.SAMPLES`.
        theirs: the serialised FileDescriptorSet.

    Raises `CorruptError` with the first field that is absent or something else, and protobuf's
    `DecodeError` for bytes that are no descriptors.
    """
    if theirs == schemas.schema_bytes(schema_name):
        return
    found = _messages(FileDescriptorSet.FromString(theirs).file)
    waiting, seen = [schema_name], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in found:
            raise CorruptError(f"the file's schema of {schema_name} holds no message {name}")
        waiting += _check_fields(_OURS[name], found[name], name)


def _check_fields(ours: DescriptorProto, theirs: DescriptorProto, name: str) -> list[str]:
    """The messages that both hold within. Raises `CorruptError`."""
    by_name = {field.name: field for field in theirs.field}
    by_number = {field.number: field for field in theirs.field}
    within = []
    for field in ours.field:
        other = by_name.get(field.name)
        if other is None and field.name in _READ.get(name, ()):
            raise CorruptError(f"the file's {name} has no field {field.name!r}")
        other = other or by_number.get(field.number)
        if other is None:
            continue
        if (there := _told(other)) != (here := _told(field)):
            raise CorruptError(f"the file's {name} has {there}, where this reads {here}")
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            within.append(field.type_name.removeprefix("."))
    return within


def _told(field: FieldDescriptorProto) -> str:
    """What a field's bytes mean, as its line in a `.proto` file says it."""
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    many = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    of = str(field.type_name).removeprefix(".")  # protobuf gives what is no UTF-8 as bytes
    return f"{many}{of or kind} {field.name} = {field.number}"


def _messages(files: Iterable[FileDescriptorProto]) -> dict[str, DescriptorProto]:
    """Messages by full name, those declared within messages included."""
    found: dict[str, DescriptorProto] = {}
    waiting = [(file.package, message) for file in files for message in file.message_type]
    while waiting:
        outer, message = waiting.pop()
        name = f"{outer}.{message.name}" if outer else message.name
        found[name] = message
        waiting += [(name, nested) for nested in message.nested_type]
    return found


def _files() -> dict[str, FileDescriptorProto]:
    """The files of all schemas that samples are read from; each after those that it needs."""
    files: dict[str, FileDescriptorProto] = {}

    def add(file: FileDescriptorProto, beside: Mapping[str, FileDescriptorProto]) -> None:
        for needed in file.dependency:
            add(beside[needed], beside)
        files.setdefault(file.name, file)

    for name in schemas.SAMPLES:
        listed = FileDescriptorSet.FromString(schemas.schema_bytes(name)).file
        beside = {file.name: file for file in listed}
        for file in listed:
            add(file, beside)
    return files


def _hold(descriptor: Descriptor, held: dict[str, Any]) -> None:
    held[descriptor.full_name] = GetMessageClass(descriptor)
    for field in descriptor.fields:
        within = field.message_type
        if within is not None and within.full_name not in held:
            _hold(within, held)


def _make(files: Iterable[FileDescriptorProto]) -> dict[str, Any]:
    """Each schema's class, and with it those of all that its messages can hold."""
    pool = DescriptorPool()
    for file in files:
        pool.Add(file)
    held: dict[str, Any] = {}
    for name in schemas.SAMPLES:
        _hold(pool.FindMessageTypeByName(name), held)
    return held


_OURS = _messages(_files().values())
# Made as the module is imported: two threads that made them at once would drop one's.
_CLASSES = _make(_files().values())
