"""The demo detector's training parts: assignment, loss, matching, calibration, export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from edge_agent.perception.runtime import load_model
from edge_agent.sources.sim.export import export_frames
from kernels.yolox import grid_of
from models.demo_detector.export import write_model
from models.demo_detector.frames import HEIGHT, WIDTH, Frames, load_frames
from models.demo_detector.network import STRIDES, DemoDetector, Deployed
from models.demo_detector.scoring import (
    Matches,
    calibration_error,
    fit_platt,
    match_frames,
    recall_and_precision,
)
from models.demo_detector.targets import assign, boxes_of, loss_of
from models.demo_detector.train import train


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine are far slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


GRID = grid_of(WIDTH, HEIGHT, STRIDES)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    path = tmp_path_factory.mktemp("frames") / "a.npz"
    export_frames(path, range(900, 902), 8)
    return load_frames(path)


def test_exported_frames_fit_the_tensor(frames: Frames) -> None:
    assert frames.images.shape == (16, 3, HEIGHT, WIDTH) and frames.seeds == (900, 901)
    assert frames.class_names == ("car", "truck", "pedestrian")
    boxes = frames.boxes_px
    assert (boxes >= 0).all() and (boxes[:, 2] <= WIDTH).all() and (boxes[:, 3] <= 216.01).all()
    assert (frames.images[:, :, 216:] == 114).all()  # the letterbox's padding


def test_a_file_without_its_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", jpeg=np.zeros(3, np.uint8))
    with pytest.raises(InputError, match="boxes_px"):
        load_frames(tmp_path / "a.npz")


@given(st.integers(0, 2**31), st.integers(1, 12))
def test_every_free_standing_box_is_answered_for(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.uniform(5, 120, (count, 2))
    centre = rng.uniform((4, 4), (WIDTH - 4, HEIGHT - 4), (count, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    ignored = rng.random(count) < 0.2
    answer, left_out = assign(boxes, np.zeros(count, np.int64), ignored, GRID)
    assert not (left_out & (answer >= 0)).any()
    given_for = set(answer[answer >= 0].tolist())
    assert not given_for & set(np.flatnonzero(ignored).tolist())
    if count == 1 and not ignored[0]:
        assert given_for == {0}
        cells = GRID[answer >= 0]
        here = (cells[:, :2] + 0.5) * cells[:, 2:]
        assert (np.abs(here - centre[0]) <= 1.3 * cells[:, 2:]).all()


def test_loss_is_small_only_for_the_right_answer() -> None:
    boxes = np.array([[40, 60, 80, 100]], np.float32)
    answer, left_out = assign(boxes, np.array([1]), np.array([False]), GRID)
    grid = torch.from_numpy(GRID)
    rows = torch.zeros(1, GRID.shape[0], 8)
    rows[..., 4:] = -12.0
    good = torch.from_numpy(answer >= 0)
    centre, size = torch.tensor([60.0, 80.0]), 40.0
    rows[0, :, :2] = centre / grid[:, 2:] - grid[:, :2]
    rows[0, :, 2:4] = torch.log(size / grid[:, 2:])
    rows[0, good, 4] = 12.0
    rows[0, good, 6] = 12.0
    np.testing.assert_allclose(boxes_of(rows, grid)[0, 0], [40, 60, 80, 100], rtol=1e-4)
    targets = torch.from_numpy(boxes).repeat(int(good.sum()), 1)
    kinds = torch.ones(int(good.sum()), dtype=torch.int64)
    arguments = (grid, good[None], torch.from_numpy(left_out)[None], targets, kinds)
    right = float(loss_of(rows, *arguments))
    assert right < 0.05
    for column in (0, 2, 4, 6):
        wrong = rows.clone()
        wrong[0, good, column] -= 3.0 if column < 4 else 20.0
        assert float(loss_of(wrong, *arguments)) > right + 0.5


def test_matching_counts_right_wrong_double_and_ignored() -> None:
    images = np.zeros((1, 3, HEIGHT, WIDTH), np.uint8)
    boxes = np.array([[16, 16, 48, 48], [96, 96, 128, 128]], np.float32)
    frames = Frames(
        images, np.zeros(2, np.int64), boxes, np.array([0, 0]), np.array([False, True]),
        ("car", "truck"), (0,),
    )  # fmt: skip
    raw = np.zeros((1, GRID.shape[0], 7), np.float32)

    def put(row: int, centre: float, size: float, objectness: float, kind: int) -> None:
        x, y, stride = GRID[row]
        raw[0, row, :4] = (
            centre / stride - x, centre / stride - y, np.log(size / stride), np.log(size / stride)
        )  # fmt: skip
        raw[0, row, 4], raw[0, row, 5 + kind] = objectness, 1.0

    put(0, 32, 32, 0.9, 0)  # right
    put(1, 32, 20, 0.8, 0)  # the same object again, too small to be suppressed with it
    put(2, 112, 32, 0.7, 0)  # on an ignored box: not counted
    put(3, 180, 32, 0.6, 1)  # nothing there
    matches = match_frames(lambda _: raw, frames)
    assert sorted(zip(matches.scores.round(2), matches.right.tolist(), strict=True)) == [
        (0.6, False),
        (0.8, False),
        (0.9, True),
    ]
    recall, precision = recall_and_precision(matches, 0.5)
    assert recall.tolist() == [1, 0] and precision.tolist() == [0.5, 0]


def test_platt_recovers_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-(0.6 * logit - 0.7)))
    scores = 1 / (1 + np.exp(-logit))
    matches = Matches(scores, np.zeros(20_000, np.int64), right, np.array([int(right.sum())]))
    slope, bias = fit_platt(matches)
    assert slope == pytest.approx(0.6, abs=0.05) and bias == pytest.approx(-0.7, abs=0.05)
    told = 1 / (1 + np.exp(-(slope * logit + bias)))
    assert calibration_error(told, right) < 0.02 < calibration_error(scores, right)


@given(st.integers(0, 2**31), st.floats(0.02, 0.98), st.integers(2, 400))
def test_platt_never_runs_away(seed: int, rate: float, count: int) -> None:
    """Scores that say nothing, or everything: the fit stays finite and no worse than none."""
    rng = np.random.default_rng(seed)
    scores, right = rng.uniform(0.05, 1.0, count) ** 3, rng.random(count) < rate
    matches = Matches(scores, np.zeros(count, np.int64), right, np.array([count]))
    slope, bias = fit_platt(matches)
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    logit = np.log(inside / (1 - inside))
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(weight: float, shift: float) -> float:
        return float(
            (np.logaddexp(0, logit * weight + shift) - target * (logit * weight + shift)).sum()
        )

    base = np.log((right.sum() + 1) / ((~right).sum() + 1))
    assert loss(slope, bias) <= min(loss(0.0, base), loss(1.0, 0.0)) + 1e-3 * count
    assert abs(slope) < 100 and abs(bias) < 1000


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_the_exported_layout_is_the_networks(seed: int) -> None:
    torch.manual_seed(seed)
    network = DemoDetector(3).eval()
    images = torch.rand(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        rows, embedding = Deployed(network)(images)
    assert rows.shape == (1, GRID.shape[0], 8) and embedding.shape == (1, 64)
    assert (rows[..., 4:] > 0).all() and (rows[..., 4:] < 1).all()


def test_a_short_training_learns_and_its_export_runs_on_the_vehicle(
    frames: Frames, tmp_path: Path
) -> None:
    network = train(frames, epochs=14, seed=1, batch=4)
    figures = write_model(network, frames, frames, tmp_path, {"trained_by": "a test"})
    recall, _ = (float(n) for n in figures["car_recall_precision_at_iou50"].split())
    assert recall > 0.02  # it has seen these frames, and few of them
    model = load_model(tmp_path / "demo_detector.onnx")
    assert model.class_names == frames.class_names
    assert model.manifest.lineage["trained_by"] == "a test"


def test_a_network_whose_scores_say_nothing_is_not_written(frames: Frames, tmp_path: Path) -> None:
    torch.manual_seed(1)
    with pytest.raises(InputError, match="train longer"):
        write_model(DemoDetector(3).eval(), frames, frames, tmp_path, {})
    assert list(tmp_path.iterdir()) == []
