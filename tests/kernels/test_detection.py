"""Detector output against plain NumPy references, and invariants of suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from kernels.detection import presence, suppress
from kernels.input_tensor import Fit
from kernels.yolox import decode_yolox, entropies, grid_of


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    wide = float(min(a[2], b[2]) - max(a[0], b[0]))
    high = float(min(a[3], b[3]) - max(a[1], b[1]))
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@st.composite
def box_sets(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Boxes on a coarse lattice, so that overlaps and ties are common."""
    n = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = rng.integers(0, 12, (n, 2)).astype(np.float32)
    size = rng.integers(1, 8, (n, 2)).astype(np.float32)
    scores = (rng.integers(1, 10, n) / 10).astype(np.float32)
    return np.concatenate([low, low + size], axis=1), scores, rng.integers(0, 3, n)


def greedy(boxes: Any, scores: Any, classes: Any, limit: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(classes[i] != classes[k] or iou(boxes[i], boxes[k]) <= limit for k in kept):
            kept.append(i)
    return kept


@given(box_sets(), st.sampled_from([0.31, 0.47, 0.63]))
def test_suppression_equals_the_plain_greedy_one(sets: Any, limit: float) -> None:
    boxes, scores, classes = sets
    assert suppress(boxes, scores, classes, limit, 1000).tolist() == greedy(*sets, limit)


@given(box_sets(), st.integers(1, 5))
def test_suppression_invariants(sets: Any, most: int) -> None:
    boxes, scores, classes = sets
    kept = suppress(boxes, scores, classes, 0.47, 1000)
    assert (np.diff(scores[kept]) <= 0).all()
    again = suppress(boxes[kept], scores[kept], classes[kept], 0.47, 1000)
    assert again.tolist() == list(range(kept.size))  # what survived once survives again
    for i in set(range(scores.size)) - set(kept.tolist()):
        assert any(
            classes[i] == classes[k] and scores[k] >= scores[i] and iou(boxes[i], boxes[k]) > 0.46
            for k in kept
        )
    assert suppress(boxes, scores, classes, 0.47, most).tolist() == kept[:most].tolist()


def raw_output(seed: int, cells: int, classes: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    raw = rng.random((1, cells, 5 + classes), dtype=np.float32)
    raw[..., :4] = rng.normal(0, 1, (1, cells, 4))
    return raw


@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from([0.2, 0.5, 0.7]))
def test_decoding_equals_the_reference(seed: int, classes: int, threshold: float) -> None:
    grid = grid_of(32, 64, (8, 16))
    raw = raw_output(seed, grid.shape[0], classes)
    fit, size = Fit(32, 48, 0.25, 0.3), (128, 160)
    found = decode_yolox(raw, grid, fit, size, threshold=threshold, iou=0.45, most=50)
    rows = raw[0].astype(np.float64)
    centre = (rows[:, :2] + grid[:, :2]) * grid[:, 2:]
    half = np.exp(rows[:, 2:4]) * grid[:, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) / (0.25, 0.3, 0.25, 0.3)
    boxes = np.clip(boxes, 0, (128, 160, 128, 160)).astype(np.float32)
    each = raw[0, :, 4:5] * raw[0, :, 5:]
    scores = each.max(axis=1)
    good = (scores > threshold) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    rows_kept = np.flatnonzero(good)
    kept = rows_kept[greedy(boxes[good], scores[good], each[good].argmax(axis=1), 0.45)][:50]
    np.testing.assert_allclose(found.boxes_px, boxes[kept], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(found.scores, scores[kept])
    np.testing.assert_array_equal(found.classes, each[kept].argmax(axis=1))
    total = np.maximum(each[kept].sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(found.distributions, each[kept] / total, rtol=1e-5)
    assert (found.distributions.sum(axis=1) <= 1 + 1e-5).all()


def test_grid_runs_row_by_row_over_the_strides() -> None:
    grid = grid_of(32, 16, (8, 16))
    assert grid.tolist()[:5] == [[0, 0, 8], [1, 0, 8], [2, 0, 8], [3, 0, 8], [0, 1, 8]]
    assert grid.tolist()[8:] == [[0, 0, 16], [1, 0, 16]]
    with pytest.raises(InputError, match="stride 32"):
        grid_of(48, 48, (32,))


def test_wrong_and_broken_outputs_are_refused() -> None:
    grid = grid_of(32, 32, (8,))
    fit, size = Fit(32, 32, 1.0, 1.0), (32, 32)
    raw = raw_output(0, 16, 2)
    with pytest.raises(InputError, match=r"expected \[1, 16, 5 \+ classes\], found \[1, 15, 7\]"):
        decode_yolox(raw[:, 1:], grid, fit, size, threshold=0.5, iou=0.5, most=5)
    for bad in (np.nan, np.inf):
        raw = raw_output(0, 16, 2)
        raw[0, 9, 6] = bad
        with pytest.raises(CorruptError, match="row 9"):
            decode_yolox(raw, grid, fit, size, threshold=0.5, iou=0.5, most=5)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 0.25, width=32)))
def test_entropy_lies_between_certain_and_uniform(distributions: NDArray[np.float32]) -> None:
    result = entropies(distributions)
    assert ((result >= 0) & (result <= 1)).all()
    certain = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(entropies(certain), 0, atol=1e-6)
    np.testing.assert_allclose(entropies(np.full((1, 4), 0.2, np.float32)), 1, atol=1e-6)


def test_what_is_hard_to_name_is_there_all_the_same() -> None:
    probabilities = np.array([0.3, 0.3, 0.6, 0.2, 0.0])
    distributions = np.array(
        [[0.5, 0.0], [0.6, 0.4], [0.5, 0.5], [0.0, 0.0], [0.9, 0.1]], np.float32
    )
    there = presence(probabilities, distributions, np.zeros(5, np.int64))
    np.testing.assert_allclose(there, [0.3, 0.5, 1.0, 0.2, 0.0], rtol=1e-6)
    assert presence(np.zeros(0), np.zeros((0, 2)), np.zeros(0, np.int64)).shape == (0,)
