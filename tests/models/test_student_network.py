"""The network's shape and promises: batches, absent sensors, seeds, configurations, targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely.affinity import translate
from shapely.geometry import box as rectangle

from contracts.errors import InputError
from contracts.geometry import BevGrid
from contracts.labels import FrameLabels
from contracts.model_manifest import BevCenter, Decoder
from kernels.bev.lift import lift_points
from kernels.bev_decoding import BevDecoder
from models.student.config import StudentConfig, student_m, student_s
from models.student.dropout import (
    NO_DROPOUT,
    DropoutOdds,
    drop_modalities,
    without_camera,
    without_lidar,
    without_radar,
)
from models.student.inputs import StudentFrame, batch_of, checked_frame, empty_frame
from models.student.losses import (
    LossWeights,
    TeacherOutputs,
    distillation_loss,
    losses_of,
    weighted,
)
from models.student.network import Student, StudentOutputs, new_student
from models.student.sight import _picked
from models.student.targets import BoxBatch, batch_targets, gaussian_radius, targets_of
from tests.models.student_frames import (
    box_maps,
    frame_of,
    labels_of,
    random_scene,
    tiny_config,
    views,
)

CONFIG = tiny_config()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Student:
    network = new_student(CONFIG, 3)
    torch.nn.init.normal_(network.sight.absent.weight, generator=torch.Generator().manual_seed(1))
    return network.eval()


def frame(seed: int) -> StudentFrame:
    rng = np.random.default_rng(seed)
    return frame_of(rng, CONFIG, random_scene(rng, CONFIG))


def run(network: Student, *frames: StudentFrame) -> StudentOutputs:
    with torch.no_grad():
        outputs: StudentOutputs = network(*batch_of(frames))
    return outputs


def decoder_of(config: StudentConfig, threshold: float = 0.3) -> BevDecoder:
    bev = BevCenter(
        grid=config.grid, groups=config.taxonomy.groups, suppress_m=config.suppress_m,
        boxes_tensor="boxes", ground_tensor="ground", light_tensor="light",
    )  # fmt: skip
    decoder = Decoder(name="bev_center", tensor="heat", score_threshold=threshold, bev=bev)
    return BevDecoder(decoder, config.taxonomy.names)


def test_a_batch_says_what_its_frames_say_alone(network: Student) -> None:
    one, two = frame(1), without_camera(frame(2), CONFIG, 1)
    both = run(network, one, two)
    for k, alone in enumerate((run(network, one), run(network, two))):
        for name, values in alone._asdict().items():
            torch.testing.assert_close(getattr(both, name)[k : k + 1], values, atol=1e-4, rtol=1e-3)
    assert both.heat.shape == (2, 9, 32, 32) and both.boxes.shape == (2, 40, 32, 32)
    assert both.ground.shape == (2, 2, 32, 32) and both.light.shape == (2, 4)


def test_an_absent_camera_s_picture_changes_no_detection(network: Student) -> None:
    gone = without_camera(frame(4), CONFIG, 1)
    noise = gone.images.copy()
    noise[1] = 255
    before, after = run(network, gone), run(network, replace(gone, images=noise))
    torch.testing.assert_close(before.heat, after.heat)
    torch.testing.assert_close(before.boxes, after.boxes)
    seen = run(network, frame(4))
    assert not torch.allclose(seen.heat, before.heat, atol=1e-4)


def test_an_absent_sensor_is_not_an_empty_one(network: Student) -> None:
    full = frame(5)
    for gone, empty in (
        (without_lidar(full), replace(full, lidar=np.zeros_like(full.lidar))),
        (without_radar(full), replace(full, radar=np.zeros_like(full.radar))),
    ):
        assert not torch.allclose(run(network, gone).heat, run(network, empty).heat, atol=1e-5)
    nothing = run(network, empty_frame(CONFIG))
    assert all(torch.isfinite(part).all() for part in nothing)


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_gathering_picks_the_rows_that_the_table_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.standard_normal((2, 6, 3)))
    table = torch.from_numpy(rng.integers(0, 7, (2, 9)))
    found = _picked(rows, table).reshape(2, 9, 3)
    for b in range(2):
        for k in range(9):
            at = int(table[b, k])
            expected = rows[b, at] if at < 6 else torch.zeros(3, dtype=rows.dtype)
            torch.testing.assert_close(found[b, k], expected)


def test_what_a_camera_shows_arrives_at_the_cells_that_it_projects_to(network: Student) -> None:
    """Gradient of one lifted cell: it reaches only the feature its point projects to."""
    features = torch.zeros(1, CONFIG.features, 1, requires_grad=True)
    table = frame(6).table
    points = lift_points(CONFIG.lift)
    checked = 0
    for n in range(0, points.shape[0], 97):
        if table.pixel[n] == CONFIG.features:
            continue
        picked = _picked(features, torch.from_numpy(table.pixel[None, n : n + 1]))
        (gradient,) = torch.autograd.grad(picked.sum(), features)
        at = int(gradient[0, :, 0].argmax())
        camera, cell = divmod(at, CONFIG.features // 2)
        pixels, _ = views(CONFIG)[camera].projected(points[n : n + 1])
        expected = np.floor(pixels[0] / 8).astype(int)
        assert divmod(cell, 8) == (expected[1], expected[0])
        checked += 1
    assert checked > 3


def test_the_seed_alone_draws_the_weights() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (new_student(CONFIG, seed) for seed in (7, 7, 8))
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.tasks.tail_heat.weight, other.tasks.tail_heat.weight)


def test_both_sizes_are_what_the_design_says() -> None:
    s, m = student_s(), student_m()
    assert (len(s.cameras), s.image_height, s.image_width, s.grid.rows) == (4, 128, 256, 128)
    assert len(m.cameras) == 6 and min(m.image_channels) >= 32 and m.lidar.grid.rows == 256
    assert s.embedding_size == m.embedding_size == 256
    assert sum(p.numel() for p in new_student(s, 0).parameters()) < 1_500_000


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("radar", CONFIG.radar.model_copy(update={"grid": CONFIG.grid.coarser(2)}), "radar.grid"),
        ("lift", CONFIG.lift.model_copy(update={"grid": CONFIG.grid}), "lift.grid"),
        ("lift", CONFIG.lift.model_copy(update={"feature_stride": 4}), "feature_stride"),
        ("light_camera", 2, "light_camera"),
        ("suppress_m", (1.0,), "suppress_m"),
        ("image_width", 60, "multiple"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(field: str, value: object, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        StudentConfig.model_validate({**dict(CONFIG), field: value})


def test_frames_of_another_configuration_are_refused() -> None:
    with pytest.raises(InputError, match="lidar"):
        checked_frame(tiny_config(raster_stride=2), frame(1))
    with pytest.raises(InputError, match="images"):
        checked_frame(CONFIG, replace(frame(1), images=frame(1).images[:1]))


def test_dropout_takes_sensors_at_its_odds_and_never_all_of_them() -> None:
    rng = np.random.default_rng(0)
    full = frame(1)
    odds = DropoutOdds(lidar=0.3, radar=0.2, cameras=0.3, one_camera=0.2)
    seen = [drop_modalities(full, CONFIG, odds, rng) for _ in range(600)]
    lidar = np.array([f.lidar_present for f in seen])
    cameras = np.array([f.cameras_present.sum() for f in seen])
    assert (lidar | (cameras > 0)).all()
    assert abs((~lidar).mean() - 0.3) < 0.06 and abs((cameras == 0).mean() - 0.21) < 0.06
    assert abs(np.mean([not f.radar_present for f in seen]) - 0.2) < 0.06
    assert (cameras == 1).any()
    for f in seen[:40]:
        checked_frame(CONFIG, f)
        assert f.lidar_present or not f.lidar.any()
        assert not f.images[~f.cameras_present].any()
        told = f.present()
        assert told[0] == np.float32(f.cameras_present.mean()) and told[1] == f.lidar_present
    same = drop_modalities(full, CONFIG, NO_DROPOUT, rng)
    assert same is full


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_targets_decode_to_the_boxes_that_they_were_made_from(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_scene(rng, CONFIG)
    targets = targets_of(CONFIG, labels_of(CONFIG, boxes))
    maps = box_maps(CONFIG, targets.boxes)
    found = decoder_of(CONFIG, 0.99).decode(targets.heat[None], maps[None])
    assert len(found.boxes) == len(boxes)
    for k in range(len(boxes)):
        away = np.hypot(*(found.boxes.centre_m[:, :2] - boxes.centre_m[k, :2]).T)
        row = int(np.argmin(away))
        assert found.boxes.class_index[row] == boxes.class_index[k]
        np.testing.assert_allclose(found.boxes.centre_m[row], boxes.centre_m[k], atol=1e-5)
        np.testing.assert_allclose(found.boxes.size_m[row], boxes.size_m[k], rtol=1e-5)
        np.testing.assert_allclose(found.boxes.velocity_mps[row], boxes.velocity_mps[k], atol=1e-5)
        turn = found.boxes.yaw_rad[row] - boxes.yaw_rad[k]
        assert abs(np.sin(turn)) < 1e-5 and np.cos(turn) > 0


def test_what_is_not_known_is_not_asked_for() -> None:
    boxes = random_scene(np.random.default_rng(1), CONFIG)
    unknown = replace(boxes, velocity_mps=np.full((4, 2), np.nan))
    targets = targets_of(CONFIG, labels_of(CONFIG, unknown, ignored=(0,)))
    weight = targets.boxes.weight
    assert not weight[:, 8:].any() and weight[:, :8].all()
    cell = tuple(CONFIG.grid.places(boxes.centre_m[:1, :2])[0].astype(int))
    assert targets.counted[cell] == 0 and targets.counted.mean() > 0.9
    assert (targets.heat == 1).sum() == 3 and targets.light == -1
    bare = FrameLabels(labels_of(CONFIG, boxes).record.model_copy(update={"ground_grid": None}))
    assert (targets_of(CONFIG, bare).ground == 255).all()
    other = BevGrid(x_min_m=-16, y_min_m=-15, cell_m=1, rows=32, columns=32)
    moved = labels_of(CONFIG, boxes).record.model_copy(update={"ground_grid": other})
    with pytest.raises(InputError, match="output grid"):
        targets_of(CONFIG, FrameLabels(moved, labels_of(CONFIG, boxes).ground))


@given(st.floats(1.0, 40.0), st.floats(0.5, 10.0), st.floats(0.1, 0.7))
def test_a_shift_within_the_radius_keeps_the_overlap(
    length: float, width: float, overlap: float
) -> None:
    radius = gaussian_radius(length, width, overlap)
    assert radius >= 0
    here = rectangle(0, 0, length, width)
    there = translate(here, radius * (1 - 1e-9), radius * (1 - 1e-9))
    iou = here.intersection(there).area / here.union(there).area
    assert iou >= overlap - 1e-6


def test_the_loss_is_small_only_for_the_right_answer() -> None:
    boxes = random_scene(np.random.default_rng(2), CONFIG)
    asked = targets_of(CONFIG, labels_of(CONFIG, boxes, light=3))
    targets = batch_targets([asked])
    right = StudentOutputs(
        heat=torch.where(targets.heat == 1, 12.0, -12.0),
        boxes=torch.from_numpy(box_maps(CONFIG, asked.boxes))[None],
        ground=torch.where(targets.ground == 1, 12.0, -12.0),
        light=torch.tensor([[0.0, 0.0, 0.0, 15.0]]), embedding=torch.zeros(1, 32),
        presence=torch.where(targets.presence == 1, 12.0, -12.0),
    )  # fmt: skip
    best = losses_of(right, targets)
    assert all(float(loss) < 1e-3 for loss in best.values())
    for name, wrong in (
        ("heat", right.heat + 14), ("boxes", right.boxes + 0.5), ("ground", -right.ground),
        ("light", -right.light), ("presence", -right.presence),
    ):  # fmt: skip
        found = losses_of(right._replace(**{name: wrong}), targets)
        assert float(found[name]) > float(best[name]) + 0.4
        assert all(found[other] == best[other] for other in best if other != name)
    doubled = float(weighted(best, LossWeights(heat=2.0)) - weighted(best, LossWeights()))
    assert doubled == pytest.approx(float(best["heat"]), rel=1e-3)


def test_a_student_that_says_what_its_teacher_says_loses_nothing(network: Student) -> None:
    outputs = run(network, frame(1))
    heat = torch.sigmoid(outputs.heat)
    cells = torch.tensor([[0, 0, 3, 4], [0, 2, 31, 0]])
    values = torch.stack([outputs.boxes[0, :10, 3, 4], outputs.boxes[0, 20:30, 31, 0]])
    rows = BoxBatch(cells, values.detach(), torch.ones(2, 10))
    same = TeacherOutputs(heat, rows, outputs.embedding)
    assert float(distillation_loss(outputs, same)) == pytest.approx(0.0, abs=1e-4)
    for other in (
        same._replace(heat=1 - heat), same._replace(boxes=rows._replace(values=values + 1)),
        same._replace(embedding=-outputs.embedding),
    ):  # fmt: skip
        assert float(distillation_loss(outputs, other)) > 0.05
