"""An untrained int8 student of size `s`: stands for the shipped one where only time matters.

Its weights are seeded noise, its int8 ranges come from a frame of a simulated drive, and what
it detects means nothing. It needs torch, which makes it.
"""

from __future__ import annotations

from pathlib import Path

from contracts.model_manifest import Calibration
from edge_agent.perception.frames import BevFrames
from edge_agent.ports import BevSpec
from models.student.config import StudentConfig, student_s
from models.student.export import onnx_bytes, student_manifest, write_student
from models.student.inputs import StudentFrame, frame_of
from models.student.network import new_student
from models.student.quantise import quantised
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource

_SCORE_THRESHOLD = 0.3
_DRIVE_S = 0.3


def write_untrained_student(folder: Path, seed: int = 0) -> Path:
    """Write the model and its manifest; returns the model's path. The same seed gives the same."""
    config = student_s()
    content = quantised(onnx_bytes(new_student(config, seed)), [driven_frame(config)])
    manifest = student_manifest(
        config, content, name="untrained-student-s", version=1, calibration=Calibration(),
        score_threshold=_SCORE_THRESHOLD, lineage={"training": "none"},
    )  # fmt: skip
    return write_student(folder, content, manifest)


def driven_frame(config: StudentConfig) -> StudentFrame:
    """The sensors of a simulated drive after 0.3 s."""
    frames, spec = BevFrames(), BevSpec(config.image_input(), config.bev_inputs())
    newest_ns = 0
    drive = DriveOptions(load_scenario("everyday-city"), 0, "s", _DRIVE_S)
    for sample in SimFleetSource(drive).samples():
        frames.add(sample)
        newest_ns = max(newest_ns, sample.mono_ns)
    return frame_of(frames.tensors(spec, newest_ns))
