"""ROS 2 bags, written by rosbags itself in both storages and read back as a drive."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import simplejpeg

from contracts.errors import CorruptError, InputError
from contracts.samples import (
    CalibrationSample,
    FixSample,
    ImageSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    Sample,
    SignalSample,
)
from edge_agent.kit.conformance import check_planner_tap, check_refusals, check_source
from edge_agent.sources.registry import open_source
from edge_agent.sources.ros2.mapping import no_map
from edge_agent.sources.ros2.source import Ros2Source
from edge_agent.sources.ros2.wiring import wire
from tests.edge_agent import bags
from tests.edge_agent.bags import MS, START, BagWriter, bag_writer

JPEG = simplejpeg.encode_jpeg(np.full((48, 64, 3), 90, np.uint8))
S = TypeVar("S", bound=Sample)
QUARTER = float(np.sqrt(0.5))
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # x right, y down, z forward in x forward, y left, z up

MAP = """apiVersion: longtail/v1
kind: RosMap
signals:
  autonomy.engaged: {topic: /autonomy/state, field: data, states: {AUTO: 1}, otherwise: 0}
  driver.brake_pressed: {topic: /brake, field: data}
  ego.steering_angle_rad: {topic: /joy, field: "axes[0]", unit: deg}
"""


def write_drive(bag: BagWriter, seconds: float = 2.0) -> None:
    """A vehicle driving a left bend at 10 m/s, recorded with some delay."""
    bag.put(
        "/tf_static",
        bags.transforms(
            ("base_link", "roof", (1.0, 0.0, 1.5), (0, 0, 0, 1)),
            ("roof", "lidar", (0.0, 0.0, 0.5), (0, 0, QUARTER, QUARTER)),
            ("roof", "camera_optical", (0.2, 0.0, 0.0), OPTICAL),
        ),
        START,
    )
    for i in range(round(seconds * 20)):
        at = START + i * 50 * MS
        x = 10 * i * 0.05
        bag.put("/odom", bags.odometry(at, x, 0.01 * x, 0.02 * i, 10.0), at + 5 * MS)
        bag.put("/imu/data", bags.imu(at), at + 2 * MS)
        if i % 2 == 0:
            bag.put("/camera/front/image_raw/compressed", bags.compressed(at, JPEG), at + 60 * MS)
            bag.put("/camera/front/camera_info", bags.camera_info(at, 64, 48), at + 60 * MS)
            bag.put("/velodyne_points", bags.cloud(at, bags.sweep(i)), at + 130 * MS)
            points = [(10 * k * 0.1, 0.0) for k in range(31)]
            bag.put("/plan", bags.path(at, "base_link", points, 100 * MS), at + 30 * MS)
        if i % 20 == 0:
            bag.put("/gnss", bags.nav_fix(at, 48.1, 11.5), at + MS)
    bag.put("/notes", bags.T["std_msgs/msg/String"](data="not ours"), START + MS)


def drive_bag(folder: Path, storage: str = "sqlite3") -> Path:
    with bag_writer(folder / storage, storage) as bag:
        write_drive(bag)
    return folder / storage


def of(samples: list[Sample], kind: type[S]) -> list[S]:
    return [s for s in samples if isinstance(s, kind)]


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_is_a_drive_without_any_mapping(tmp_path: Path, storage: str) -> None:
    path = drive_bag(tmp_path, storage)
    report = check_planner_tap(lambda: open_source(f"ros2:{path}"))
    assert report.notes == ()
    assert report.samples["/lidar/velodyne_points"] == 20
    assert report.samples["/camera/front"] == 20 + 1  # and its calibration
    assert report.samples["/pose"] == 40 and report.samples["/gnss/fix"] == 2
    assert report.samples["/signals/ego.speed_mps"] == 40
    source = open_source(f"ros2:{path}")
    told = source.describe()
    samples = list(source.samples())
    assert isinstance(samples[0], CalibrationSample) and isinstance(samples[1], MountSample)
    first_pose = of(samples, PoseSample)[0]
    assert first_pose.mono_ns + told.utc_minus_mono_ns == START  # the stamp, not the recording
    assert bytes(of(samples, ImageSample)[0].content) == JPEG
    assert told.clock.source == "recording" and told.has_plan and told.has_pose


def test_both_storages_give_the_same(tmp_path: Path) -> None:
    one, other = (
        [(type(s).__name__, s.mono_ns) for s in open_source(f"ros2:{path}").samples()]
        for path in (drive_bag(tmp_path, "sqlite3"), drive_bag(tmp_path, "mcap"))
    )
    assert one == other


def test_sensors_are_placed_by_the_static_transforms(tmp_path: Path) -> None:
    samples = list(open_source(f"ros2:{drive_bag(tmp_path)}").samples())
    camera = of(samples, CalibrationSample)[0]
    np.testing.assert_allclose(camera.ego_SE3_camera[:3, 3], [1.2, 0, 1.5])
    np.testing.assert_allclose(camera.ego_SE3_camera[:3, 2], [1, 0, 0], atol=1e-9)  # z: forward
    np.testing.assert_allclose(camera.intrinsics, [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    lidar = of(samples, MountSample)[0]
    np.testing.assert_allclose(lidar.ego_SE3_sensor @ [1, 0, 0, 1], [1, 1, 2, 1], atol=1e-9)


def test_a_sweep_is_stamped_at_its_end_and_counts_rings_from_the_top(tmp_path: Path) -> None:
    found = of(list(open_source(f"ros2:{drive_bag(tmp_path)}").samples()), LidarSample)[0]
    assert found.time_offset_ns is not None and found.ring is not None
    assert found.time_offset_ns[-1] == 0 and found.time_offset_ns[0] == -255 * 390_000
    wanted = bags.sweep(0)
    np.testing.assert_array_equal(found.ring, 15 - wanted["ring"])
    np.testing.assert_array_equal(found.intensity, wanted["intensity"].astype(np.uint8))
    np.testing.assert_array_equal(found.xyz_m[:, 2], wanted["z"])


def test_signals_come_from_fields_that_the_mapping_names(tmp_path: Path) -> None:
    path, mapping = tmp_path / "bag", tmp_path / "map.yaml"
    mapping.write_text(MAP)
    with bag_writer(path) as bag:
        for i, state in enumerate(["MANUAL", "AUTO", "AUTO", "SOMETHING"]):
            at = START + i * 100 * MS
            bag.put("/autonomy/state", bags.T["std_msgs/msg/String"](data=state), at)
            bag.put("/brake", bags.T["std_msgs/msg/Bool"](data=bool(i % 2)), at)
            axes = np.array([90.0] if i else [], np.float32)
            joy = bags.T["sensor_msgs/msg/Joy"](bags.header(at), axes, np.zeros(0, np.int32))
            bag.put("/joy", joy, at)
    address = f"ros2:{path},map={mapping}"
    check_source(lambda: open_source(address))
    source = open_source(address)
    assert isinstance(source, Ros2Source)
    found = of(list(source.samples()), SignalSample)
    by_name = {
        name: [s.value for s in found if s.name == name] for name in source.describe().signals
    }
    assert by_name["autonomy.engaged"] == [0, 1, 1, 0]
    assert by_name["driver.brake_pressed"] == [0, 1, 0, 1]
    assert by_name["ego.steering_angle_rad"] == pytest.approx([np.pi / 2] * 3)
    assert source.counts["ego.steering_angle_rad: not available"] == 1


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("/brake,", "/brakes,", "no topic '/brakes'; did you mean '/brake'"),
        ("field: data}", "field: dat}", "std_msgs/msg/Bool has no field 'dat'; did you mean"),
        ("axes[0]", "axes", "'axes' is a list: axes\\[0\\]"),
        ("axes[0]", "axes[0].x", "'axes' is a number"),
        (", unit: deg", "", "has no unit: give unit"),
        (", unit: deg", ", unit: m/s", r"in m/s \(speed\), ego.steering_angle_rad in rad \(angle"),
        (", states: {AUTO: 1}, otherwise: 0", "", "data is text: say what it means by states"),
        ("autonomy.engaged", "autonomy.engagd", "did you mean 'autonomy.engaged'"),
        ("signals:", "pose: /brake\nsignals:", "/brake is of type std_msgs/msg/Bool, not nav"),
        ("signals:", "ego_frame: vehicle\nsignals:", "no static transform names 'vehicle'"),
        ("signals:", "signal:", "3:1|unknown key 'signal'; did you mean 'signals'"),
    ],
)
def test_a_wrong_mapping_is_refused_where_it_is_wrong(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    path, mapping = tmp_path / "bag", tmp_path / "map.yaml"
    assert before in MAP
    mapping.write_text(MAP.replace(before, after))
    with bag_writer(path) as bag:
        bag.put("/autonomy/state", bags.T["std_msgs/msg/String"](data="x"), START)
        bag.put("/brake", bags.T["std_msgs/msg/Bool"](data=True), START)
        joy = bags.T["sensor_msgs/msg/Joy"](
            bags.header(START), np.zeros(1, np.float32), np.zeros(0, np.int32)
        )
        bag.put("/joy", joy, START)
    with pytest.raises(InputError, match=rf"map.yaml:\d+:\d+.*({complaint})"):
        open_source(f"ros2:{path},map={mapping}")


def test_topics_that_cannot_be_told_apart_are_an_error() -> None:
    odometry = "nav_msgs/msg/Odometry"
    with pytest.raises(InputError, match=r"/a, /b; name one in the mapping \(pose: TOPIC\)"):
        wire({"/a": odometry, "/b": odometry}, no_map())
    cloud = "sensor_msgs/msg/PointCloud2"
    with pytest.raises(InputError, match="would both be called 'left'"):
        wire({"/lidar/left/points": cloud, "/left/points": cloud}, no_map())
    found = wire(
        {
            "/sensing/camera/front/image_raw": "sensor_msgs/msg/Image",
            "/sensing/camera/front/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
            "/sensing/camera/front/camera_info": "sensor_msgs/msg/CameraInfo",
            "/image_raw": "sensor_msgs/msg/Image",
        },
        no_map(),
    )  # fmt: skip
    assert found.cameras == {
        "front": "/sensing/camera/front/image_raw/compressed", "camera": "/image_raw",
    }  # fmt: skip
    assert found.infos == {"front": "/sensing/camera/front/camera_info"}


def plans(folder: Path, message: Any, mapping: str = "") -> list[PlanSample]:
    path = folder / "bag"
    with bag_writer(path) as bag:
        bag.put("/odom", bags.odometry(START, 100.0, 50.0, np.pi / 2, 10.0), START)
        bag.put("/plan", message, START + MS)
    address = f"ros2:{path}"
    if mapping:
        (folder / "map.yaml").write_text(f"apiVersion: longtail/v1\nkind: RosMap\n{mapping}\n")
        address += f",map={folder / 'map.yaml'}"
    return of(list(open_source(address).samples()), PlanSample)


def test_a_plan_of_the_world_is_told_in_the_ego_frame(tmp_path: Path) -> None:
    points = [(100.0, 50.0 + i) for i in range(5)]  # ahead of a vehicle that looks along y
    found = plans(tmp_path, bags.path(START, "odom", points, 100 * MS))
    assert len(found) == 1
    np.testing.assert_allclose(found[0].xy_m, [[i, 0] for i in range(5)], atol=1e-9)
    np.testing.assert_allclose(found[0].t_s, [0, 0.1, 0.2, 0.3, 0.4])


def test_a_plan_without_times_needs_their_spacing(tmp_path: Path) -> None:
    message = bags.path(START, "base_link", [(float(i), 0.0) for i in range(5)], 0)
    (tmp_path / "a").mkdir()
    assert plans(tmp_path / "a", message) == []
    found = plans(tmp_path, message, "plan: {topic: /plan, spacing: 200ms}")
    np.testing.assert_allclose(found[0].t_s, [0, 0.2, 0.4, 0.6, 0.8])


def test_the_past_of_a_plan_is_cut_off(tmp_path: Path) -> None:
    message = bags.path(START, "base_link", [(float(i - 2), 0.0) for i in range(6)], 100 * MS)
    for i, stamped in enumerate(message.poses):
        stamped.header.stamp = bags.time(START + (i - 2) * 100 * MS - 50 * MS)
    found = plans(tmp_path, message)
    np.testing.assert_allclose(found[0].t_s, [0, 0.05, 0.15, 0.25])
    np.testing.assert_allclose(found[0].xy_m[:, 0], [0.5, 1, 2, 3])


def test_odometry_of_another_frame_is_moved_to_the_ego_frame(tmp_path: Path) -> None:
    with bag_writer(tmp_path / "bag") as bag:
        static = bags.transforms(("base_link", "rear", (-1.0, 0.0, 0.0), (0, 0, 1, 0)))
        bag.put("/tf_static", static, START)
        bag.put("/odom", bags.odometry(START, 5.0, 0.0, np.pi, -3.0, "rear"), START)
    samples = list(open_source(f"ros2:{tmp_path / 'bag'}").samples())
    np.testing.assert_allclose(of(samples, PoseSample)[0].position_m, [6, 0, 0], atol=1e-9)
    speed = next(s for s in of(samples, SignalSample) if s.name == "ego.speed_mps")
    assert speed.value == pytest.approx(3.0)


def test_odometry_that_leaves_its_twist_empty_tells_no_speed(tmp_path: Path) -> None:
    with bag_writer(tmp_path / "bag") as bag:
        for i in range(20):
            bag.put("/odom", bags.odometry(START + i * MS, float(i), 0.0, 0.0, 0.0), START + i * MS)
    source = open_source(f"ros2:{tmp_path / 'bag'}")
    assert source.describe().signals == frozenset() and source.describe().has_pose
    check_source(lambda: open_source(f"ros2:{tmp_path / 'bag'}"))


def test_what_a_sensor_does_not_measure_is_left_out(tmp_path: Path) -> None:
    with bag_writer(tmp_path / "bag") as bag:
        bag.put("/imu", bags.imu(START, with_gyro=False), START)
        bag.put("/gnss", bags.nav_fix(START, 0.0, 0.0, status=-1), START + MS)
        bag.put("/gnss", bags.nav_fix(0, 48.0, 11.0), START + 2 * MS)  # no stamp
    source = open_source(f"ros2:{tmp_path / 'bag'}")
    assert isinstance(source, Ros2Source)
    samples = list(source.samples())
    assert Counter(s.name[:9] for s in of(samples, SignalSample)) == {"imu.accel": 3}
    fixes = of(samples, FixSample)
    assert len(fixes) == 1
    assert fixes[0].mono_ns + source.describe().utc_minus_mono_ns == START + 2 * MS
    assert source.counts["no GNSS fix"] == 1
    assert source.counts["/gnss: stamp empty or of another clock"] == 1


def test_a_message_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    with bag_writer(tmp_path / "bag") as bag:
        for i in range(5):
            at = START + i * 100 * MS
            if i == 2:
                bag.put_raw("/imu", "sensor_msgs/msg/Imu", b"\0\1\0\0abc", at)
            else:
                bag.put("/imu", bags.imu(at), at)
            bag.put("/cam/image_raw", bags.image(at, "32FC1", np.zeros((2, 8), np.uint8), 2, 8), at)
    source = open_source(f"ros2:{tmp_path / 'bag'}")
    assert isinstance(source, Ros2Source)
    assert len(list(source.samples())) == 24
    assert source.counts["/imu: message cannot be read"] == 1
    assert source.counts["/cam/image_raw: cannot be used"] == 5


def test_a_message_recorded_too_late_does_not_turn_time_back(tmp_path: Path) -> None:
    with bag_writer(tmp_path / "bag") as bag:
        for i in range(20):
            at = START + i * 100 * MS
            bag.put("/imu", bags.imu(at), at)
        bag.put("/imu", bags.imu(START + 300 * MS), START + 2000 * MS)
    source = open_source(f"ros2:{tmp_path / 'bag'}")
    assert isinstance(source, Ros2Source)
    times = [s.mono_ns for s in source.samples()]
    assert times == sorted(times) and len(times) == 20 * 6
    assert source.counts["recorded too late"] == 6


def test_a_bag_that_breaks_off_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    with bag_writer(path, "mcap") as bag:
        write_drive(bag, 20.0)
    whole = [s.mono_ns for s in open_source(f"ros2:{path}").samples()]
    file = next(path.glob("*.mcap"))
    content = bytearray(file.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 20_000] = b"\xff" * 20_000
    file.write_bytes(content)
    given = []
    with pytest.raises(CorruptError, match=r"the bag breaks off after \d+ messages"):
        for sample in open_source(f"ros2:{path}").samples():
            given.append(sample.mono_ns)  # noqa: PERF401  # what came before the error is kept
    assert len(given) > 1000 and given == sorted(given) and not Counter(given) - Counter(whole)


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_cut_in_half_is_refused(tmp_path: Path, storage: str) -> None:
    path = drive_bag(tmp_path, storage)
    file = next(p for p in path.iterdir() if p.suffix in (".db3", ".mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    check_refusals(lambda: open_source(f"ros2:{path}"), "a bag cut in half")


def with_renamed(folder: Path, field: str) -> Path:
    """A bag, an MCAP file by itself, that has another name for a field in its own definitions."""
    file = next(drive_bag(folder, "mcap").glob("*.mcap"))
    name = f" {field}\n".encode()
    content = file.read_bytes()
    assert name in content
    file.write_bytes(content.replace(name, f" {field[::-1]}\n".encode()))
    return file


@pytest.mark.parametrize("field", ["rotation", "child_frame_id", "transform"])
def test_transforms_of_another_making_are_refused(tmp_path: Path, field: str) -> None:
    path = with_renamed(tmp_path, field)
    with pytest.raises(InputError, match=f"/tf_static: not what its type.*{field}"):
        open_source(f"ros2:{path}")


@pytest.mark.parametrize(
    ("field", "topic"),
    [
        ("twist", "/odom"), ("pose", "/odom"), ("fields", "/velodyne_points"),
        ("data", "/camera/front/image_raw/compressed"), ("latitude", "/gnss"),
        ("linear_acceleration", "/imu/data"),
    ],
)  # fmt: skip
def test_messages_of_another_making_are_left_out(tmp_path: Path, field: str, topic: str) -> None:
    source = open_source(f"ros2:{with_renamed(tmp_path, field)}")
    assert isinstance(source, Ros2Source)
    assert list(source.samples()), "what is sound is given"
    assert source.counts[f"{topic}: cannot be used"] > 0 or "ego.speed_mps" not in (
        source.describe().signals
    )


def test_a_calibration_of_another_making_is_no_calibration(tmp_path: Path) -> None:
    samples = list(open_source(f"ros2:{with_renamed(tmp_path, 'width')}").samples())
    assert not of(samples, CalibrationSample)
    assert of(samples, MountSample) and of(samples, ImageSample)


@pytest.mark.parametrize("what", ["none", "empty", "text"])
def test_folders_that_are_no_bag(tmp_path: Path, what: str) -> None:
    if what != "none":
        (tmp_path / what).mkdir()
    if what == "text":
        (tmp_path / what / "metadata.yaml").write_text("rosbag2_bagfile_information: 3")
    check_refusals(lambda: open_source(f"ros2:{tmp_path / what}"), what)
