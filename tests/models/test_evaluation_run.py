"""Whole evaluations of predictors whose figures are known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from contracts.errors import InputError
from contracts.geometry import Boxes, flat_SE3
from contracts.labels import EgoPose, FrameLabels, labels_bytes, labels_from
from contracts.model_manifest import Calibration
from models.evaluation.adapters import GraphPredictor, NetworkPredictor, TeacherPredictor
from models.evaluation.document import EvaluationReport, ModelIdentity, ReportDocument
from models.evaluation.evaluate import Subject, evaluate, evaluate_all
from models.evaluation.intervals import estimate
from models.evaluation.predictor import MODALITIES, Prediction, Predictor, Without, taken_away
from models.student.dropout import without_camera, without_lidar, without_radar
from models.student.export import onnx_bytes, student_manifest
from models.student.inputs import StudentFrame
from models.student.network import new_student
from models.teacher.config import teacher_config
from models.teacher.network import Teacher
from models.teacher.predict import TeacherView
from tests.models.evaluation_drives import CONFIG, LabelledFrame, Oracle, drives, only
from tests.models.student_frames import frame_of, labels_of, random_scene

NAME = ModelIdentity(name="oracle", kind="other")


def measured(predictor: Predictor, frames: list[LabelledFrame]) -> EvaluationReport:
    return evaluate(predictor, iter(frames), NAME, "synthetic", resamples=20)


def moved_by(shift_mps: tuple[float, float]) -> Oracle:
    """Tells velocities that are off by as much."""

    def answer(frame: StudentFrame, told: Prediction) -> Prediction:
        velocity = told.boxes.velocity_mps + np.array(shift_mps)
        return replace(told, boxes=replace(told.boxes, velocity_mps=velocity))

    return Oracle(drives(), answer)


def test_the_truth_is_perfect_everywhere() -> None:
    frames = drives()
    report = measured(Oracle(frames), frames)
    for name in (
        "mean_ap", "score", "vehicle_ap_2m", "car_ap_2m", "truck_ap_2m", "mean_iou",
        "light_accuracy",
    ):  # fmt: skip
        assert report.value(name) == 1.0, name
    assert report.value("bus_ap_2m") is None
    assert report.value("calibration_error") == 0.0
    assert report.value("ade_m") == pytest.approx(0.0, abs=1e-6) == report.value("fde_m")
    # Of nine frames half a second apart the first three are followed for three seconds.
    assert report.motion["all"].followed == 2 * 3 * 4
    assert report.motion["moving"].followed == 2 * 3 * 3
    assert report.motion["all"].true_ade_m == pytest.approx(0.0, abs=1e-6)
    speeds = np.hypot([2.0, 1.0, 0.0, 0.5], [0.5, 0.0, 0.0, -1.0])
    assert report.motion["all"].standing_ade_m == pytest.approx(2 * speeds.mean(), abs=1e-3)
    assert report.data.frames == 18 and report.data.drives == 2 and report.data.truths == 72
    assert report.light is not None and report.light.confusion[1][1] == 18
    assert set(report.detection.slices) == {
        "range=0-20", "range=20-40", "range=40-80", "tod=day", "tod=night", "weather=clear",
        "occluded", "rare",
    }  # fmt: skip
    assert report.detection.slices["occluded"].truths == 18
    assert report.detection.slices["rare"].mean_ap is None
    assert report.slice_ap["tod=night"].value == 1.0
    assert report.headline["mean_ap"].low == report.headline["mean_ap"].high == 1.0
    assert report.slice_ap["tod=night"].low is None, "one drive says nothing of the others"


def test_a_wrong_velocity_leads_away_by_as_much_each_second() -> None:
    frames = drives()
    report = measured(moved_by((0.3, -0.4)), frames)
    assert report.motion["all"].displacement_m == pytest.approx(
        {"1": 0.5, "2": 1.0, "3": 1.5}, abs=1e-3
    )
    assert report.value("ade_m") == pytest.approx(1.0, abs=1e-3)
    assert report.value("fde_m") == pytest.approx(1.5, abs=1e-3)
    assert report.detection.overall.errors["velocity_mps"] == pytest.approx(0.5, abs=1e-3)
    assert report.value("mean_ap") == 1.0


def test_nothing_is_followed_without_poses_or_over_gaps() -> None:
    frames = drives()
    blind = [
        replace(
            each,
            labels=replace(
                each.labels, record=each.labels.record.model_copy(update={"ego_pose": None})
            ),
        )
        for each in frames
    ]
    assert measured(Oracle(frames), blind).motion == {}
    assert measured(Oracle(frames), blind).value("ade_m") is None
    sparse = [each for each in frames if each.labels.record.mono_ns % 1_500_000_000 == 10**9]
    assert len(sparse) > 2
    assert measured(Oracle(frames), sparse).motion == {}


def test_a_lost_sensor_costs_what_only_it_shows() -> None:
    frames = drives()

    def answer(frame: StudentFrame, told: Prediction) -> Prediction:
        # Pedestrians are seen by cameras alone, trucks need the lidar.
        lost = ([] if frame.cameras_present.any() else [3]) + ([] if frame.lidar_present else [1])
        return only(told, ~np.isin(told.boxes.class_index, lost))

    oracle = Oracle(frames, answer)
    subjects = [Subject(NAME, oracle)] + [
        Subject(NAME, Without(oracle, modality, CONFIG.lift), modality) for modality in MODALITIES
    ]
    document = ReportDocument(runs=evaluate_all(subjects, frames, "synthetic", resamples=0))
    kept = {run.without: share for run, share in document.with_loss()}
    assert kept == {
        "camera": pytest.approx(2 / 3, abs=1e-3), "lidar": pytest.approx(2 / 3, abs=1e-3),
        "radar": 1.0,
    }  # fmt: skip
    blind = next(run for run in document.runs if run.without == "camera")
    assert blind.light is None and blind.value("light_accuracy") is None
    assert blind.ground is not None
    assert document.main.headline["mean_ap"].low is None


def test_half_of_the_lights_and_confidence_that_is_half_right() -> None:
    frames = drives(light="green")
    calls = iter(range(len(frames)))

    def answer(frame: StudentFrame, told: Prediction) -> Prediction:
        light = np.array([0.0, 0.25, 0.0, 0.75]) if next(calls) % 2 else told.light
        shifted = told.boxes.centre_m + np.array([[50.0, 0, 0]]) * (np.arange(4)[:, None] % 2)
        boxes: Boxes = replace(told.boxes, centre_m=shifted)
        return replace(told, boxes=boxes, scores=np.full(4, 0.75), light=light)

    report = measured(Oracle(frames, answer), frames)
    assert report.value("light_accuracy") == 0.5
    assert report.light is not None and report.light.recall["green"] == 0.5
    assert report.light.confusion[1] == (0, 9, 0, 9)
    assert report.value("calibration_error") == pytest.approx(0.25)
    assert report.calibration.overall is not None and sum(report.calibration.overall.count) == 72


def test_a_drive_that_fails_widens_the_interval() -> None:
    frames = drives(4)

    def answer(frame: StudentFrame, told: Prediction) -> Prediction:
        failed = frame.lidar.max() >= 27
        return only(told, np.zeros(0, np.int64)) if failed else told

    found = evaluate(Oracle(frames, answer), frames, NAME, "synthetic", resamples=200)
    each = found.headline["vehicle_ap_2m"]
    assert each.low is not None and each.high == 1.0
    assert each.low < (each.value or 0.0) < 0.8
    again = evaluate(Oracle(frames, answer), frames, NAME, "synthetic", resamples=200)
    assert again == found


def test_an_interval_is_of_drives_and_not_of_frames() -> None:
    drive_of_frame = np.repeat(np.arange(5), 100)
    values = np.repeat([0.0, 0.0, 1.0, 1.0, 1.0], 100)

    def mean(weights: np.ndarray) -> float:
        return float(values @ weights / weights.sum())

    each = estimate(mean, drive_of_frame, 2000)
    assert each.value == 0.6 and each.low is not None and each.high is not None
    # The mean of five draws of 0.6 is 0.2 .. 1 in its middle 95 %; of 500 it would be narrow.
    assert (each.low, each.high) == pytest.approx((0.2, 1.0))
    assert estimate(lambda weights: float("nan"), drive_of_frame).value is None


def test_boxes_that_nobody_could_see_are_not_asked_for() -> None:
    frames = drives(1, 2)

    def hidden(labels: FrameLabels, row: int, **update: object) -> FrameLabels:
        boxes = list(labels.record.boxes)
        boxes[row] = boxes[row].model_copy(update=update)
        return replace(labels, record=labels.record.model_copy(update={"boxes": tuple(boxes)}))

    unseen = [
        replace(each, labels=hidden(each.labels, 0, visibility=0.0, points=0)) for each in frames
    ]
    report = measured(Oracle(frames, lambda frame, told: only(told, np.arange(1, 4))), unseen)
    assert report.value("mean_ap") == 1.0 and report.data.truths == 6
    dark = [replace(each, labels=hidden(each.labels, 0, visibility=0.0)) for each in frames]
    report = measured(Oracle(frames, lambda frame, told: only(told, np.arange(1, 4))), dark)
    assert (report.value("mean_ap") or 0.0) < 1.0, "the lidar saw it"


def test_what_cannot_be_measured_is_refused() -> None:
    frames = drives(1, 2)
    oracle = Oracle(frames)
    with pytest.raises(InputError, match="no labelled frame"):
        measured(oracle, [])
    with pytest.raises(InputError, match="came before"):
        measured(oracle, [frames[0], frames[0]])
    other = CONFIG.grid.model_copy(update={"x_min_m": 0.0})

    def shifted(frame: StudentFrame, told: Prediction) -> Prediction:
        return replace(told, grid=other)

    with pytest.raises(InputError, match="another grid"):
        measured(Oracle(frames, shifted), frames)
    told = oracle.predict(frames[0].frame)
    with pytest.raises(InputError, match="probability"):
        replace(told, scores=told.scores * 2)
    with pytest.raises(InputError, match="ground"):
        replace(told, ground=told.ground[:1])
    with pytest.raises(InputError, match="light"):
        replace(told, light=np.ones(3))


def test_the_digest_is_of_the_labels_whatever_their_order() -> None:
    frames = drives(2, 3)
    one = measured(Oracle(frames), frames).data.digest
    assert measured(Oracle(frames), frames[::-1]).data.digest == one
    assert measured(Oracle(frames), frames[1:]).data.digest != one
    again = [
        replace(each, labels=labels_from(labels_bytes(each.labels), "again")) for each in frames
    ]
    assert measured(Oracle(frames), again).data.digest == one


def test_what_is_taken_away_is_what_training_takes_away() -> None:
    rng = np.random.default_rng(4)
    full = frame_of(rng, CONFIG, random_scene(rng, CONFIG))
    blind = full
    for camera in range(len(CONFIG.cameras)):
        blind = without_camera(blind, CONFIG, camera)
    expected = {"camera": blind, "lidar": without_lidar(full), "radar": without_radar(full)}
    for modality in MODALITIES:
        one, other = taken_away(full, modality, CONFIG.lift), expected[modality]
        np.testing.assert_array_equal(one.table.pixel, other.table.pixel)
        np.testing.assert_array_equal(one.table.depth, other.table.depth)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.lidar, other.lidar)
        np.testing.assert_array_equal(one.radar, other.radar)
        np.testing.assert_array_equal(one.present(), other.present())


def test_the_graph_and_the_network_are_one_model() -> None:
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng, CONFIG) for _ in range(2)]
    frames = [
        LabelledFrame(
            frame_of(rng, CONFIG, boxes),
            replace(
                labels := labels_of(CONFIG, boxes, light=2),
                record=labels.record.model_copy(update={"mono_ns": number}),
            ),
        )
        for number, boxes in enumerate(scenes)
    ]
    network = new_student(CONFIG, 5).eval()
    content = onnx_bytes(network)
    calibration = Calibration(method="platt", slope=0.8, bias=0.5, light_temperature=2.0)
    manifest = student_manifest(
        CONFIG, content, name="student-tiny", version=1, calibration=calibration,
        score_threshold=0.3, lineage={},
    )  # fmt: skip
    graph = GraphPredictor(manifest, content, threshold=0.001)
    torch_made = NetworkPredictor(network, calibration, threshold=0.001)
    for each in frames:
        one, two = graph.predict(each.frame), torch_made.predict(each.frame)
        np.testing.assert_allclose(one.ground, two.ground, atol=1e-3)
        assert one.light is not None and two.light is not None
        np.testing.assert_allclose(one.light, two.light, atol=1e-3)
        assert len(one.boxes) and one.embedding.shape == (32,)
        assert Without(graph, "camera", graph.lift).predict(each.frame).light is None
    report = evaluate(graph, frames, NAME, "tiny", resamples=0)
    assert report.value("mean_ap") is not None and report.light is not None
    with pytest.raises(InputError, match="the model takes"):
        graph.predict(drives(1, 1)[0].frame.__class__(
            *(getattr(frames[0].frame, name) for name in ("images", "table")),
            frames[0].frame.lidar[:, :4], frames[0].frame.radar, frames[0].frame.cameras_present,
        ))  # fmt: skip
    with pytest.raises(InputError, match="taxonomy"):
        GraphPredictor(manifest.model_copy(update={"lineage": {"taxonomy_version": "x"}}), content)
    with pytest.raises(InputError, match="bird's-eye"):
        GraphPredictor(manifest.model_copy(update={"bev": None}), content)


def test_a_teacher_is_a_predictor_too() -> None:
    config = teacher_config(CONFIG)
    rng = np.random.default_rng(8)
    frame = frame_of(rng, config, random_scene(rng, config))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        teacher = TeacherPredictor(TeacherView(Teacher(config, 2)), threshold=0.001)
    told = teacher.predict(frame)
    assert len(told.boxes) and told.grid == config.grid
    assert told.light is not None and told.light.sum() == pytest.approx(1.0)
    assert Without(teacher, "camera", teacher.lift).predict(frame).light is None


def test_a_pose_is_a_rotation() -> None:
    pose = drives(1, 4)[3].labels.record.ego_pose
    assert pose is not None
    expected = flat_SE3(1.5, 0.1 * 1.5**2, 0.2 * 1.5)
    np.testing.assert_allclose(pose.world_SE3_ego(), expected, atol=1e-12)
    for wrong in ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, float("nan"), 1.0)):
        with pytest.raises(ValidationError, match="orientation_xyzw"):
            EgoPose(position_m=(0.0, 0.0, 0.0), orientation_xyzw=wrong)
