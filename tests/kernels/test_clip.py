"""The clip file: deterministic, whole or refused, and readable by other people's tools."""

from __future__ import annotations

import io
import math
from pathlib import Path

import foxglove.messages as fox
import numpy as np
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from contracts.clip import Cause, ClipManifest, Window
from contracts.clock import ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.ids import EventKey, digest_file
from contracts.samples import (
    CalibrationSample,
    Detection,
    FixSample,
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
from kernels.clip.encoding import (
    LIDAR_CODEC,
    EncodedMessage,
    encode_log,
    encode_mount,
    encode_sample,
)
from kernels.clip.messages import message_class
from kernels.clip.perception import encode_perception
from kernels.clip.reader import read_manifest, read_messages, read_samples, read_spec_texts
from kernels.clip.writer import write_clip

OFFSET_NS = 1_700_000_000_000_000_123
SPEC = "apiVersion: longtail/v1\n"


def samples() -> list[Sample]:
    rng = np.random.default_rng(1)
    mount = np.array([[0, 0, 1, 1.5], [-1, 0, 0, 0.1], [0, -1, 0, 1.2], [0, 0, 0, 1]], np.float64)
    return [
        CalibrationSample("/camera/front", 1_000, 640, 360, np.diag([500.0, 501.0, 1.0]), mount,
                          "front"),
        SignalSample("ego.speed_mps", 1_001, math.pi),
        ImageSample("/camera/front", 1_002, "jpeg", b"\xff\xd8 not decoded here", 0, 0, "front"),
        RadarSample("/radar/front", 1_003, rng.normal(size=(3, 4))),
        PoseSample(1_004, np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 0.6, 0.8])),
        FixSample(1_005, 37.7, -122.5, 12.0),
        PlanSample(1_006, np.arange(4) / 2.0, rng.normal(size=(4, 2))),
        LidarSample("/lidar/top", 1_007, rng.uniform(-30, 30, (200, 3)).astype(np.float32),
                    rng.integers(0, 255, 200, np.uint8), "lidar"),
    ]  # fmt: skip


def perception() -> PerceptionFrame:
    found = Detection((1.0, 2.0, 30.0, 40.5), "car", 0.75, np.array([0.75, 0.1], np.float32))
    return PerceptionFrame(
        "/camera/front", 1_008, "ab" * 32, (found,), 0.3, 0.65, np.ones(4, np.float32) / 2
    )


def messages() -> list[EncodedMessage]:
    first = samples()[0]
    assert isinstance(first, CalibrationSample)
    return [
        encode_mount(first, OFFSET_NS),
        *(encode_sample(sample, OFFSET_NS) for sample in samples()),
        *encode_perception(perception(), OFFSET_NS),
        encode_log(1_009, OFFSET_NS, "hard-brake", "because"),
    ]


def manifest() -> ClipManifest:
    event = EventKey(vehicle_id="v", boot_id="b", start_mono_ns=1_001, end_mono_ns=1_005)
    cause = Cause(
        trigger_id="hard-brake", trigger_version=1, spec_digest="0" * 64, kind="hard_brake",
        fired_mono_ns=1_005, start_mono_ns=1_001, end_mono_ns=1_005, score=1.2,
        evidence={"decel_mps2": 3.5}, safety=True,
    )  # fmt: skip
    window = Window(start_mono_ns=1_000, end_mono_ns=1_010)
    return ClipManifest(
        event=event, drive_id="d", software_version="0.1.0", stream="triggered", causes=(cause,),
        requested=window, actual=window, utc_minus_mono_ns=OFFSET_NS,
        clock=ClockQuality(synchronised=True),
    )  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mcap"
    with path.open("wb") as stream:
        write_clip(stream, manifest(), messages(), {"hard-brake-v1.yaml": SPEC})
    return path


def test_same_event_packed_twice_has_one_id(clip: Path) -> None:
    again = io.BytesIO()
    written = write_clip(again, manifest(), messages(), {"hard-brake-v1.yaml": SPEC})
    assert again.getvalue() == clip.read_bytes()
    assert written.clip_id == digest_file(clip).clip_id()
    assert written.size_bytes == clip.stat().st_size


def test_samples_come_back_as_they_were(clip: Path) -> None:
    back = list(read_samples(clip))
    expected = samples()
    assert [type(s) for s in back] == [MountSample, *(type(s) for s in expected), PerceptionFrame]
    assert [s.mono_ns for s in back] == [1_000, *(s.mono_ns for s in expected), 1_008]
    mount, calibration, signal, image, radar, pose, fix, plan, lidar, frame = back
    assert isinstance(calibration, CalibrationSample)
    want = expected[0]
    assert isinstance(want, CalibrationSample)
    np.testing.assert_allclose(calibration.ego_SE3_camera, want.ego_SE3_camera, atol=1e-12)
    assert isinstance(mount, MountSample)
    assert mount.frame_id == "front"
    np.testing.assert_array_equal(calibration.intrinsics, want.intrinsics)
    assert signal == expected[1]
    assert isinstance(image, ImageSample)
    assert image.content == b"\xff\xd8 not decoded here"
    assert isinstance(radar, RadarSample)
    np.testing.assert_array_equal(radar.tracks, expected[3].tracks)  # type: ignore[union-attr]
    assert isinstance(pose, PoseSample)
    np.testing.assert_array_equal(pose.orientation_xyzw, [0.0, 0.0, 0.6, 0.8])
    assert fix == expected[5]
    assert isinstance(plan, PlanSample)
    np.testing.assert_array_equal(plan.xy_m, expected[6].xy_m)  # type: ignore[union-attr]
    assert isinstance(lidar, LidarSample)
    assert isinstance(frame, PerceptionFrame)
    assert frame.detections[0].box_px == (1.0, 2.0, 30.0, 40.5)
    np.testing.assert_array_equal(frame.embedding, np.full(4, 0.5))  # type: ignore[arg-type]


def test_manifest_and_specs_come_back(clip: Path) -> None:
    assert read_manifest(clip) == manifest()
    assert read_spec_texts(clip) == {"hard-brake-v1.yaml": SPEC}


@given(st.floats(allow_nan=False))
def test_signals_keep_every_bit(value: float) -> None:
    stream = io.BytesIO()
    message = encode_sample(SignalSample("ego.speed_mps", 5, value), OFFSET_NS)
    write_clip(stream, manifest(), [message], {})
    (back,) = read_samples(stream)
    assert isinstance(back, SignalSample)
    assert np.float64(back.value).tobytes() == np.float64(value).tobytes()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.integers(0, 70_000).map(lambda size: bytes(range(256)) * (size >> 8)),
)


@given(st.integers(0, 2**32 * 10**9 - 1), TEXTS, CONTENTS, st.booleans())
def test_pictures_and_sweeps_are_the_bytes_that_their_messages_write(
    utc_ns: int, frame_id: str, content: bytes, in_view: bool
) -> None:
    given = memoryview(content) if in_view else content
    picture = ImageSample("/camera/front", 0, "jpeg", given, 0, 0, frame_id)
    stamp = fox.Timestamp(sec=utc_ns // 10**9, nsec=utc_ns % 10**9)
    stock = fox.CompressedImage(timestamp=stamp, frame_id=frame_id, data=content, format="jpeg")
    assert encode_sample(picture, utc_ns).payload == stock.encode()

    points = np.frombuffer(content, np.uint8)[: len(content) // 3 * 3].astype(np.float32)
    xyz_m = points.reshape(-1, 3)
    sweep = LidarSample("/lidar/top", 0, xyz_m, np.zeros(len(xyz_m), np.uint8), frame_id)
    payload = encode_sample(sweep, utc_ns).payload
    message = message_class(schemas.LIDAR_SWEEP)()
    message.ParseFromString(payload)
    assert message.timestamp.ToNanoseconds() == utc_ns
    assert (message.frame_id, message.codec) == (frame_id, LIDAR_CODEC)
    assert message.SerializeToString(deterministic=True) == payload


def test_stock_reader_with_foxglove_schemas_reads_it(clip: Path) -> None:
    with clip.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        found = {c.topic: m for _, c, _, m in reader.iter_decoded_messages()}
        summary = reader.get_summary()
        attachments = [a.name for a in reader.iter_attachments()]
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(messages())
    assert attachments == ["trigger_spec/hard-brake-v1.yaml"]
    assert found["/signals/ego.speed_mps"].value == math.pi
    # The very classes that other people generate from Foxglove's schemas parse our payloads.
    for topic, kind in (
        ("/camera/front", CompressedImage), ("/pose", FrameTransform), ("/gnss/fix", LocationFix),
    ):  # fmt: skip
        parsed = kind.FromString(found[topic].SerializeToString())
        assert parsed.SerializeToString() == found[topic].SerializeToString()
    assert found["/gnss/fix"].latitude == 37.7
    assert found["/clip/cause"].message == "because"


def test_truncated_clip_is_refused_and_recovered_up_to_the_break(clip: Path) -> None:
    whole = clip.read_bytes()
    cut = io.BytesIO(whole[: len(whole) - 200])
    with pytest.raises(CorruptError, match="not a whole MCAP"):
        read_manifest(cut)
    recovered = []
    with pytest.raises(CorruptError, match="breaks off after"):
        for message in read_messages(cut):
            recovered.append(message)  # noqa: PERF402 - what came before the error counts
    assert len(recovered) == len(messages())


@given(st.data())
def test_damaged_clips_raise_corrupt_errors_only(data: st.DataObject) -> None:
    stream = io.BytesIO()
    write_clip(stream, manifest(), messages(), {"a.yaml": SPEC})
    damaged = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = damaged[: data.draw(st.integers(1, len(damaged)))]
    broken = io.BytesIO(bytes(damaged))
    try:
        for _ in read_samples(broken, OFFSET_NS):
            pass
        read_manifest(broken)
        read_spec_texts(broken)
    except CorruptError:
        pass


def test_a_full_disk_is_an_error_of_the_disk() -> None:
    class Full(io.BytesIO):
        def write(self, chunk: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_clip(Full(), manifest(), messages(), {})


def test_a_raw_image_cannot_be_stored() -> None:
    raw = ImageSample("/camera/front", 1, "rgb8", bytes(12), 2, 2, "front")
    with pytest.raises(InputError, match="compressed"):
        encode_sample(raw, 0)
