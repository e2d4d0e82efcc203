"""Heads over kept cells: what is kept, what they learn, and that they decode as a vehicle does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import CorruptError, InputError
from kernels.bev_decoding import BevDecoder
from models.data.drives import LabelledFrame
from models.evaluation.adapters import decoder_of
from models.student.cell_decoding import CellDecoder
from models.student.cells import CellFrames, cells_of, joined_cells, read_cells, write_cells
from models.student.heads import CellHeads, HeadRecipe, scale_of, train_heads
from models.student.inputs import batch_of
from models.student.network import Student, new_student
from tests.models.student_frames import frame_of, labels_of, random_scene, tiny_config

CONFIG = tiny_config()
KEPT = 200
RECIPE = HeadRecipe(members=3, hidden=16, steps=100, cells=256, near=128, max_rate=0.02)


@pytest.fixture(scope="module")
def student() -> Student:
    return new_student(CONFIG, 3).eval()


@pytest.fixture(scope="module")
def labelled() -> list[LabelledFrame]:
    rng = np.random.default_rng(4)
    scenes = [random_scene(rng, CONFIG) for _ in range(6)]
    return [
        LabelledFrame(frame_of(rng, CONFIG, scene), labels_of(CONFIG, scene)) for scene in scenes
    ]


@pytest.fixture(scope="module")
def frames(student: Student, labelled: list[LabelledFrame]) -> CellFrames:
    return cells_of(student, labelled, KEPT)


def test_cells_hold_the_networks_own_maps(
    student: Student, labelled: list[LabelledFrame], frames: CellFrames
) -> None:
    with torch.no_grad():
        out = student(*batch_of([one.frame for one in labelled]))
    boxes = out.boxes[2].flatten(1)[:, frames.cells[2]].T.numpy()
    np.testing.assert_allclose(frames.boxes[2], boxes, rtol=2e-2, atol=2e-2)
    heat = torch.sigmoid(out.heat[2]).amax(dim=0).flatten().numpy()
    assert heat.argmax() in frames.cells[2]
    assert (np.diff(frames.cells, axis=1) > 0).all()
    # The last layer before the heads, and both levels of sight.
    c0, c1, _ = CONFIG.trunk_channels
    assert frames.features.shape == (6, KEPT, CONFIG.head_channels + c0 + c1)
    np.testing.assert_allclose(frames.embedding, out.embedding.numpy(), rtol=1e-3, atol=1e-4)


def test_true_boxes_come_along(labelled: list[LabelledFrame], frames: CellFrames) -> None:
    boxes, ignored = frames.truth_of(3)
    told = labelled[3].labels.boxes()
    np.testing.assert_allclose(boxes.centre_m, told.centre_m)
    assert boxes.class_index.tolist() == told.class_index.tolist()
    assert not ignored.any()


def test_cells_come_back_from_a_file(tmp_path: Path, frames: CellFrames) -> None:
    path = tmp_path / "drive.npz"
    write_cells(path, frames)
    both = joined_cells([read_cells(path), frames])
    assert len(both) == 2 * len(frames)
    np.testing.assert_array_equal(both.features[6:], both.features[:6])
    assert both.truth_of(8)[0].centre_m.tolist() == frames.truth_of(2)[0].centre_m.tolist()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptError, match="no cells"):
        read_cells(path)


def test_cells_decode_as_whole_maps_do(frames: CellFrames) -> None:
    rng = np.random.default_rng(5)
    heat = rng.random((KEPT, len(CONFIG.taxonomy.names))).astype(np.float32)
    decoder, whole = CellDecoder(CONFIG), BevDecoder(decoder_of(CONFIG), CONFIG.taxonomy.names)
    maps = np.zeros(whole.heat_shape, np.float32)
    channels = np.zeros(whole.boxes_shape, np.float32)
    for frame in (0, 1):
        maps[:], channels[:] = 0, 0
        maps.reshape(maps.shape[1], -1)[:, frames.cells[frame]] = heat.T
        channels.reshape(channels.shape[1], -1)[:, frames.cells[frame]] = frames.boxes[frame].T
        told = decoder.decode(frames.cells[frame], heat, frames.boxes[frame], 0.3)
        wanted = whole.decode(maps, channels, 0.3)
        np.testing.assert_array_equal(told.found.boxes.centre_m, wanted.boxes.centre_m)
        np.testing.assert_array_equal(told.found.scores, wanted.scores)
        np.testing.assert_array_equal(heat[told.columns].max(axis=1) >= told.found.scores, True)


def test_heads_learn_what_cells_tell(frames: CellFrames) -> None:
    shown = easy(frames)
    heads = learned(shown, seed=1)
    heat = heads.heat(shown.features.reshape(-1, shown.features.shape[-1]))
    right = shown.targets.reshape(-1, shown.targets.shape[-1]) == 1
    for kind in np.flatnonzero(right.any(axis=0)):
        # A member that drew no clip with the class does not know it.
        assert heat.max(axis=0)[right[:, kind], kind].mean() > 0.5
        assert heat.mean(axis=0)[~right.any(axis=1), kind].mean() < 0.2


def test_members_differ_and_a_seed_repeats(frames: CellFrames) -> None:
    features = frames.features.reshape(-1, frames.features.shape[-1])
    first, again, other = (learned(frames, seed).heat(features) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std(axis=0).max() > 0.01


def test_nothing_to_learn_from_is_refused(frames: CellFrames) -> None:
    none = np.zeros(0, np.int64)
    with pytest.raises(InputError, match="no frame"):
        train_heads(frames, none, none, RECIPE, scale_of(frames.features), 0)
    empty = replace(frames, targets=np.zeros_like(frames.targets))
    with pytest.raises(InputError, match="no object"):
        learned(empty, 0)


def learned(frames: CellFrames, seed: int) -> CellHeads:
    rows = np.arange(len(frames))
    return train_heads(frames, rows, rows // 2, RECIPE, scale_of(frames.features), seed)


def easy(frames: CellFrames) -> CellFrames:
    """The same frames with features that tell their targets."""
    features = np.zeros_like(frames.features)
    features[..., : frames.targets.shape[-1]] = 4 * (frames.targets == 1)
    noise = np.random.default_rng(6).normal(0, 0.1, features.shape)
    return replace(frames, features=(features + noise).astype(np.float16))
