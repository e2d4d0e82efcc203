"""The agent's hot path on one thread, stage by stage, against the time of its model.

Each frame is a tenth of a second of a vehicle with six cameras and one lidar: the images into
the network's input tensor, all samples but the sweep through the agent's `Drive` (door, ring,
signal table, triggers at 50 Hz), the sweep encoded into the ring, a perceptual hash of each
image, one run of an untrained int8 network of 5 GMAC. Stages follow each other in every frame,
as on the vehicle, so they find each other's caches, and the interpreter is settled as the agent
does it before a drive. Times are CPU times: medians over that run of fifty frames, of all that are
driven, in which the network was fastest, as neighbours on a shared machine take more of the memory
than of the arithmetic. The percentiles of a whole frame are wall time, over all frames.

Not in it: the decoding of JPEG, which a camera's pipeline does in hardware (in software it is
measured beside), and the inputs of a bird's-eye model, which `longtail bench student` measures.
The ring's reference is a memcpy of the same bytes through a buffer of the ring's size. With
recorded images a published detector (YOLOX-Nano, float) runs in the `Drive` over KITTI's PNG
files; their decoding is in those figures.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from bench import untrained_graph as network
from bench.figures import Figure, figure, median_cpu_ns
from bench.simulated_frames import (
    CAMERAS,
    FRAME_NS,
    HEIGHT_PX,
    SIGNALS_HZ,
    WIDTH_PX,
    SensorFrame,
    SimulatedFrames,
)
from bench.triggers import built_in_specs, rule_specs
from contracts.clock import ClockQuality
from edge_agent.app import settle_interpreter
from edge_agent.drive.drive import Drive
from edge_agent.drive.ring import Ring
from edge_agent.ports import PerceptionModel, SensorSource, SourceDescription
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.input_tensor import fill_input, fit_image
from kernels.phash import phash64

if TYPE_CHECKING:
    from edge_agent.drive.timing import FrameTiming

RING_BYTES = 128 * 2**20
STAGES = ("images to tensor", "door, ring, signals and triggers", "lidar", "hashes", "model")
_FRAMES = 600
_RUN_FRAMES = 50
_WARMING = 5
_REPETITIONS = 31
_PERIOD_MS = FRAME_NS / 1e6

Int64s = NDArray[np.int64]


def run(
    recorded: Path | None = None, frames: int = _FRAMES, repetitions: int = _REPETITIONS
) -> list[Figure]:
    """All figures; those of the recorded drive only when `recorded` holds it.

    Args:
        recorded: folder with `kitti_approach78` and `models/yolox_nano.onnx`, or None.
        frames: of the simulated drive; of the recorded one all there are.
        repetitions: of the ring's and the network's jobs.
    """
    source = SimulatedFrames()
    path = HotPath()
    settle_interpreter()
    cpu_ns, wall_ns = measure(path, source, frames)
    figures = _stage_figures(calmest(cpu_ns) / 1e6, wall_ns.sum(axis=1) / 1e6)
    figures += _ring_figures(source, repetitions)
    figures += network.throughput_figures(repetitions=max(1, repetitions // 2))
    if recorded is not None and (recorded / "models" / "yolox_nano.onnx").is_file():
        figures += _recorded_figures(recorded)
    return figures


class HotPath:
    """The stages of one frame, on a drive of their own."""

    def __init__(self) -> None:
        self.drive = _drive(_described(), None)
        self._tensor = np.zeros(network.INPUT_SHAPE, np.float32)
        width, height = network.WIDTH_PX, network.HEIGHT_PX
        self._fit = fit_image(WIDTH_PX, HEIGHT_PX, width, height, "stretch")
        self._session = network.open_session(network.untrained_graph())
        self.hashes: list[int] = []

    def run_stage(self, stage: str, frame: SensorFrame) -> None:
        match stage:
            case "images to tensor":
                for i, pixels in enumerate(frame.pixels):
                    tensor = self._tensor[i : i + 1]
                    fill_input(pixels, self._fit, tensor, bgr=False, scale=1 / 58, offset=-2.0)
            case "door, ring, signals and triggers":
                for sample in (*frame.motion, *frame.images):
                    self.drive.feed(sample)
            case "lidar":
                self.drive.feed(frame.sweep)
            case "hashes":
                self.hashes = [phash64(pixels) for pixels in frame.pixels]
            case "model":
                self._session.run(None, {"image": self._tensor})


def measure(path: HotPath, source: SimulatedFrames, frames: int) -> tuple[Int64s, Int64s]:
    """CPU and wall nanoseconds, both int64 [frames, stages], after some frames of warming."""
    cpu_ns = np.zeros((frames, len(STAGES)), np.int64)
    wall_ns = np.zeros_like(cpu_ns)
    for number in range(-_WARMING, frames):
        frame = source.frame(number + _WARMING)
        for column, stage in enumerate(STAGES):
            wall_start_ns, cpu_start_ns = perf_counter_ns(), thread_time_ns()
            path.run_stage(stage, frame)
            cpu_end_ns, wall_end_ns = thread_time_ns(), perf_counter_ns()
            if number >= 0:
                cpu_ns[number, column] = cpu_end_ns - cpu_start_ns
                wall_ns[number, column] = wall_end_ns - wall_start_ns
    return cpu_ns, wall_ns


def calmest(cpu_ns: Int64s) -> NDArray[np.float64]:
    """Medians [stages] of the run of frames in which the last stage, the reference, was fastest.

    `cpu_ns` is int64 [frames, stages].
    """
    runs = np.array_split(cpu_ns, max(1, len(cpu_ns) // _RUN_FRAMES))
    medians: list[NDArray[np.float64]] = [np.median(each, axis=0) for each in runs]
    return min(medians, key=lambda stages: float(stages[-1]))


def _drive(description: SourceDescription, model: PerceptionModel | None) -> Drive:
    """A drive that keeps every fire, and hands its clips to nobody."""
    specs = [*built_in_specs(), *rule_specs(1)]
    return Drive(
        "bench", description, specs, model, Ring(RING_BYTES),
        on_fire=lambda fire, book: True, on_job=lambda job: None,
    )  # fmt: skip


def _described() -> SourceDescription:
    return SourceDescription(
        drive_id="bench",
        boot_id="bench-1",
        utc_minus_mono_ns=0,
        clock=ClockQuality(synchronised=False, source="none"),
        signals=frozenset(SIGNALS_HZ),
        camera_channels=tuple(f"/camera/{i}" for i in range(CAMERAS)),
        lidar_channels=("/lidar/top",),
        has_pose=True,
        has_plan=True,
    )


def _stage_figures(stage_ms: NDArray[np.float64], frame_ms: NDArray[np.float64]) -> list[Figure]:
    ms = dict(zip(STAGES, stage_ms.tolist(), strict=True))
    model_ms = ms.pop("model")
    tensor, feed, lidar, hashes = ms.values()
    reference = "one run of the untrained int8 network"
    period = "the frame's period"
    return [
        figure(
            "hot path without the model", tensor + feed, "ms/frame",
            reference=reference, reference_value=model_ms, goal="ratio <= 0.20",
        ),
        figure(
            "hot path with lidar encoding and hashing, without the model",
            tensor + feed + lidar + hashes, "ms/frame",
            reference=reference, reference_value=model_ms, goal="ratio <= 0.30",
        ),
        *(
            figure(f"stage: {stage}", spent, "ms/frame", reference=reference,
                   reference_value=model_ms)
            for stage, spent in ms.items()
        ),
        *(
            figure(f"whole frame with the model, p{share}, wall time",
                   float(np.percentile(frame_ms, share)), "ms/frame",
                   reference=period, reference_value=_PERIOD_MS)
            for share in (50, 99)
        ),
    ]  # fmt: skip


def _ring_figures(source: SimulatedFrames, repetitions: int) -> list[Figure]:
    frame = source.frame(0)
    messages = [encode_sample(each, 0) for each in frame.images]
    messages.append(encode_sample(frame.sweep, 0))
    size = sum(len(each.payload) for each in messages)
    spent = median_cpu_ns(
        {
            "push": _push_job(messages),
            "memcpy": _copy_job(messages),
            "decode": lambda: [simplejpeg.decode_jpeg(each.content) for each in frame.images],
        },
        repetitions,
    )
    megabytes = f"{size / 1e6:.1f} MB"
    return [
        figure(
            f"ring push of a frame's {megabytes}", spent["push"] / 1e6, "ms/frame",
            reference="memcpy of the same bytes", reference_value=spent["memcpy"] / 1e6,
        ),
        figure(
            f"not in the hot path: JPEG decode of {CAMERAS} images in software",
            spent["decode"] / 1e6, "ms/frame",
        ),
    ]  # fmt: skip


def _push_job(messages: list[EncodedMessage]) -> network.Job:
    ring = Ring(RING_BYTES)

    def push_all() -> None:
        for message in messages:
            ring.push(message)

    return push_all


def _copy_job(messages: list[EncodedMessage]) -> network.Job:
    """A memcpy of each payload to the next place of a buffer as large as the ring."""
    target = np.ones(RING_BYTES, np.uint8)
    sources = [np.frombuffer(each.payload, np.uint8) for each in messages]
    place = 0

    def copy_all() -> None:
        nonlocal place
        for content in sources:
            if place + content.size > RING_BYTES:
                place = 0
            np.copyto(target[place : place + content.size], content)
            place += content.size

    return copy_all


def _recorded_figures(recorded: Path) -> list[Figure]:
    from edge_agent.perception.runtime import load_model
    from edge_agent.sources.kitti import KittiSource

    model = load_model(recorded / "models" / "yolox_nano.onnx")
    source: SensorSource = KittiSource(recorded / "kitti_approach78")
    drive = _drive(source.describe(), model)
    for sample in source.samples():
        drive.feed(sample)
    drive.finish()
    timing = drive.timer.report()
    return [] if timing is None else _timing_figures(timing)


def _timing_figures(timing: FrameTiming) -> list[Figure]:
    name = f"recorded drive, {timing.frames} frames, YOLOX-Nano"
    period = "the frame's period"
    return [
        figure(f"{name}: p50", timing.p50_ms, "ms/frame", reference=period,
               reference_value=_PERIOD_MS),
        figure(f"{name}: p99", timing.p99_ms, "ms/frame", reference=period,
               reference_value=_PERIOD_MS),
        figure(f"{name}: model, p50", timing.model_p50_ms, "ms/frame"),
        figure(f"{name}: the model's share of the time", timing.model_share, "ratio"),
    ]  # fmt: skip
