"""Classes of a clip's messages: kept, shared by threads, and compared with what a file brings."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from mcap.records import Schema

from contracts.errors import CorruptError
from contracts.samples import Cuboid, Detection, PerceptionFrame, RadarSample
from kernels.clip import schemas
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.encoding import EncodedMessage
from kernels.clip.messages import message_class
from kernels.clip.perception import encode_perception
from tests.kernels.test_clip import OFFSET_NS, messages

FRAME = PerceptionFrame(
    "/camera/front", 7, "ab" * 32,
    (
        Detection(
            (1.0, 2.0, 30.0, 40.5), "car", 0.75, np.array([0.75, 0.1], np.float32),
            Cuboid((8.0, 1.0, 0.5), (4.0, 2.0, 1.5), 0.25, (3.0, 0.5)),
        ),
    ),
    0.3, 0.65, np.full(4, 0.5, np.float32), np.ones(3, np.float32), np.ones(2, np.float32),
)  # fmt: skip
YOUNG = {"embedding", "light", "present", "cuboid", "without_box_px"}
"""Fields that files of older software lack."""


def encoded() -> dict[str, EncodedMessage]:
    """One message of each schema that samples are read from, with all fields set."""
    found = {message.schema_name: message for message in messages()}
    found[schemas.PERCEPTION] = encode_perception(FRAME, OFFSET_NS)[0]
    return {name: found[name] for name in schemas.SAMPLES}


def files_of(name: str) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(schemas.schema_bytes(name))


def message_of(files: FileDescriptorSet, full_name: str) -> DescriptorProto:
    (found,) = [
        message for file in files.file for message in file.message_type
        if f"{file.package}.{message.name}" == full_name
    ]  # fmt: skip
    return found


def field_of(files: FileDescriptorSet, full_name: str, field: str) -> FieldDescriptorProto:
    (found,) = [f for f in message_of(files, full_name).field if f.name == field]
    return found


def decode(name: str, files: FileDescriptorSet | bytes, payload: bytes | None = None) -> Any:
    data = files if isinstance(files, bytes) else files.SerializeToString()
    message = encoded()[name]
    schema = Schema(id=1, name=name, encoding="protobuf", data=data)
    return PayloadDecoder().decode(
        schema, message.channel, message.mono_ns, message.payload if payload is None else payload
    )


def fields() -> Iterator[tuple[str, str, str]]:
    """Schema, message within, field: all that both a file and we may know."""
    for name in schemas.SAMPLES:
        waiting, seen = [message_class(name).DESCRIPTOR], set()
        while waiting:
            descriptor = waiting.pop()
            if descriptor.full_name in seen:
                continue
            seen.add(descriptor.full_name)
            for field in descriptor.fields:
                yield name, descriptor.full_name, field.name
                if field.message_type is not None:
                    waiting.append(field.message_type)


def without(message: Any, full_name: str, field: str) -> None:
    """Take a field away wherever the message holds it."""
    if message.DESCRIPTOR.full_name == full_name:
        message.ClearField(field)
    for held, value in message.ListFields():
        if held.message_type is not None:
            for within in [value] if hasattr(value, "ListFields") else value:
                without(within, full_name, field)


def told(sample: Any) -> str:
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr(sample)


def test_a_class_outlives_its_last_instance() -> None:
    """As garbage it is handed out still, half cleared when another thread collects."""
    perception, sweep = message_class(schemas.PERCEPTION)(), message_class(schemas.LIDAR_SWEEP)()
    tracks, pose = message_class(schemas.RADAR_TRACKS)(), message_class(schemas.TRANSFORM)()
    kept = [
        weakref.ref(type(within)) for within in (
            perception.detections.add(), perception.detections[0].cuboid, perception.timestamp,
            sweep.timestamp, tracks.tracks.add(), pose.translation, pose.rotation,
        )
    ]  # fmt: skip
    del perception, sweep, tracks, pose
    gc.collect()
    assert all(reference() is not None for reference in kept)


STRESS = """
import faulthandler, gc, io, sqlite3, sys, threading
from kernels.clip.reader import read_samples
from kernels.clip.perception import encode_perception
from kernels.clip.decoding import OwnDecoder
from kernels.clip.writer import write_clip
from tests.kernels.test_clip import OFFSET_NS, manifest, messages, perception

faulthandler.enable()
sys.setswitchinterval(1e-5)
gc.collect()
gc.freeze()
stream = io.BytesIO()
write_clip(stream, manifest(), messages(), {})
clip = stream.getvalue()

def pack():
    for _ in range(2_000):
        OwnDecoder().decode(encode_perception(perception(), OFFSET_NS)[0])

def read():
    for _ in range(100):
        assert len(list(read_samples(io.BytesIO(clip)))) > 5

class Holder:
    pass

threads = [threading.Thread(target=work) for work in (pack, pack, read)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    holder = Holder()  # garbage whose clearing lets go of the interpreter
    holder.itself, holder.store = holder, sqlite3.connect(":memory:", check_same_thread=False)
    del holder
    gc.collect()
print("alive")
"""


def test_threads_decode_while_another_collects_garbage() -> None:
    run = subprocess.run(
        [sys.executable, "-c", STRESS], capture_output=True, text=True, timeout=300, check=False
    )
    assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr


def test_a_file_s_schemas_make_no_classes() -> None:
    files = files_of(schemas.PERCEPTION)
    message_of(files, "longtail.Perception").field.add(name="newer", number=99, type=1, label=1)
    pools = sum("DescriptorPool" in type(o).__name__ for o in gc.get_objects())
    assert isinstance(decode(schemas.PERCEPTION, files), PerceptionFrame)
    assert sum("DescriptorPool" in type(o).__name__ for o in gc.get_objects()) == pools


@pytest.mark.parametrize("name", schemas.SAMPLES)
def test_a_file_may_know_more_and_declare_it_in_another_order(name: str) -> None:
    files = files_of(name)
    for file in files.file:
        for message in file.message_type:
            message.field.add(name="of_tomorrow", number=500, type=9, label=3)
            message.field.sort(key=lambda field: -field.number)
    assert told(decode(name, files)) == told(decode(name, schemas.schema_bytes(name)))


@pytest.mark.parametrize(("name", "within", "field"), list(fields()))
def test_a_field_that_means_something_else_is_refused(name: str, within: str, field: str) -> None:
    for change in ("number", "kind", "many", "renamed"):
        files = files_of(name)
        found = field_of(files, within, field)
        if change == "number":
            found.number += 400
        elif change == "kind":
            found.ClearField("type_name")
            found.type = 16 if found.type != 16 else 1  # sfixed64... or a double
        elif change == "many":
            found.label = 4 - found.label  # optional is 1, repeated 3
        else:
            found.name = "its_number_is_taken"
        with pytest.raises(CorruptError, match=field) as refused:
            decode(name, files)
        assert encoded()[name].channel in str(refused.value)
        assert within in str(refused.value)


@pytest.mark.parametrize(("name", "within", "field"), list(fields()))
def test_what_a_file_cannot_say_is_never_made_up(name: str, within: str, field: str) -> None:
    """A file without a field is refused, unless the sample is the same without it, or older."""
    message = message_class(name).FromString(encoded()[name].payload)
    without(message, within, field)
    files = files_of(name)
    found = message_of(files, within)
    found.field.remove(field_of(files, within, field))
    try:
        sample = decode(name, files, message.SerializeToString())
    except CorruptError as refusal:
        assert f"the file's {within} has no field {field!r}" in refusal.message
        return
    if field not in YOUNG:
        assert told(sample) == told(decode(name, schemas.schema_bytes(name)))


def test_a_file_of_the_first_release_is_read() -> None:
    """Its detections have a box and a class, and no more."""
    files = files_of(schemas.PERCEPTION)
    message = message_class(schemas.PERCEPTION).FromString(encoded()[schemas.PERCEPTION].payload)
    for within in ("longtail.Detection", "longtail.Perception"):
        known = message_of(files, within)
        for field in [field for field in known.field if field.name in YOUNG]:
            without(message, within, field.name)
            known.field.remove(field)
    frame = decode(schemas.PERCEPTION, files, message.SerializeToString())
    assert frame.embedding is None and frame.light is None and frame.present is None
    assert frame.detections[0].cuboid is None
    assert frame.detections[0].box_px == FRAME.detections[0].box_px


@pytest.mark.parametrize("made", [CompressedImage, FrameTransform, LocationFix, CameraCalibration])
def test_schemas_that_others_generated_are_ours(made: Any) -> None:
    """protoc's descriptors of Foxglove's files: other bytes, and the same fields."""
    files, waiting = FileDescriptorSet(), [made.DESCRIPTOR.file]
    while waiting:
        file = waiting.pop()
        file.CopyToProto(files.file.add())
        waiting += file.dependencies
    name = made.DESCRIPTOR.full_name
    assert files.SerializeToString() != schemas.schema_bytes(name)
    assert told(decode(name, files)) == told(decode(name, schemas.schema_bytes(name)))


def test_schemas_that_are_none() -> None:
    with pytest.raises(CorruptError, match="cannot decode foxglove"):
        decode(schemas.LOCATION_FIX, b"\xff\xff\xff")
    with pytest.raises(CorruptError, match="holds no message longtail"):
        decode(schemas.RADAR_TRACKS, b"")
    files = files_of(schemas.RADAR_TRACKS)
    message_of(files, "longtail.RadarTrack").name = "Other"
    with pytest.raises(CorruptError, match=r"holds no message longtail\.RadarTrack$"):
        decode(schemas.RADAR_TRACKS, files)
    files = files_of(schemas.RADAR_TRACKS)
    field_of(files, schemas.RADAR_TRACKS, "tracks").type_name = "XXXX"
    no_text = files.SerializeToString().replace(b"XXXX", b"\xff\xfe\xfd\xfc")
    with pytest.raises(CorruptError, match="where this reads repeated longtail"):
        decode(schemas.RADAR_TRACKS, no_text)
    message = encoded()[schemas.RADAR_TRACKS]
    written_as_json = Schema(id=1, name=message.schema_name, encoding="jsonschema", data=b"{}")
    with pytest.raises(CorruptError, match="is not protobuf"):
        PayloadDecoder().decode(written_as_json, message.channel, 0, message.payload)


def test_messages_of_other_programs_are_passed_over() -> None:
    other = Schema(id=1, name="acme.Thing", encoding="protobuf", data=b"\xff")
    assert PayloadDecoder().decode(other, "/acme", 0, b"\xff\xff") is None
    same = encoded()[schemas.RADAR_TRACKS]
    assert isinstance(decode(schemas.RADAR_TRACKS, files_of(same.schema_name)), RadarSample)
