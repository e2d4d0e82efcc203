"""A drive along a rising bend past a parked car and a walker, with poses, a camera and a lidar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import simplejpeg
from scipy.spatial.transform import Rotation

from contracts.clip import ClipManifest, Window
from contracts.geometry import Box3D, apply_SE3, inverse_SE3, yaw_of
from contracts.labels import EgoPose, FrameLabels, FrameRecord, LabelledBox
from contracts.samples import (
    CalibrationSample,
    Float64s,
    ImageSample,
    LidarSample,
    MountSample,
    PoseSample,
    RadarSample,
    Sample,
)
from kernels.clip.encoding import encode_mount, encode_sample
from kernels.clip.writer import write_clip
from offline.labels.formats.sequence import LabelSequence, write_sequence
from offline.labels.points.deskew import Trajectory, skewed
from tests.offline.labels.formats.drives import AUTO, HUMAN, OFFSET_NS, camera, manifest

START_NS, STEP_NS, SWEEPS = 1_000_000_000, 100_000_000, 16
INSTANTS = tuple(START_NS + STEP_NS * number for number in range(SWEEPS))
TWO_HZ = INSTANTS[::5]
FRONT = camera("front")
REAR = camera("rear_left", 2.5)
LIDAR = "/lidar/top"
EGO_SE3_LIDAR = np.eye(4)
EGO_SE3_LIDAR[:3, :3] = Rotation.from_euler("zyx", [0.7, 0.05, -0.03]).as_matrix()
EGO_SE3_LIDAR[:3, 3] = (1.0, 0.1, 1.8)
SPEED_MPS, TURN_RADPS, GRADE_RAD = 15.0, 0.3, -0.06
CAR_SIZE = (4.4, 1.9, 1.6)
_SPIN_NS = 90_000_000


def world_SE3_ego(mono_ns: int) -> Float64s:
    """On a helix, 100 m away from the world's origin: turning left, going up."""
    t = (mono_ns - START_NS) * 1e-9
    yaw, radius = TURN_RADPS * t, SPEED_MPS / TURN_RADPS
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zyx", [yaw, GRADE_RAD, 0.0]).as_matrix()
    up = -np.tan(GRADE_RAD) * SPEED_MPS * t
    pose[:3, 3] = (100 + radius * np.sin(yaw), -40 + radius * (1 - np.cos(yaw)), 7 + up)
    return pose


def static_points_m() -> Float64s:
    """Points that stand in the world, [n, 3]: a wall on either side, and the parked car's flank."""
    rng = np.random.default_rng(5)
    wall = np.column_stack([
        rng.uniform(60, 180, 400), rng.choice([-60.0, 10.0], 400), rng.uniform(6, 12, 400)
    ])  # fmt: skip
    inside = rng.uniform(-0.45, 0.45, (60, 3)) * CAR_SIZE
    return np.concatenate([wall, apply_SE3(parked_pose(), inside)])


def parked_pose() -> Float64s:
    """`world_SE3_car`: 20 m ahead of the first frame, on its ground."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zyx", [0.9, GRADE_RAD, 0.0]).as_matrix()
    pose[:3, 3] = apply_SE3(world_SE3_ego(START_NS), np.array([[20.0, 4.0, 0.8]]))[0]
    return pose


def sequence(drive_id: str = "drive-1") -> LabelSequence:
    """The parked car in all frames, a walker and an ignored animal in every second one."""
    frames = []
    for number, instant in enumerate(INSTANTS):
        pose = world_SE3_ego(instant)
        car = inverse_SE3(pose) @ parked_pose()
        solid = Box3D(
            centre_m=tuple(car[:3, 3].tolist()), size_m=CAR_SIZE, yaw_rad=yaw_of(car),
            class_name="car", velocity_mps=(0.0, 0.0), track_id=4,
        )  # fmt: skip
        boxes = [LabelledBox(box=solid, confidence=0.9, visibility=0.7, provenance=HUMAN)]
        if number % 2:
            walker = Box3D(
                centre_m=(9.0 - number, -3.0, 0.9), size_m=(0.6, 0.7, 1.8), yaw_rad=-2.0,
                class_name="pedestrian", velocity_mps=(-1.0, 0.5), track_id=11,
            )  # fmt: skip
            animal = walker.model_copy(update={"class_name": "animal", "track_id": None})
            boxes += [LabelledBox(box=animal, ignored=True), LabelledBox(box=walker, points=3)]
        record = FrameRecord(
            drive_id=drive_id, mono_ns=instant, boxes=tuple(boxes), provenance=AUTO, light="red",
            ego_pose=ego_pose(instant), tags={"weather": "rain", "region": "hill"},
        )  # fmt: skip
        frames.append(FrameLabels(record))
    return LabelSequence(tuple(frames))


def at_two_hz(labels: LabelSequence) -> LabelSequence:
    """What of them is on nuScenes' keyframes."""
    return LabelSequence(tuple(one for one in labels.frames if one.record.mono_ns in TWO_HZ))


def ego_pose(mono_ns: int) -> EgoPose:
    pose = pose_sample(mono_ns)
    x, y, z = pose.position_m.tolist()
    qx, qy, qz, qw = pose.orientation_xyzw.tolist()
    return EgoPose(position_m=(x, y, z), orientation_xyzw=(qx, qy, qz, qw))


def pose_sample(mono_ns: int) -> PoseSample:
    pose = world_SE3_ego(mono_ns)
    return PoseSample(mono_ns, pose[:3, 3], Rotation.from_matrix(pose[:3, :3]).as_quat())


def sweep(mono_ns: int) -> LidarSample:
    """All static points, each as it is seen at its own time within the turn before `mono_ns`."""
    points = static_points_m()
    offsets = np.linspace(-_SPIN_NS, 0, len(points)).astype(np.int32)
    stamps = np.arange(mono_ns - 2 * STEP_NS, mono_ns + STEP_NS, 5_000_000)
    path = Trajectory(stamps, np.stack([world_SE3_ego(int(stamp)) for stamp in stamps]))
    at_once = apply_SE3(inverse_SE3(world_SE3_ego(mono_ns)), points)
    seen = skewed(at_once, mono_ns + offsets.astype(np.int64), mono_ns, path)
    local = apply_SE3(inverse_SE3(EGO_SE3_LIDAR), seen).astype(np.float32)
    rings = (np.arange(len(points)) % 32).astype(np.uint16)
    bright = (np.arange(len(points)) % 256).astype(np.uint8)
    return LidarSample(LIDAR, mono_ns, local, bright, "lidar_top", rings, offsets)


def picture(channel: str, mono_ns: int, frame_id: str) -> ImageSample:
    grey = np.full((200, 320, 3), mono_ns // STEP_NS % 200, dtype=np.uint8)
    content = simplejpeg.encode_jpeg(grey, quality=60)
    return ImageSample(channel, mono_ns, "jpeg", content, 0, 0, frame_id)


def samples() -> list[Sample]:
    """A front picture 20 ms after each instant, one of the rear before every second."""
    found: list[Sample] = []
    for instant in INSTANTS:
        found += [sweep(instant), picture(FRONT.channel, instant + 20_000_000, FRONT.frame_id)]
        found.append(RadarSample("/radar/front", instant, np.array([[1.0, 20.0, 0.0, 3.0]])))
        if (instant - START_NS) % (2 * STEP_NS) == 0:
            found.append(picture(REAR.channel, instant - 30_000_000, REAR.frame_id))
    times = range(START_NS - 2 * STEP_NS, INSTANTS[-1] + STEP_NS, 10_000_000)
    found += [pose_sample(time) for time in times]
    return sorted(found, key=lambda sample: sample.mono_ns)


def write_clip_of(
    path: Path, found: Iterable[Sample],
    latched: Callable[[], list[Sample]] = lambda: [
        FRONT, REAR, MountSample(START_NS, "lidar_top", EGO_SE3_LIDAR)
    ],
    mounted: bool = True,
) -> Path:  # fmt: skip
    """A clip of some samples; `mounted` tells whether cameras have their mounts."""
    messages = []
    for one in latched():
        if mounted and isinstance(one, CalibrationSample):
            messages.append(encode_mount(one, OFFSET_NS))
        messages.append(encode_sample(one, OFFSET_NS))
    messages += [encode_sample(one, OFFSET_NS) for one in found]
    with path.open("wb") as stream:
        write_clip(stream, _manifest(), messages, {})
    return path


def _manifest() -> ClipManifest:
    window = Window(start_mono_ns=START_NS - 2 * STEP_NS, end_mono_ns=INSTANTS[-1] + STEP_NS)
    return manifest().model_copy(update={"actual": window})


def write_moving_drive(folder: Path) -> Path:
    """The drive's folder: clip and labels."""
    folder.mkdir(parents=True)
    write_clip_of(folder / "clip.mcap", samples())
    write_sequence(sequence(), folder)
    return folder
