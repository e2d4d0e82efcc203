"""The artifact: what fitting never sees, what is refused, and what the shipped one tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import InputError
from models.evaluation.probability import reliability
from offline.labels.auto.clip import FEATURES
from offline.labels.auto.parameters import parameters_digest, read_parameters
from offline.labels.calibration.boosting import Growth
from offline.labels.calibration.calibrator import (
    PUBLISHED,
    Calibrator,
    calibrator_text,
    published,
    read_calibrator,
)
from offline.labels.calibration.figures import class_figures
from offline.labels.calibration.fitting import Folds, Plan
from offline.labels.calibration.inputs import CLASS_NAMES, INPUTS, inputs_of
from offline.labels.calibration.samples import Samples, judged
from offline.labels.kitti import LabelFile
from tests.offline.labels.calibration.judged import judged_boxes

PLAN = Plan(growth=Growth(trees=25, depth=2, least_rows=20), precision=0.9)
DIGEST = "0" * 64


@pytest.fixture(scope="module")
def fitted() -> tuple[Samples, Folds, Calibrator]:
    samples, _ = judged_boxes(0)
    folds = Folds(samples, PLAN)
    return samples, folds, folds.calibrator(DIGEST)


def test_confidence_is_near_the_truth(fitted: tuple[Samples, Folds, Calibrator]) -> None:
    samples, folds, calibrator = fitted
    fresh, probability = judged_boxes(99)
    told = calibrator.link.confidence(calibrator.trees.margin(fresh.inputs))
    assert np.abs(told - probability).mean() < 0.07
    assert reliability(folds.held_out(), samples.right).error < 0.05
    away = np.abs(told - probability).mean(), np.abs(fresh.raw - probability).mean()
    assert away[0] < 0.6 * away[1]


def test_what_is_told_of_a_sequence_was_not_learnt_from_it() -> None:
    samples, _ = judged_boxes(1, sequences=3, tracks=20)
    folds = Folds(samples, PLAN)
    inside = samples.sequence == 1
    turned = replace(samples, right=np.where(inside, ~samples.right, samples.right))
    other = Folds(turned, PLAN).held_out()
    np.testing.assert_array_equal(folds.held_out()[inside], other[inside])
    assert (folds.held_out()[~inside] != other[~inside]).any()
    with pytest.raises(InputError, match="at least 3"):
        Folds(judged_boxes(1, sequences=2)[0], PLAN)


def test_groups_without_enough_tracks_fall_back_or_accept_nothing(
    fitted: tuple[Samples, Folds, Calibrator],
) -> None:
    _, _, calibrator = fitted
    assert {group.class_name for group in calibrator.acceptance} == set(CLASS_NAMES)
    few, _ = judged_boxes(2, sequences=3, tracks=6)
    for group in Folds(few, PLAN).calibrator(DIGEST).acceptance:
        assert (group.vouched_by, group.accept_from) == ("none", None)
    by_class = [group for group in calibrator.acceptance if group.vouched_by == "class"]
    for group in by_class:
        same = [g for g in by_class if g.class_name == group.class_name]
        assert {g.accept_from for g in same} == {group.accept_from}
    assert calibrator.group("Car", 25.0).low_m == 20
    assert calibrator.group("Car", 500.0).high_m is None
    with pytest.raises(InputError, match="no group"):
        calibrator.group("Tram", 5.0)


def test_figures_add_up(fitted: tuple[Samples, Folds, Calibrator]) -> None:
    samples, folds, _ = fitted
    figures = class_figures(samples, folds.held_out(), PLAN)
    assert [one.class_name for one in figures] == ["car", "pedestrian", "cyclist"]
    for one in figures:
        assert one.ece.low is not None
        assert one.ece.value is not None
        assert one.ece.value < 0.12
        assert one.accepted.value is not None
        assert one.raw_accepted.value is not None
        assert one.gained.value == pytest.approx(
            one.accepted.value - one.raw_accepted.value, abs=2e-4
        )
        assert one.accepted.value > one.raw_accepted.value


@pytest.mark.parametrize("link", ["platt", "isotonic"])
def test_the_file_is_read_as_written(link: str, tmp_path: Path) -> None:
    samples, _ = judged_boxes(3, sequences=3, tracks=20)
    plan = replace(PLAN, link=link, growth=Growth(trees=3))  # type: ignore[arg-type]
    calibrator = Folds(samples, plan).calibrator(DIGEST)
    path = tmp_path / "calibrator.json"
    path.write_text(calibrator_text(calibrator))
    assert read_calibrator(path) == calibrator
    assert Folds(samples, plan).calibrator(DIGEST) == calibrator
    assert calibrator.origin.samples_digest == samples.digest()
    other = replace(samples, right=~samples.right)
    assert other.digest() != samples.digest()


def test_what_is_not_its_own_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibrator.json"
    for change, message in (
        ({"schema_version": 2}, "schema_version"),
        ({"inputs": ["hits"]}, "inputs are"),
        ({"classes": ["Car"]}, "classes are"),
        ({"digest": DIGEST}, "digest is of something else"),
        ({"acceptance": []}, "ranges of Car"),
        ({"more": 1}, "more"),
    ):
        path.write_text(json.dumps({**json.loads(PUBLISHED.read_text()), **change}))
        with pytest.raises(InputError, match=rf"calibrator\.json.*|{message}") as error:
            read_calibrator(path)
        assert message in f"{error.value} {error.value.message}"
    path.write_text(PUBLISHED.read_text().replace('"slope":', '"slope":1', 1))
    with pytest.raises(InputError, match="digest"):
        read_calibrator(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_calibrator(tmp_path / "none.json")


def test_the_shipped_one_is_of_the_shipped_parameters() -> None:
    calibrator = published()
    assert calibrator.origin.parameters_digest == parameters_digest(read_parameters())
    assert calibrator.inputs == tuple(INPUTS)
    features = np.zeros((2, len(FEATURES)))
    for name, value in (
        ("hits", 60), ("length", 60), ("mean_probability", 0.99), ("best_probability", 1.0),
        ("near_probability", 0.99), ("own_probability", 0.99), ("range_m", 15),
    ):  # fmt: skip
        features[0, FEATURES.index(name)] = value
    features[1, FEATURES.index("hits")] = features[1, FEATURES.index("length")] = 1
    features[1, FEATURES.index("range_m")] = 50
    for name in CLASS_NAMES:
        sure, doubtful = calibrator.confidence(features, name).tolist()
        assert sure > 0.8 > 0.3 > doubtful
    with pytest.raises(InputError, match="Tram"):
        inputs_of(features, "Tram")


def test_boxes_are_judged_as_the_benchmark_counts() -> None:
    from tests.offline.labels.tracked import random_labels

    truth, _ = random_labels(np.random.default_rng(0))
    right, counts, truths = judged(truth, truth.objects.of_classes(("Car",)), "Car")
    assert truths == int((right & counts).sum())
    away = replace(truth.objects, centre_m=truth.objects.centre_m + 500.0)
    far = LabelFile(away.of_classes(("Car",)), truth.region_frame, truth.region_px)
    assert not judged(truth, far.objects, "Car")[0].any()
