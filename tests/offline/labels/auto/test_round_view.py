"""Boxes all around a lidar, and parameters for classes that nobody has set any for."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import TAXONOMY
from contracts.samples import Float64s
from offline.labels.auto.clip import boxes_of
from offline.labels.auto.kinds import MODEL_CLASSES, log_odds, parameters_like
from offline.labels.auto.parameters import read_parameters
from offline.labels.auto.round_view import WIDTH_PX, RoundView
from offline.labels.kitti import CLASSES, OF_TAXONOMY, TrackedBoxes


def cars(*centres: tuple[float, float, float], yaw: float = 0.0) -> TrackedBoxes:
    n = len(centres)
    return boxes_of(
        "Car", np.zeros(n, dtype=np.int64), np.arange(n), np.array(centres),
        np.tile([4.0, 2.0, 1.5], (n, 1)), np.full(n, yaw), np.ones(n), RoundView(1e6),
    )[0]  # fmt: skip


def seen(view: RoundView, boxes: TrackedBoxes) -> Float64s:
    return view.box_px(boxes)


def test_ahead_is_the_middle_and_left_is_left() -> None:
    ahead, left, right = seen(RoundView(), cars((20, 0, 0), (0, 20, 0), (0, -20, 0)))
    assert (ahead[0] + ahead[2]) / 2 == pytest.approx(WIDTH_PX / 2)
    assert (left[0] + left[2]) / 2 == pytest.approx(WIDTH_PX / 4)
    assert (right[0] + right[2]) / 2 == pytest.approx(3 * WIDTH_PX / 4)
    # 2 m wide at its near end 18 m away, in tenths of a degree.
    assert ahead[2] - ahead[0] == pytest.approx(20 * np.degrees(np.arctan(1 / 18)), rel=1e-6)
    assert ahead[3] - ahead[1] == pytest.approx(20 * np.degrees(np.arctan(0.75 / np.hypot(18, 1))))


def test_a_box_across_the_seam_stays_in_one_piece() -> None:
    behind = seen(RoundView(), cars((-20, 0.5, 0)))[0]
    assert behind[2] - behind[0] < 200
    assert behind[0] < 0 or behind[2] > WIDTH_PX


def test_what_is_around_the_sensor_or_out_of_reach_is_not_shown() -> None:
    told = seen(RoundView(50.0), cars((0.5, 0.2, 0), (60, 0, 0), (49, 0, 0)))
    assert np.isnan(told).any(axis=1).tolist() == [True, True, False]
    higher = RoundView(50.0, (0.0, 0.0, 2.0))
    assert seen(higher, cars((20, 0, 0)))[0, 1] > seen(RoundView(), cars((20, 0, 0)))[0, 1]


def test_nothing_is_cut() -> None:
    view = RoundView()
    assert not view.cut(seen(view, cars((20, 0, 0), (-20, 0, 0)))).any()


def test_every_class_has_parameters_of_its_kind() -> None:
    assert set(MODEL_CLASSES) == set(CLASSES)
    assert set(OF_TAXONOMY) == set(TAXONOMY.names)
    told = parameters_like(OF_TAXONOMY.values())
    published = read_parameters()
    assert told["Bus"].motion == published["Car"].motion
    assert told["RoadWorker"].motion == published["Pedestrian"].motion
    assert told["Motorcycle"].association == published["Cyclist"].association
    assert told["Bus"].class_name == "Bus"
    with pytest.raises(InputError, match="'Tank' is none of"):
        parameters_like(["Tank"])


def test_probabilities_come_back_from_log_odds() -> None:
    probability = np.array([0.02, 0.5, 0.93])
    scale = parameters_like(["Car"])["Car"].scale
    np.testing.assert_allclose(scale.probability(log_odds(probability)), probability)
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
