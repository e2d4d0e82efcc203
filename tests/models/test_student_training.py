"""Training, export, int8 and calibration on a handful of synthetic frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from contracts.errors import InputError
from contracts.geometry import Boxes
from contracts.model_manifest import Calibration, ClassCalibration, ModelManifest
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.decoders import BEV_DECODERS
from edge_agent.perception.manifests import verified_model
from edge_agent.perception.runtime import load_model
from kernels.bev.pattern import input_shapes, self_test_inputs
from kernels.bev.window import BevTensors
from kernels.bev_decoding import BevDecoder, calibrated_by_class
from models.evaluation.detection import detection_score
from models.evaluation.matching import FrameResult, match_class
from models.student.calibrate import fit_calibration, fit_temperature
from models.student.config import StudentConfig
from models.student.dropout import NO_DROPOUT, without_camera, without_lidar, without_radar
from models.student.export import (
    OUTPUTS,
    Graph,
    Outputs,
    onnx_bytes,
    student_manifest,
    write_student,
)
from models.student.inputs import StudentFrame, batch_of, feed_of, frame_of
from models.student.network import Deployed, Student
from models.student.quantise import quantised
from models.student.train import Example, Recipe, train_student
from tests.models.student_frames import examples, tiny_config

CONFIG = tiny_config()
NAMES = CONFIG.taxonomy.names


@dataclass(frozen=True)
class Trained:
    network: Student
    examples: list[Example]
    scenes: list[Boxes]
    losses: list[dict[str, float]]
    content: bytes


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained() -> Trained:
    made, scenes = examples(CONFIG, 6)
    losses: list[dict[str, float]] = []
    recipe = Recipe(epochs=70, batch=3, max_rate=6e-3, dropout=NO_DROPOUT)
    network = train_student(CONFIG, made, recipe, 1, lambda _, means: losses.append(means))
    return Trained(network, made, scenes, losses, onnx_bytes(network))


def torch_outputs(network: Student, frame: StudentFrame) -> Outputs:
    with torch.no_grad():
        found = Deployed(network)(*batch_of([frame]))
    return {name: part.numpy() for name, part in zip(OUTPUTS, found, strict=True)}


def manifest_of(content: bytes, calibration: Calibration | None = None) -> ModelManifest:
    return student_manifest(
        CONFIG, content, name="student-tiny", version=1, score_threshold=0.3,
        calibration=calibration or Calibration(), lineage={"trained_on": "synthetic frames"},
    )  # fmt: skip


def results(trained: Trained, outputs: list[Outputs], threshold: float = 0.3) -> list[FrameResult]:
    manifest = manifest_of(trained.content)
    decoder = BevDecoder(manifest.decoder, manifest.classes)
    found = []
    for out, truth in zip(outputs, trained.scenes, strict=True):
        decoded = decoder.decode(out["heat"], out["boxes"], threshold)
        none = np.zeros(len(truth), np.bool_)
        found.append(FrameResult(decoded.boxes, decoded.scores.astype(np.float64), truth, none))
    return found


def test_it_learns_a_handful_of_frames_by_heart(trained: Trained) -> None:
    first, last = trained.losses[0], trained.losses[-1]
    assert all(last[name] < first[name] for name in ("heat", "boxes", "ground", "presence"))
    outputs = [torch_outputs(trained.network, e.frame) for e in trained.examples]
    score = detection_score(results(trained, outputs))
    assert score.mean_ap > 0.8
    assert score.errors["translation_m"] < 0.5 and score.errors["scale"] < 0.3
    ground = np.mean([((o["ground"] > 0.5) == e.targets.ground).mean() for o, e in zip(
        outputs, trained.examples, strict=True)])  # fmt: skip
    assert ground > 0.95


def test_the_exported_graph_says_what_torch_says(trained: Trained) -> None:
    graph = Graph(trained.content)
    full = trained.examples[0].frame
    for frame in (
        full, without_lidar(full), without_radar(full), without_camera(full, CONFIG, 0)
    ):  # fmt: skip
        found, expected = graph.run(feed_of(frame)), torch_outputs(trained.network, frame)
        for name in OUTPUTS:
            np.testing.assert_allclose(found[name], expected[name], atol=2e-3, rtol=2e-3)


def test_the_int8_graph_runs_and_keeps_the_detections(trained: Trained) -> None:
    frames = [example.frame for example in trained.examples]
    content = quantised(trained.content, [*frames, without_lidar(frames[0])])
    graph = Graph(content)
    outputs = [graph.run(feed_of(frame)) for frame in frames]
    lost = (
        detection_score(
            results(trained, [torch_outputs(trained.network, f) for f in frames])
        ).mean_ap
        - detection_score(results(trained, outputs)).mean_ap
    )
    assert lost < 0.1
    assert len(content) < 0.75 * len(trained.content)
    # Eight bits for all box channels together would tell 256 values at most, sizes in fifths.
    assert min(np.unique(output["boxes"]).size for output in outputs) > 1000
    with pytest.raises(InputError, match="no frame"):
        quantised(trained.content, [])


def test_the_manifest_describes_the_graph(trained: Trained, tmp_path: Path) -> None:
    manifest = manifest_of(trained.content)
    path = write_student(tmp_path, trained.content, manifest)
    read = verified_model(path)
    assert read.manifest == manifest and read.manifest.rare_classes == CONFIG.taxonomy.rare_names
    inputs = self_test_inputs(read.manifest)
    assert {name: array.shape for name, array in inputs.items()} == input_shapes(read.manifest)
    outputs = Graph(read.content).run(inputs)
    told = {probe.tensor for probe in read.manifest.self_test.probes}
    assert told == set(OUTPUTS)
    for probe in read.manifest.self_test.probes:
        assert abs(outputs[probe.tensor or "heat"][probe.index] - probe.value) <= probe.tolerance
    decoder = BEV_DECODERS[read.manifest.decoder.name](read.manifest)
    decoder.decode(outputs["heat"], outputs["boxes"])
    assert isinstance(load_model(path), OnnxBevModel)


def test_the_vehicle_s_inputs_and_the_training_s_are_the_same(trained: Trained) -> None:
    frame = trained.examples[2].frame
    tensors = BevTensors(
        feed_of(frame)["images"], frame.table, frame.lidar, frame.radar, frame.cameras_present,
        True, True,
    )  # fmt: skip
    manifest = manifest_of(trained.content)
    assert manifest.bev is not None
    feed = tensors.feed(manifest.input, manifest.bev)
    again = feed_of(frame_of(tensors))
    assert set(feed) == set(again) == set(input_shapes(manifest))
    for name, array in feed.items():
        np.testing.assert_array_equal(array, again[name])


def test_manifests_whose_parts_do_not_fit_are_refused(trained: Trained) -> None:
    good = manifest_of(trained.content).model_dump(mode="json", exclude_none=True)
    ModelManifest.model_validate_json(manifest_of(trained.content).model_dump_json())
    decoder = good["decoder"]
    groups = {**decoder["bev"], "groups": [["car"]], "suppress_m": [1.0]}
    curve = {"slope": 1.0, "bias": 0.0, "examples": 3}
    for broken, match in (
        ({"bev": None}, "come together"),
        ({"decoder": {**decoder, "bev": None}}, "bev_center"),
        ({"decoder": {**decoder, "name": "yolox"}}, "bev_center"),
        ({"decoder": {**decoder, "bev": groups}}, "each class once"),
        ({"calibration": {"method": "platt", "by_class": {"tram": curve}}}, "by_class"),
    ):
        with pytest.raises(ValidationError, match=match):
            ModelManifest.model_validate({**good, **broken})


def test_the_same_seed_trains_the_same_weights() -> None:
    made, _ = examples(CONFIG, 3)
    one, two, other = (
        train_student(CONFIG, made, Recipe(epochs=2, batch=2), seed) for seed in (5, 5, 6)
    )
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.tasks.tail_heat.weight, other.tasks.tail_heat.weight)
    with pytest.raises(InputError, match="no example"):
        train_student(CONFIG, [], Recipe(epochs=1), 0)


def test_it_trains_in_bfloat16_on_a_finer_raster(monkeypatch: pytest.MonkeyPatch) -> None:
    # This CPU may have none of its own and would train in float32.
    monkeypatch.setattr("models.student.device.has_bfloat16", lambda device: True)
    config: StudentConfig = tiny_config(raster_stride=2)
    made, _ = examples(config, 2)
    losses: list[dict[str, float]] = []
    recipe = Recipe(epochs=6, batch=2, bf16=True, max_rate=5e-3)
    network = train_student(config, made, recipe, 2, lambda _, means: losses.append(means))
    assert losses[-1]["heat"] < losses[0]["heat"] and np.isfinite(losses[-1]["boxes"])
    assert network(*batch_of([made[0].frame])).heat.shape == (1, 9, 32, 32)


def test_calibration_finds_the_curve_and_says_what_it_borrowed() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 6000)
    kinds = rng.choice([0, 3], 6000)
    logit = np.log(scores / (1 - scores))
    chance = 1 / (1 + np.exp(-np.where(kinds == 0, 1.5 * logit + 0.5, 0.7 * logit - 1.0)))
    right = rng.random(6000) < chance
    rare = np.append(kinds, [4, 4, 4])
    curve = fit_calibration(
        np.append(scores, [0.5, 0.6, 0.7]), rare, np.append(right, [True, False, True]), NAMES
    )
    assert curve.by_class["car"].slope == pytest.approx(1.5, abs=0.15)
    assert curve.by_class["car"].bias == pytest.approx(0.5, abs=0.15)
    assert curve.by_class["pedestrian"].bias == pytest.approx(-1.0, abs=0.15)
    assert curve.by_class["cyclist"].examples == 0
    assert curve.by_class["cyclist"].slope == curve.slope
    # A retrained model keeps what these drives say too little of, and nothing else.
    cyclist = ClassCalibration(slope=2.0, bias=-3.0, examples=40)
    car = ClassCalibration(slope=9.0, bias=9.0, examples=40)
    before = Calibration(method="platt", by_class={"cyclist": cyclist, "car": car})
    again = fit_calibration(
        np.append(scores, [0.5, 0.6, 0.7]), rare, np.append(right, [True, False, True]), NAMES,
        before=before,
    )  # fmt: skip
    assert again.by_class["cyclist"] == cyclist.model_copy(update={"examples": 0})
    assert again.by_class["car"] == curve.by_class["car"]
    told = calibrated_by_class(scores, kinds, curve, NAMES)
    assert np.abs(told - chance).max() < 0.05
    with pytest.raises(InputError, match="slope"):
        fit_calibration(scores, kinds, ~right, NAMES)


def test_the_temperature_is_the_likeliest() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4000, 4))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(4, p=row) for row in honest])
    loud = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    assert fit_temperature(honest, truth) == pytest.approx(1.0, abs=0.08)
    assert fit_temperature(loud, truth) == pytest.approx(3.0, abs=0.25)
    with pytest.raises(InputError, match="no labelled light"):
        fit_temperature(np.zeros((0, 4)), np.zeros(0, np.int64))


def test_a_trained_student_s_scores_can_be_calibrated(trained: Trained) -> None:
    outputs = [torch_outputs(trained.network, e.frame) for e in trained.examples]
    found = results(trained, outputs, threshold=0.02)
    matches = [match_class(found, k, 2.0) for k in range(len(NAMES))]
    curve = fit_calibration(
        np.concatenate([m.scores for m in matches]),
        np.concatenate([np.full(m.scores.size, k) for k, m in enumerate(matches)]),
        np.concatenate([m.right for m in matches]), NAMES,
    )  # fmt: skip
    assert curve.slope > 0 and set(curve.by_class) == set(NAMES)
