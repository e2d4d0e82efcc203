"""Bird's-eye models for tests: a tiny untrained student, and one that sees what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from contracts.channels import BEV
from contracts.ids import sha256_hex
from contracts.model_manifest import Calibration, ModelManifest
from contracts.ota import Slot
from contracts.samples import (
    CalibrationSample,
    Cuboid,
    Detection,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    PoseSample,
    RadarSample,
    Sample,
)
from edge_agent.ota.ports import ModelRelease
from edge_agent.ports import BevSpec
from kernels.bev.window import BevTensors
from models.student.config import StudentConfig
from models.student.export import onnx_bytes, student_manifest, write_student
from models.student.network import new_student
from tests.models.student_frames import tiny_config

CONFIG: StudentConfig = tiny_config()
SPEC = BevSpec(CONFIG.image_input(), CONFIG.bev_inputs())
THRESHOLD = 0.01
"""Below what an untrained network says nearly everywhere."""
MS = 1_000_000
_OPTICAL = np.array([[0, 0, 1.0, 1.5], [-1.0, 0, 0, 0], [0, -1.0, 0, 1.5], [0, 0, 0, 1.0]])
_REAR = np.array([[0, 0, -1.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 1.5], [0, 0, 0, 1.0]])


@cache
def content(seed: int = 0) -> bytes:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return onnx_bytes(new_student(CONFIG, seed))
    finally:
        torch.set_num_threads(before)


def manifest(seed: int = 0, calibration: Calibration | None = None) -> ModelManifest:
    return student_manifest(
        CONFIG, content(seed), name=f"tiny-{seed}", version=1,
        calibration=calibration or Calibration(), score_threshold=THRESHOLD, lineage={},
    )  # fmt: skip


def write_tiny(folder: Path, seed: int = 0, calibration: Calibration | None = None) -> Path:
    return write_student(folder, content(seed), manifest(seed, calibration))


class MadeBevModel:
    """Sees what its script says on its n-th frame; keeps what it was given."""

    def __init__(self, name: str, script: Callable[[int], list[Detection]]) -> None:
        self.digest = sha256_hex(name.encode())
        self.class_names = CONFIG.taxonomy.names
        self.spec = SPEC
        self.at_ns: list[int] = []
        self.present: list[list[float]] = []
        self._script = script
        self._trial = True

    def perceive(self, tensors: BevTensors, mono_ns: int) -> PerceptionFrame:
        found: list[Detection] = []
        if self._trial:
            self._trial = False
        else:
            self.at_ns.append(mono_ns)
            self.present.append(tensors.present().tolist())
            found = self._script(len(self.at_ns))
        return PerceptionFrame(BEV, mono_ns, self.digest, tuple(found), 0.6, 0.1)


def made_release(model: MadeBevModel, *, shadow: bool = False) -> ModelRelease:
    """A release that has had no trial yet."""
    told = manifest().model_copy(update={"sha256": model.digest})
    digest = sha256_hex(f"manifest of {model.digest}".encode())
    return ModelRelease(Slot("model", shadow=shadow), digest, told, model)


def cuboid_seen(
    class_name: str = "car", probability: float = 0.9, x: float = 12.0, y: float = 0.5
) -> Detection:
    names = CONFIG.taxonomy.names
    spread = np.full(len(names), 0.01, np.float32)
    spread[names.index(class_name)] = probability
    box = Cuboid((x, y, 0.7), (4.5, 1.8, 1.5), 0.25, (3.0, -0.5))
    return Detection(None, class_name, probability, spread, box)


def latched() -> list[Sample]:
    intrinsics = np.array([[40.0, 0, 40], [0, 40.0, 20], [0, 0, 1]])
    cameras = [
        CalibrationSample(channel, 0, 80, 40, intrinsics, mount, channel)
        for channel, mount in zip(CONFIG.cameras, (_OPTICAL, _REAR), strict=True)
    ]
    return [*cameras, MountSample(0, "lidar", np.eye(4))]


def pose(at_ns: int, speed_mps: float = 10.0) -> PoseSample:
    return PoseSample(at_ns, np.array([speed_mps * at_ns * 1e-9, 0, 0]), np.array([0, 0, 0, 1.0]))


def instant(at_ns: int, cameras: bool = True, lidar: bool = True, radar: bool = True
            ) -> Iterator[Sample]:  # fmt: skip
    """Sensors at one time; the content depends on nothing but that time."""
    rng = np.random.default_rng(at_ns // MS)
    if lidar:
        xyz = rng.uniform((-15, -15, 0), (15, 15, 2), (600, 3)).astype(np.float32)
        offsets = np.linspace(-90 * MS, 0, 600).astype(np.int32)
        yield LidarSample("/lidar/top", at_ns, xyz, np.full(600, 90, np.uint8), "lidar", None,
                          offsets)  # fmt: skip
    for channel in CONFIG.cameras if cameras else ():
        pixels = rng.integers(0, 256, (40, 80, 3), np.uint8)
        yield ImageSample(channel, at_ns, "jpeg", simplejpeg.encode_jpeg(pixels, 85), 80, 40,
                          channel)  # fmt: skip
    if radar:
        yield RadarSample("/radar/front", at_ns, np.array([[1, 9.0, 1.0, 2.0]]))


def driven(until_ns: int, from_ns: int = 0, poses: bool = True, **sensors: bool) -> list[Sample]:
    """Poses at 50 Hz, all sensors at 10 Hz."""
    found: list[Sample] = []
    for at_ns in range(from_ns, until_ns, 20 * MS):
        if poses:
            found.append(pose(at_ns))
        if at_ns % (100 * MS) == 0:
            found += instant(at_ns, **sensors)
    return found
