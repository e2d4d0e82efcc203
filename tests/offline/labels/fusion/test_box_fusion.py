"""Weighted box fusion: exact on scenes whose answer is plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Boxes, no_boxes
from offline.labels.fusion.boxes import fused_boxes, fused_frames
from offline.labels.fusion.table import Detections

CAR, TRUCK, PEDESTRIAN = (TAXONOMY.index(name) for name in ("car", "truck", "pedestrian"))


def told(rows: list[tuple[float, float, float, float, int, int]]) -> Detections:
    """Rows of x, y, yaw, score, class and source; cars' sizes for all but people."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    kind, n = table[:, 4].astype(np.int64), len(rows)
    person = (kind == PEDESTRIAN)[:, None]
    size = np.where(person, (0.5, 0.5, 1.7), (4.4, 1.8, 1.5))
    boxes = Boxes(
        np.column_stack([table[:, :2], size[:, 2] / 2]), size, table[:, 2], np.zeros((n, 2)),
        kind, np.full(n, -1),
    )  # fmt: skip
    distributions = np.zeros((n, len(TAXONOMY.classes)), dtype=np.float32)
    distributions[np.arange(n), kind] = table[:, 3]
    return Detections(boxes, table[:, 3], distributions, table[:, 5].astype(np.int64))


def test_sources_that_agree_give_their_box_and_absent_ones_count_as_nothing() -> None:
    fused = fused_boxes(told([(10, 2, 0.3, 0.8, CAR, k) for k in range(3)]), 4, TAXONOMY)
    assert len(fused) == 1
    np.testing.assert_allclose(fused.found.boxes.centre_m, [[10, 2, 0.75]])
    np.testing.assert_allclose(fused.found.boxes.size_m, [[4.4, 1.8, 1.5]])
    np.testing.assert_allclose(fused.found.boxes.yaw_rad, 0.3)
    np.testing.assert_allclose(fused.found.scores, 0.6)
    np.testing.assert_allclose(fused.share, 0.75)
    np.testing.assert_allclose([fused.place_m, fused.size, fused.turn_rad], 0, atol=1e-7)


def test_the_mean_is_by_score_and_the_spread_tells_how_far_apart_they_are() -> None:
    fused = fused_boxes(
        told([(10, 0, 0, 0.9, CAR, 0), (11, 0, 0, 0.3, CAR, 1)]), 2, TAXONOMY
    )  # fmt: skip
    np.testing.assert_allclose(fused.found.boxes.centre_m[0, 0], 10.25)
    np.testing.assert_allclose(fused.place_m, np.sqrt(0.75 * 0.25**2 + 0.25 * 0.75**2))


@pytest.mark.parametrize(
    ("yaws", "expected"),
    [((np.pi - 0.1, -np.pi + 0.1), np.pi), ((0.2, 0.2 + np.pi, 0.2), 0.2), ((-0.1, 0.1), 0.0)],
)
def test_headings_meet_across_the_seam_and_the_most_tell_the_front(
    yaws: tuple[float, ...], expected: float
) -> None:
    rows = [(5.0, 0.0, yaw, 0.5, CAR, k) for k, yaw in enumerate(yaws)]
    fused = fused_boxes(told(rows), len(rows), TAXONOMY)
    assert len(fused) == 1
    assert abs(np.sin((fused.found.boxes.yaw_rad[0] - expected) / 2)) < 1e-6


def test_neighbours_other_groups_and_one_sources_two_boxes_stay_apart() -> None:
    rows = [
        (10, 0, 0, 0.9, CAR, 0), (10, 2.2, 0, 0.8, CAR, 1), (10, 0, 0, 0.7, PEDESTRIAN, 1),
        (10, 0.1, 0, 0.6, CAR, 0),
    ]  # fmt: skip
    fused = fused_boxes(told(rows), 2, TAXONOMY)
    assert len(fused) == 4
    assert (np.diff(fused.found.scores) <= 0).all()


def test_a_thing_is_called_what_most_of_its_weight_calls_it() -> None:
    rows = [(10, 0, 0, 0.9, CAR, 0), (10, 0, 0, 0.5, TRUCK, 1), (10, 0, 0, 0.5, TRUCK, 2)]
    fused = fused_boxes(told(rows), 3, TAXONOMY)
    assert fused.found.boxes.class_index.tolist() == [TRUCK]
    np.testing.assert_allclose(fused.found.distributions[0, [CAR, TRUCK]], [0.3, 1 / 3], rtol=1e-6)


def test_frames_are_fused_one_by_one_and_empty_ones_stay_empty() -> None:
    rows = told([(10, 0, 0, 0.9, CAR, 0), (10, 0, 0, 0.5, CAR, 1), (10, 0, 0, 0.4, CAR, 0)])
    frames = replace(rows, group=np.array([0, 0, 2]))
    fused = fused_frames(frames, np.array([0, 1, 0]), 2, 3, TAXONOMY)
    assert fused.found.group.tolist() == [0, 2]
    np.testing.assert_allclose(fused.found.scores, [0.7, 0.2])
    nothing = Detections(
        no_boxes(), np.zeros(0), np.zeros((0, len(TAXONOMY.classes)), np.float32),
        np.zeros(0, np.int64),
    )  # fmt: skip
    assert len(fused_boxes(nothing, 3, TAXONOMY)) == 0


def test_a_source_beyond_their_number_is_refused() -> None:
    with pytest.raises(InputError, match="source 2 of 2"):
        fused_boxes(told([(0, 0, 0, 0.5, CAR, 2)]), 2, TAXONOMY)
