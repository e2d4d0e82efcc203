"""What the student's benchmark measures: a drive's sensors, the graphs, and a frame's stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from contracts.model_manifest import Calibration, ModelManifest
from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    MountSample,
    PoseSample,
    RadarSample,
    Sample,
)
from edge_agent.perception.manifests import verified_model
from kernels.bev.pattern import Tensors
from kernels.bev.window import BevTensors, BevWindow
from kernels.bev_decoding import BevDecoder, calibrated_by_class, light_probabilities
from models.evaluation.adapters import config_for
from models.student.config import StudentConfig
from models.student.export import BOXES, HEAT, LIGHT, Graph, onnx_bytes, student_manifest
from models.student.inputs import StudentFrame, frame_of
from models.student.network import new_student
from models.student.quantise import quantised
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource

if TYPE_CHECKING:
    import onnx

MODEL, FLOAT_MODEL = "student-s.onnx", "student-s-float.onnx"
STAGES = ("inputs", "graph", "decoding")
WARMING = 3
"""Frames at the start of a drive: caches are cold, and the lidar's slots not yet full."""
_CALIBRATION_FRAMES = 4
_INPUTS = (LidarSample, RadarSample, PoseSample, CalibrationSample, MountSample)

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Instant:
    """What came until `mono_ns`: samples, and the pictures as pixels uint8 [h, w, 3]."""

    mono_ns: int
    samples: tuple[Sample, ...]
    pictures: tuple[tuple[ImageSample, NDArray[np.uint8]], ...]


@dataclass(frozen=True, slots=True)
class Measurable:
    """The int8 graph under its name, and the float graph of the same network."""

    name: str
    manifest: ModelManifest
    int8: bytes
    float32: bytes


def simulated_instants(drive_s: float) -> list[Instant]:
    """The instants of a drive, ten a second, once all sensors have spoken."""
    source = SimFleetSource(DriveOptions(load_scenario("everyday-city"), 7, "s", drive_s))
    instants: list[Instant] = []
    samples: list[Sample] = []
    pictures: list[tuple[ImageSample, NDArray[np.uint8]]] = []
    due_ns: int | None = None
    for sample in source.samples():
        if due_ns is not None and sample.mono_ns > due_ns:
            instants.append(Instant(due_ns, tuple(samples), tuple(pictures)))
            samples, pictures, due_ns = [], [], None
        if isinstance(sample, ImageSample):
            pictures.append((sample, np.asarray(simplejpeg.decode_jpeg(sample.content, "RGB"))))
        elif isinstance(sample, _INPUTS):
            samples.append(sample)
        if isinstance(sample, LidarSample):
            due_ns = sample.mono_ns
    return instants


def shipped_model(zoo: Path) -> Measurable:
    """The shipped student, and a float graph of its configuration."""
    found = verified_model(zoo / MODEL)
    plain = zoo / FLOAT_MODEL
    config = config_for(found.manifest)
    # An untrained float graph of the same network takes as long as a trained one.
    float32 = plain.read_bytes() if plain.is_file() else onnx_bytes(new_student(config, 0).eval())
    name = f"{found.manifest.name} {found.manifest.version}"
    return Measurable(name, found.manifest, found.content, float32)


def untrained_model(config: StudentConfig, instants: Sequence[Instant]) -> Measurable:
    """An untrained network, quantised over some frames of the drive."""
    float32 = onnx_bytes(new_student(config, 0).eval())
    frames = _frames(config, instants[: WARMING + _CALIBRATION_FRAMES])[WARMING:]
    int8 = quantised(float32, frames)
    manifest = student_manifest(
        config, int8, name="student-untrained", version=1, calibration=Calibration(),
        score_threshold=0.3, lineage={},
    )  # fmt: skip
    return Measurable(f"untrained network of size {config.size}", manifest, int8, float32)


def _frames(config: StudentConfig, instants: Sequence[Instant]) -> list[StudentFrame]:
    window = BevWindow(config.image_input(), config.bev_inputs())
    return [frame_of(_inputs(window, instant)) for instant in instants]


def _inputs(window: BevWindow, instant: Instant) -> BevTensors:
    for sample in instant.samples:
        if isinstance(sample, _INPUTS):
            window.add(sample)
    for image, pixels in instant.pictures:
        window.add_pixels(image.channel, image.mono_ns, pixels)
    return window.tensors(instant.mono_ns)


def now() -> tuple[int, int]:
    """Wall and CPU nanoseconds of this thread."""
    return perf_counter_ns(), thread_time_ns()


class Perception:
    """All that a vehicle does to perceive one instant."""

    def __init__(self, manifest: ModelManifest, content: bytes) -> None:
        if manifest.bev is None:
            raise ValueError(f"{manifest.name} is no bird's-eye model")
        self._manifest, self._bev = manifest, manifest.bev
        self._graph = Graph(content)
        self._decoder = BevDecoder(manifest.decoder, manifest.classes)
        self.restart()

    def restart(self) -> None:
        """Forget the drive."""
        self._window = BevWindow(self._manifest.input, self._bev)

    def perceive(self, instant: Instant) -> tuple[Tensors, Int64s]:
        """The network's inputs, and wall and CPU nanoseconds of each stage, int64 [3, 2]."""
        begun = now()
        feed = _inputs(self._window, instant).feed(self._manifest.input, self._bev)
        fed = now()
        outputs = self._graph.run(feed)
        ran = now()
        found = self._decoder.decode(outputs[HEAT], outputs[BOXES])
        calibration = self._manifest.calibration
        calibrated_by_class(
            found.scores, found.boxes.class_index, calibration, self._manifest.classes
        )
        light_probabilities(outputs[LIGHT], calibration)
        return feed, np.diff([begun, fed, ran, now()], axis=0)


def count_macs(content: bytes) -> int:
    """Multiply-accumulates of one run, over the convolutions and products of a float graph."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    shapes = {
        each.name: [size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in (*model.graph.value_info, *model.graph.output)
    }
    weights = {each.name: list(each.dims) for each in model.graph.initializer}
    return sum(_macs(node, shapes, weights) for node in model.graph.node)


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]], weights: dict[str, list[int]]) -> int:
    """Every element of the output takes as many products as weights feed it."""
    if node.op_type not in {"Conv", "Gemm", "MatMul"}:
        return 0
    weight, out = weights[node.input[1]], shapes[node.output[0]]
    channels = out[1] if node.op_type == "Conv" else out[-1]
    return int(np.prod(out)) * int(np.prod(weight)) // channels
