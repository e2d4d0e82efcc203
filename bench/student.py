"""The student on one core: int8 and float side by side, and what the shipped report says of it.

Sensors are those of a simulated vehicle of set `s` on a city street (four cameras, 32 beams of
lidar, radar). A frame is what the vehicle does ten times a second: pictures and sweeps into the
network's inputs, one run of the int8 graph on one thread that does not spin, decoding and
calibration. Wall times hold only where the core has nothing else to do; CPU times stand beside
them. The pictures' JPEG is decoded beforehand, as a camera's
pipeline does in hardware; in software it is measured beside.

The graph's peer is the float graph of the same network in the same run. Its physical limit is
the time in which onnxruntime's own int8 matrix product does as many multiply-accumulates.

Accuracy cannot be made by a benchmark: it comes from the report that is shipped with the model,
whose frames are named by their digest, or with `--data` from labelled drives. Where no student
is shipped, the time is that of an untrained network of size `s`, which takes as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg

from bench import untrained_graph
from bench.figures import Figure, figure, median_cpu_ns
from bench.student_accuracy import accuracy_figures, document_for
from bench.student_model import (
    MODEL,
    STAGES,
    WARMING,
    Instant,
    Int64s,
    Measurable,
    Perception,
    count_macs,
    now,
    shipped_model,
    simulated_instants,
    untrained_model,
)
from contracts.errors import InputError
from kernels.bev.pattern import Tensors
from models.student.config import StudentConfig, student_s
from models.student.export import Graph

ZOO = Path(__file__).parents[1] / "models" / "zoo"
GOAL_MS, PERIOD_MS, UNIT = 50.0, 100.0, "ms/frame"


def run(
    data: Sequence[Path] = (), zoo: Path = ZOO, drive_s: float = 6.0, passes: int = 4,
    config: StudentConfig | None = None,
) -> list[Figure]:  # fmt: skip
    """All figures; of accuracy only those that a report or `data` give.

    Args:
        data: folders of labelled drives to measure accuracy on, instead of the shipped report.
        zoo: where the shipped models are.
        drive_s: length of the simulated drive, in seconds.
        passes: how often its frames are perceived.
        config: of the untrained network that stands in where none is shipped.
    """
    instants = simulated_instants(drive_s)
    shipped = (zoo / MODEL).is_file()
    model = shipped_model(zoo) if shipped else untrained_model(config or student_s(), instants)
    figures = time_figures(model, instants, passes)
    document, said = document_for(zoo, data)
    return figures if document is None else [*figures, *accuracy_figures(document, said)]


def time_figures(model: Measurable, instants: Sequence[Instant], passes: int) -> list[Figure]:
    """Times of a frame and of its stages."""
    stages, plain, feed = _spent(model, instants, passes)
    wall, cpu = stages[..., 0], stages[..., 1]
    graph, frame = STAGES.index("graph"), f"{model.name}, whole perception"
    alone, peer = f"{model.name}, int8 graph alone", "the float graph of the same network"
    limit, period = f"<= {GOAL_MS:g}", "the frame's period"
    return [
        *(
            figure(f"{alone}, p{share}, CPU time", _percentile_ms(cpu[:, graph], share), UNIT,
                   reference=peer, reference_value=_percentile_ms(plain[:, 1], share))
            for share in (50, 99)
        ),
        figure(f"{alone}, p99, wall time", _percentile_ms(wall[:, graph], 99), UNIT,
               reference=peer, reference_value=_percentile_ms(plain[:, 0], 99), goal=limit),
        *(
            figure(f"{frame}, p{share}, CPU time", _percentile_ms(cpu.sum(axis=1), share), UNIT,
                   reference=period, reference_value=PERIOD_MS)
            for share in (50, 99)
        ),
        figure(f"{frame}, p99, wall time", _percentile_ms(wall.sum(axis=1), 99), UNIT,
               reference=period, reference_value=PERIOD_MS, goal=limit),
        *(
            figure(f"stage: {stage}, p50, CPU time", _percentile_ms(cpu[:, k], 50), UNIT,
                   reference="whole perception",
                   reference_value=_percentile_ms(cpu.sum(axis=1), 50))
            for k, stage in enumerate(STAGES)
        ),
        _limit_figure(model, feed), _jpeg_figure(instants),
    ]  # fmt: skip


def _spent(
    model: Measurable, instants: Sequence[Instant], passes: int
) -> tuple[Int64s, Int64s, Tensors]:
    """Wall and CPU nanoseconds of the stages int64 [n, 3, 2] and of the float graph [n, 2], in
    turns over the same frames; and the inputs of the last frame.
    """
    perception, peer = Perception(model.manifest, model.int8), Graph(model.float32)
    stages, plain = [], []
    for _ in range(passes):
        perception.restart()
        for number, instant in enumerate(instants):
            feed, spent = perception.perceive(instant)
            before = now()
            peer.run(feed)
            if number >= WARMING:
                plain.append(np.subtract(now(), before))
                stages.append(spent)
    if not stages:
        raise InputError(f"a drive of {len(instants)} frames is too short to measure")
    return np.stack(stages), np.stack(plain), feed


def _percentile_ms(spent_ns: Int64s, share: float) -> float:
    return float(np.percentile(spent_ns, share)) / 1e6


def _limit_figure(model: Measurable, feed: Tensors) -> Figure:
    """CPU time of the int8 graph, over that of as many multiply-accumulates as products."""
    graph = Graph(model.int8)
    jobs: dict[str, Callable[[], object]] = {"graph": lambda: graph.run(feed)}
    spent_ns = median_cpu_ns(jobs, 15)["graph"]
    (product,) = untrained_graph.throughput_figures(sizes=(512, 1024), repetitions=5)
    macs, peak = count_macs(model.float32), product.reference_value or 1.0
    return figure(
        f"{model.name}, int8 graph, {macs / 1e9:.2f} GMAC, CPU time", spent_ns / 1e6, "ms/frame",
        reference="its products at the peak of int8 matrix products",
        reference_value=macs / peak / 1e6,
    )  # fmt: skip


def _jpeg_figure(instants: Sequence[Instant]) -> Figure:
    contents = [image.content for image, _ in instants[-1].pictures]
    decode: dict[str, Callable[[], object]] = {
        "jpeg": lambda: [simplejpeg.decode_jpeg(content, "RGB") for content in contents]
    }
    spent_ms = median_cpu_ns(decode, 15)["jpeg"] / 1e6
    name = f"not in the frame: JPEG decode of {len(contents)} pictures in software"
    return figure(name, spent_ms, "ms/frame")
