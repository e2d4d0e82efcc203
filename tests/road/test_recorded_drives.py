"""Real recorded drives over the whole road: agent, upload, receiver, catalog, search, open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client import CloudClient
from contracts.clock import NS_PER_S
from contracts.samples import PerceptionFrame, PoseSample, SignalSample
from edge_agent.app import run_agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from kernels.clip.reader import read_manifest, read_samples

PUBLISHED = Path(__file__).resolve().parents[2] / "trigger_specs"
CAN_ENGAGEMENT = 0x1D2


def drive(state: Path, source: str, cloud_url: str | None, **more: object) -> AgentReport:
    values = {"state": state, "source": source, "cloud": cloud_url, "specs": (PUBLISHED,), **more}
    return run_agent(AgentConfig.model_validate(values))


@pytest.fixture(scope="module")
def comma_report(
    shared_data: Path, cloud_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AgentReport:
    return drive(
        tmp_path_factory.mktemp("comma"), f"comma2k19:{shared_data / 'comma2k19'}", cloud_url,
        vehicle_id="rav4", rules=("ego.decel_mps2 > 2.0", "autonomy.engaged"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def segment(shared_data: Path) -> Path:
    (found,) = (shared_data / "comma2k19").glob("Example_1/*/40")
    return found


def _pulled(cloud: CloudClient, report: AgentReport, trigger: str, to: Path) -> Path:
    (clip,) = (clip for clip in report.clips if clip.trigger_ids == (trigger,))
    assert clip.state == "uploaded"
    return cloud.pull(clip.clip_id, to)


def _values(path: Path, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    found = [s for s in read_samples(path) if isinstance(s, SignalSample) and s.name == name]
    return np.array([s.mono_ns for s in found]), np.array([s.value for s in found])


def test_no_hard_brake_in_a_calm_minute(comma_report: AgentReport) -> None:
    assert comma_report.drive_s == pytest.approx(60.0, abs=0.1)
    assert comma_report.rejected == {}
    assert "hard-brake" not in [inactive.trigger_id for inactive in comma_report.inactive]
    assert "hard-brake" not in comma_report.triggers


def test_engagement_is_where_the_can_bus_says(
    comma_report: AgentReport, cloud: CloudClient, segment: Path, tmp_path: Path
) -> None:
    path = _pulled(cloud, comma_report, "rule-2", tmp_path)
    raw = segment / "processed_log" / "CAN" / "raw_can"
    first_can_s = float(np.load(raw / "t")[0])
    times_ns, engaged = _values(path, "autonomy.engaged")
    rise = int(np.flatnonzero(np.diff(engaged) > 0)[0]) + 1
    assert times_ns[rise] / NS_PER_S - first_can_s == pytest.approx(9.02, abs=0.1)
    (cause,) = read_manifest(path).causes
    assert cause.start_mono_ns / NS_PER_S - first_can_s == pytest.approx(9.02, abs=0.1)


def test_the_rule_captures_the_braking_with_its_rolls(
    comma_report: AgentReport, cloud: CloudClient, tmp_path: Path
) -> None:
    path = _pulled(cloud, comma_report, "rule-1", tmp_path)
    manifest = read_manifest(path)
    (cause,) = manifest.causes
    assert cause.evidence["ego.decel_mps2"] > 2.0
    assert manifest.requested.start_mono_ns == cause.start_mono_ns - 5 * NS_PER_S
    assert manifest.requested.end_mono_ns == cause.end_mono_ns + 5 * NS_PER_S
    assert manifest.actual.start_mono_ns - manifest.requested.start_mono_ns < NS_PER_S // 50
    # The recording ends while the vehicle still brakes: the manifest tells what is missing.
    assert manifest.actual.end_mono_ns - cause.end_mono_ns > 0.9 * NS_PER_S
    assert manifest.actual.end_mono_ns < manifest.requested.end_mono_ns
    assert manifest.summary.max_decel_mps2 == pytest.approx(2.35, abs=0.1)
    assert manifest.summary.tod == "day"


def test_ego_signals_in_the_clip_are_those_of_the_recording(
    comma_report: AgentReport, cloud: CloudClient, segment: Path, tmp_path: Path
) -> None:
    path = _pulled(cloud, comma_report, "rule-1", tmp_path)
    window = read_manifest(path).actual
    log = segment / "processed_log"
    for name, folder, column, factor in (
        ("ego.speed_mps", "CAN/speed", 0, 1.0),
        ("ego.wheel_fl_mps", "CAN/wheel_speed", 0, 1.0),
        ("ego.wheel_rr_mps", "CAN/wheel_speed", 3, 1.0),
        ("ego.steering_angle_rad", "CAN/steering_angle", 0, np.pi / 180.0),
        ("imu.accel_x_mps2", "IMU/accelerometer", 0, 1.0),
    ):
        t_ns = np.round(np.load(log / folder / "t") * 1e9).astype(np.int64)
        values = np.load(log / folder / "value").reshape(len(t_ns), -1)[:, column] * factor
        inside = (t_ns >= window.start_mono_ns) & (t_ns <= window.end_mono_ns)
        clip_ns, clip_values = _values(path, name)
        np.testing.assert_array_equal(clip_ns, t_ns[inside])
        np.testing.assert_allclose(clip_values, values[inside], rtol=1e-15, atol=0)
    poses = [s for s in read_samples(path) if isinstance(s, PoseSample)]
    assert len(poses) == pytest.approx(20 * 6, abs=2)


def test_the_same_drive_again_sends_nothing_twice(
    comma_report: AgentReport, shared_data: Path, cloud_url: str, cloud: CloudClient, tmp_path: Path
) -> None:
    again = drive(
        tmp_path, f"comma2k19:{shared_data / 'comma2k19'}", None,
        vehicle_id="rav4", rules=("ego.decel_mps2 > 2.0", "autonomy.engaged"),
    )  # fmt: skip
    assert {c.clip_id for c in again.clips} == {c.clip_id for c in comma_report.clips}
    found = [row.clip_id for row in cloud.search("vehicle_id = 'rav4'")]
    assert sorted(found) == sorted(c.clip_id for c in comma_report.clips)


def test_camera_drive_is_perceived_captured_and_found(
    shared_data: Path, cloud_url: str, cloud: CloudClient, tmp_path: Path
) -> None:
    report = drive(
        tmp_path, f"kitti:{shared_data / 'kitti_approach78'}", cloud_url, vehicle_id="kitti-car",
        model=shared_data / "models" / "yolox_nano.onnx",
    )  # fmt: skip
    assert report.samples["ImageSample"] == 78
    assert report.timing is not None
    assert report.timing.frames == 78
    assert 0 < report.timing.model_share < 1
    assert report.timing.p50_ms <= report.timing.p99_ms
    rows = list(cloud.search("'car' = ANY(detected_objects) AND vehicle_id = 'kitti-car'"))
    assert [row.clip_id for row in rows] == [clip.clip_id for clip in report.clips]
    assert list(cloud.search("'zebra' = ANY(detected_objects) AND vehicle_id = 'kitti-car'")) == []
    path = cloud.pull(rows[0].clip_id, tmp_path)
    frames = [s for s in read_samples(path) if isinstance(s, PerceptionFrame)]
    assert len(frames) == rows[0].image_frames
    cars = [d for frame in frames for d in frame.detections if d.class_name == "car"]
    assert max(car.probability for car in cars) > 0.85


def test_lidar_scans_are_captured_within_the_codecs_bound(
    shared_data: Path, tmp_path: Path
) -> None:
    report = drive(
        tmp_path, f"kitti:{shared_data / 'kitti_tracking' / 'velodyne_0000'}", None,
        specs=(), rules=(), vehicle_id="kitti-lidar",
    )  # fmt: skip
    assert report.samples["LidarSample"] == 30
