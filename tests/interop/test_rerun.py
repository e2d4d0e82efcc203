"""Rerun opens the agent's clips with its own MCAP importer; nothing is lost, shifted or changed.

What Rerun gives a meaning of its own (images, cameras, transforms, fixes, log lines) is compared
with what our reader gives; everything else must arrive as named fields, not as raw bytes.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest

from contracts.channels import CAUSE, FIX, POSE, SIGNAL_PREFIX, TRANSFORMS
from contracts.clip import CLIP_METADATA_NAME, ClipManifest
from contracts.samples import (
    CalibrationSample,
    FixSample,
    ImageSample,
    LidarSample,
    PerceptionFrame,
    PoseSample,
    SignalSample,
)
from edge_agent.sources.registry import open_source
from kernels.clip.reader import read_manifest, read_messages, read_samples, read_spec_texts
from tests.interop.programs import SIM, Drive, clean_environment, clips_of, run_agent

if TYPE_CHECKING:
    from rerun.chunk import Chunk

    from tests.interop.rerun_clip import Entity

pytestmark = pytest.mark.interop

INTERPRETED = {
    "foxglove.CompressedImage": "EncodedImage:blob",
    "foxglove.CameraCalibration": "Pinhole:image_from_camera",
    "foxglove.FrameTransform": "Transform3D:translation",
    "foxglove.LocationFix": "GeoPoints:positions",
    "foxglove.Log": "TextLog:text",
}
"""Schemas that Rerun shows by itself, and the component that says so."""
AS_FIELDS = {
    "foxglove.ImageAnnotations", "longtail.Signal", "longtail.Perception", "longtail.RadarTracks",
    "longtail.PlannedTrajectory", "longtail.LidarSweep",
}  # fmt: skip
"""Schemas that it has no view for: they arrive field by field as `<schema>:message`."""

RECIPE = Path(__file__).parents[2] / "docs" / "interop.md"
S = TypeVar("S")


@dataclass(frozen=True)
class Opened:
    """One clip, read by Rerun and by us. Our times are log times, as Rerun's."""

    path: Path
    manifest: ClipManifest
    chunks: list[Chunk]
    entities: dict[str, Entity]
    samples: list[Any]

    def ours(self, kind: type[S], channel: str | None = None) -> list[S]:
        return [
            s
            for s in self.samples
            if isinstance(s, kind) and (channel is None or getattr(s, "channel", None) == channel)
        ]

    def log_times_ns(self, samples: list[Any]) -> list[int]:
        return [s.mono_ns + self.manifest.utc_minus_mono_ns for s in samples]


def opened(path: Path) -> Opened:
    pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed (make interop)")
    from tests.interop.rerun_clip import entities_of, read_chunks

    chunks = read_chunks(path)
    return Opened(path, read_manifest(path), chunks, entities_of(chunks), list(read_samples(path)))


@pytest.fixture(scope="module")
def sim(sim_drive: Drive) -> Opened:
    return opened(sim_drive.clip)


@pytest.fixture(scope="module")
def kitti(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Real camera images (PNG) with boxes of a real detector."""
    state = tmp_path_factory.mktemp("kitti") / "state"
    model = shared_data / "models" / "yolox_nano.onnx"
    run_agent(state, f"kitti:{shared_data / 'kitti_approach78'}", "--model", str(model))
    return opened(clips_of(state)[0])


@pytest.fixture(scope="module")
def comma(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A real drive: GNSS, poses, radar and vehicle signals at their own rates."""
    state = tmp_path_factory.mktemp("comma") / "state"
    segments = shared_data / "comma2k19" / "Example_1"
    run_agent(state, f"comma2k19:{segments}", "--rule", "ego.decel_mps2 > 2.0")
    return opened(clips_of(state)[0])


@pytest.fixture(params=["sim", "kitti", "comma"])
def clip(request: pytest.FixtureRequest) -> Opened:
    found: Opened = request.getfixturevalue(request.param)
    return found


def test_every_message_arrives_at_its_time(clip: Opened) -> None:
    expected: dict[str, list[int]] = defaultdict(list)
    for message in read_messages(clip.path):
        expected[message.channel].append(message.log_ns)
    assert {name: entity.times_ns for name, entity in clip.entities.items()} == dict(expected)
    counted = {channel.name: channel.messages for channel in clip.manifest.channels}
    assert {name: len(e.times_ns) for name, e in clip.entities.items()} == counted


def test_no_channel_is_opaque(clip: Opened) -> None:
    """What Rerun knows it must go on knowing; it may come to know more."""
    schemas = {message.channel: message.schema.name for message in read_messages(clip.path)}
    for channel, schema in schemas.items():
        components = clip.entities[channel].components
        if schema in INTERPRETED:
            assert INTERPRETED[schema] in components, channel
        else:
            assert schema in AS_FIELDS, channel
        assert not any(name.startswith("McapMessage") for name in components), channel


def test_manifest_and_specs_arrive(clip: Opened) -> None:
    from tests.interop.rerun_clip import static_of

    records = static_of(clip.chunks, "/__mcap_metadata")[CLIP_METADATA_NAME]
    found = {pair["first"]: pair["second"] for pair in records[0]}
    assert ClipManifest.model_validate_json(found["manifest"]) == clip.manifest
    attached = static_of(clip.chunks, "/__mcap_attachments")["data"]
    assert sorted(bytes(text).decode() for text in attached) == sorted(
        read_spec_texts(clip.path).values()
    )


def test_signals_arrive_to_the_last_bit(clip: Opened) -> None:
    """Also through the lens that makes scalars of them, which is what a plot shows."""
    from rerun.chunk import DeriveLens, LazyChunkStream

    from tests.interop.rerun_clip import entities_of

    lens = DeriveLens("longtail.Signal:message").to_scalars(".value")
    stream = LazyChunkStream.from_iter(clip.chunks).lenses(lens, output_mode="drop_unmatched")
    scalars = entities_of(stream.to_chunks())
    expected: dict[str, list[SignalSample]] = defaultdict(list)
    for sample in clip.ours(SignalSample):
        expected[SIGNAL_PREFIX + sample.name].append(sample)
    signals = {name for name in clip.entities if name.startswith(SIGNAL_PREFIX)}
    assert set(expected) == signals == set(scalars)
    for name, samples in expected.items():
        assert scalars[name].times_ns == clip.log_times_ns(samples)
        values = scalars[name].array("Scalars:scalars")
        np.testing.assert_array_equal(values, [s.value for s in samples], err_msg=name)


@pytest.mark.parametrize(("name", "media_type"), [("sim", "image/jpeg"), ("kitti", "image/png")])
def test_images_arrive_byte_for_byte(
    request: pytest.FixtureRequest, name: str, media_type: str
) -> None:
    clip: Opened = request.getfixturevalue(name)
    images = clip.ours(ImageSample)
    assert len(images) > 20
    channels = {image.channel for image in images}
    for channel in channels:
        expected = [image for image in images if image.channel == channel]
        entity = clip.entities[channel]
        assert entity.times_ns == clip.log_times_ns(expected)
        assert entity.blobs("EncodedImage:blob") == [bytes(i.content) for i in expected]
        assert set(entity.column("EncodedImage:media_type")) == {media_type}
        frames = {f"{image.frame_id}_image_plane" for image in expected}
        assert set(entity.column("CoordinateFrame:frame")) == frames


def test_camera_and_frames_form_one_tree(sim: Opened) -> None:
    """world ← ego ← camera ← its image plane: enough to draw an image at its place."""
    (calibration,) = sim.ours(CalibrationSample)
    camera = sim.entities[calibration.channel + "/calibration"]
    (matrix,) = camera.array("Pinhole:image_from_camera")
    np.testing.assert_allclose(matrix.reshape(3, 3).T, calibration.intrinsics, rtol=1e-6)
    assert camera.array("Pinhole:resolution").tolist() == [[calibration.width, calibration.height]]
    parents = {
        child: parent
        for entity, kind in (
            (camera, "Pinhole"), (sim.entities[TRANSFORMS], "Transform3D"),
            (sim.entities[POSE], "Transform3D"),
        )
        for child, parent in zip(
            entity.column(f"{kind}:child_frame"), entity.column(f"{kind}:parent_frame"),
            strict=True,
        )
    }  # fmt: skip
    plane = f"{calibration.frame_id}_image_plane"
    mounted = {"camera_front": "ego", "lidar_top": "ego"}
    assert parents == {plane: calibration.frame_id, **mounted, "ego": "world"}
    mounts = dict(
        zip(
            sim.entities[TRANSFORMS].column("Transform3D:child_frame"),
            sim.entities[TRANSFORMS].array("Transform3D:translation"),
            strict=True,
        )
    )
    head = list(itertools.islice(open_source(SIM).samples(), 2))
    (wanted,) = (s for s in head if isinstance(s, CalibrationSample))
    np.testing.assert_allclose(mounts["camera_front"], wanted.ego_SE3_camera[:3, 3], rtol=1e-6)
    # Read back by ourselves, the calibration has its mount again.
    np.testing.assert_allclose(calibration.ego_SE3_camera, wanted.ego_SE3_camera, atol=1e-9)


@pytest.mark.parametrize("name", ["sim", "comma"])
def test_poses_and_fixes_arrive(request: pytest.FixtureRequest, name: str) -> None:
    clip: Opened = request.getfixturevalue(name)
    poses, fixes = clip.ours(PoseSample), clip.ours(FixSample)
    assert poses and fixes
    entity = clip.entities[POSE]
    assert entity.times_ns == clip.log_times_ns(poses)
    # Rerun keeps transforms in single precision.
    np.testing.assert_allclose(
        entity.array("Transform3D:translation"), [p.position_m for p in poses], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        entity.array("Transform3D:quaternion"), [p.orientation_xyzw for p in poses], atol=1e-6
    )
    entity = clip.entities[FIX]
    assert entity.times_ns == clip.log_times_ns(fixes)
    np.testing.assert_array_equal(
        entity.array("GeoPoints:positions"), [(f.lat_deg, f.lon_deg) for f in fixes]
    )


@pytest.mark.parametrize("name", ["sim", "kitti"])
def test_boxes_arrive_field_by_field(request: pytest.FixtureRequest, name: str) -> None:
    clip: Opened = request.getfixturevalue(name)
    frames = clip.ours(PerceptionFrame)
    assert sum(len(frame.detections) for frame in frames) > 20
    entity = clip.entities[f"/perception/{frames[0].channel.removeprefix('/camera/')}/annotations"]
    assert entity.times_ns == clip.log_times_ns(frames)
    messages = entity.column("foxglove.ImageAnnotations:message")
    for frame, message in zip(frames, messages, strict=True):
        shown = [_box(outline["points"]) for outline in message["points"] or []]
        assert shown == [pytest.approx(d.box_px) for d in frame.detections]
        texts = [text["text"].split(" ")[0] for text in message["texts"] or []]
        assert texts == [d.class_name.split(" ")[0] for d in frame.detections]


def _box(points: list[dict[str, float]]) -> tuple[float, float, float, float]:
    xs, ys = [p["x"] for p in points], [p["y"] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def test_causes_arrive_as_log_lines(clip: Opened) -> None:
    texts = clip.entities[CAUSE].column("TextLog:text")
    assert len(texts) == len(clip.manifest.causes)
    for text, cause in zip(texts, clip.manifest.causes, strict=True):
        assert cause.kind in text and cause.evidence_text in text and f"{cause.score:g}" in text


def test_the_published_recipe_adds_boxes_and_lidar_points(sim: Opened, tmp_path: Path) -> None:
    """The code in docs/interop.md, run as it stands there."""
    from rerun.chunk import RrdReader

    from tests.interop.rerun_clip import entities_of

    script, made = tmp_path / "enrich.py", tmp_path / "clip.rrd"
    script.write_text(RECIPE.read_text().split("```python\n")[1].split("```")[0])
    subprocess.run(
        [sys.executable, str(script), str(sim.path), str(made)],
        stdin=subprocess.DEVNULL, timeout=120, check=True, env=clean_environment(),
    )  # fmt: skip
    entities = entities_of(list(RrdReader(made).stream().to_chunks()))
    assert set(sim.entities) < set(entities)
    frames = sim.ours(PerceptionFrame)
    boxes = entities["/camera/front/boxes"]
    assert boxes.times_ns == sim.log_times_ns(frames)
    cells = [c for b in boxes.batches for c in b.column("Boxes2D:half_sizes").to_pylist()]
    assert [len(cell or []) for cell in cells] == [len(f.detections) for f in frames]
    sweeps = sim.ours(LidarSample)
    points = entities["/lidar/top/points"]
    assert points.times_ns == sim.log_times_ns(sweeps)
    clouds = [c for b in points.batches for c in b.column("Points3D:positions")]
    assert [len(cloud) for cloud in clouds] == [len(s.xyz_m) for s in sweeps]


@pytest.fixture
def rerun(tmp_path: Path) -> Iterator[Any]:
    """Rerun's command with its usage reports switched off, in folders of its own."""
    own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("rerun")), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            env=clean_environment(own | {"NO_COLOR": "1"}),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("analytics", "disable")
    yield run


def test_the_commands_of_rerun_accept_the_file(clip: Opened, rerun: Any, tmp_path: Path) -> None:
    """`rerun clip.mcap` takes the same road as `rerun mcap convert`."""
    checked = rerun("mcap", "check", "--full", str(clip.path))
    rows = [line for line in checked.splitlines() if " /" in line and "—" in line]
    assert len(rows) == len(clip.entities), checked
    assert all(row.startswith("ok") for row in rows), checked
    made = tmp_path / "clip.rrd"
    rerun("mcap", "convert", str(clip.path), "-o", str(made))
    rerun("rrd", "verify", str(made))
    config = json.loads((tmp_path / "rerun" / "analytics.json").read_text())
    assert config["analytics_enabled"] is False
