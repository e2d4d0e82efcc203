"""A trained student as what a vehicle takes up: int8 graph, calibrated, with its manifest.

Int8 ranges come from frames that the student was trained on, some with a sensor missing.
Probabilities are fitted on other drives, through the very graph that will run: quantisation
moves scores a little, and the fit takes that in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.labels import LIGHT_STATES, FrameLabels
from contracts.model_manifest import Calibration, ModelManifest
from kernels.bev_decoding import BevDecoder
from models.evaluation.matching import FrameResult, Matcher
from models.student.calibrate import fit_calibration, fit_temperature
from models.student.dropout import without_camera, without_lidar, without_radar
from models.student.export import (
    BOXES,
    HEAT,
    LIGHT,
    Graph,
    onnx_bytes,
    student_manifest,
)
from models.student.inputs import StudentFrame, feed_of
from models.student.network import Student
from models.student.quantise import quantised

MATCH_M = 2.0
_FIT_FROM = 0.03
"""Raw score from which on a detection helps to fit; fainter ones are never told."""

LabelledFrame = tuple[StudentFrame, FrameLabels]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The graph's bytes and the manifest that describes them."""

    content: bytes
    manifest: ModelManifest


def int8_frames(frames: Sequence[StudentFrame], student: Student) -> list[StudentFrame]:
    """Frames for the int8 ranges: all of them, and every fourth with a sensor gone, in turn."""
    config = student.config
    gone: list[Callable[[StudentFrame], StudentFrame]] = [
        without_lidar, without_radar, lambda frame: without_camera(frame, config, 0),
    ]  # fmt: skip
    fewer = [gone[k % len(gone)](frame) for k, frame in enumerate(frames[::4])]
    return [*frames, *fewer]


def fitted_calibration(
    content: bytes, draft: ModelManifest, frames: Sequence[LabelledFrame],
    before: Calibration | None = None,
) -> Calibration:  # fmt: skip
    """Probabilities of the graph's scores, by class, and its light's temperature. A class of which
    the frames show too little keeps its curve of `before`.

    Raises `InputError` when the frames say too little.
    """
    graph, decoder = Graph(content), BevDecoder(draft.decoder, draft.classes)
    results, lights, truth = [], [], []
    for frame, labels in frames:
        maps = graph.run(feed_of(frame))
        decoded = decoder.decode(maps[HEAT], maps[BOXES], _FIT_FROM)
        results.append(
            FrameResult(
                decoded.boxes, decoded.scores.astype(np.float64), labels.boxes(), labels.ignored()
            )
        )
        if labels.record.light is not None and frame.cameras_present.all():
            lights.append(maps[LIGHT][0].astype(np.float64))
            truth.append(LIGHT_STATES.index(labels.record.light))
    if not results:
        raise InputError("no labelled frame to fit probabilities on")
    scores, kinds, right = _matched(results, len(draft.classes))
    temperature = fit_temperature(np.array(lights), np.array(truth)) if lights else 1.0
    return fit_calibration(scores, kinds, right, draft.classes, temperature, before)


def _matched(
    results: Sequence[FrameResult], classes: int
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.int64]],
    np.ndarray[tuple[int], np.dtype[np.bool_]],
]:  # fmt: skip
    """Scores, classes and rightness of all counted detections."""
    matcher = Matcher(results, MATCH_M)
    parts = [matcher.match((kind,), MATCH_M) for kind in range(classes)]
    return (
        np.concatenate([part.scores for part in parts]),
        np.repeat(np.arange(classes), [part.scores.size for part in parts]),
        np.concatenate([part.right for part in parts]),
    )


def deployed(
    student: Student,
    for_ranges: Sequence[StudentFrame],
    for_probabilities: Sequence[LabelledFrame],
    *,
    name: str,
    version: int,
    score_threshold: float,
    lineage: dict[str, str],
    int8: bool = True,
    before: Calibration | None = None,
    progress: Progress = lambda text: None,
) -> Deployment:
    """Export, quantise, calibrate, and measure the self-test. `before` is the calibration of the
    model that the student was retrained from.
    """
    progress("exporting")
    content = onnx_bytes(student)
    if int8:
        progress(f"int8 ranges from {len(for_ranges)} frames")
        content = quantised(content, int8_frames(for_ranges, student))

    def manifest(calibration: Calibration) -> ModelManifest:
        return student_manifest(
            student.config, content, name=name, version=version, calibration=calibration,
            score_threshold=score_threshold, lineage=lineage,
        )  # fmt: skip

    progress(f"probabilities from {len(for_probabilities)} frames")
    calibration = fitted_calibration(content, manifest(Calibration()), for_probabilities, before)
    return Deployment(content, manifest(calibration))
