"""Detection scores against cases done by hand and plain oracles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Boxes
from models.evaluation.detection import (
    average_precision,
    class_score,
    detection_score,
    match_errors,
)
from models.evaluation.matching import FrameResult, Matched, match_class
from models.evaluation.overlap import footprint_overlap_m2, iou_3d, kitti_ap
from models.evaluation.report import DetectionReport, detection_report
from models.evaluation.slices import by_tags, in_range, of_truth, tag_values


def cars(places: list[tuple[float, float]], kind: int = 0) -> Boxes:
    n = len(places)
    return Boxes(
        np.array([(x, y, 0.8) for x, y in places]).reshape(-1, 3),
        np.tile([4.0, 2.0, 1.6], (n, 1)), np.zeros(n), np.zeros((n, 2)),
        np.full(n, kind, dtype=np.int64), np.full(n, -1, dtype=np.int64),
    )  # fmt: skip


def frame(found: Boxes, scores: list[float], truth: Boxes, ignored: tuple[int, ...] = ()
          ) -> FrameResult:  # fmt: skip
    mask = np.isin(np.arange(len(truth)), ignored)
    return FrameResult(found, np.array(scores, dtype=np.float64), truth, mask)


def matched(scores: list[float], right: list[bool], truths: int) -> Matched:
    n = np.arange(len(right))
    return Matched(np.array(scores), np.array(right, dtype=np.bool_), n * 0, n, n, truths)


def random_results(rng: np.random.Generator, frames: int = 4) -> list[FrameResult]:
    made = []
    for _ in range(frames):
        truth = cars([tuple(p) for p in rng.uniform(-10, 10, (int(rng.integers(0, 6)), 2))])
        near = truth.centre_m[:, :2] + rng.normal(0, 1.2, (len(truth), 2))
        extra = rng.uniform(-10, 10, (int(rng.integers(0, 4)), 2))
        found = cars([tuple(p) for p in np.concatenate([near, extra])])
        found = replace(found, class_index=rng.integers(0, 2, len(found)))
        truth = replace(truth, class_index=rng.integers(0, 2, len(truth)))
        ignored = tuple(np.flatnonzero(rng.random(len(truth)) < 0.2))
        made.append(
            frame(found, rng.permutation(len(found)).astype(float).tolist(), truth, ignored)
        )
    return made


def plain_match(results: list[FrameResult], kind: int, reach: float) -> list[tuple[float, bool]]:
    """The rule of the module's head, as a list of steps."""
    todo = sorted(
        ((-r.scores[k], f, k) for f, r in enumerate(results)
         for k in range(len(r.found)) if r.found.class_index[k] == kind)
    )  # fmt: skip
    taken: set[tuple[int, int]] = set()
    out = []
    for score, f, k in todo:
        r = results[f]
        gaps = [float(np.hypot(*(r.truth.centre_m[t] - r.found.centre_m[k])[:2]))
                for t in range(len(r.truth))]  # fmt: skip
        able = [
            t for t, gap in enumerate(gaps)
            if gap < reach and not r.ignored[t] and r.truth.class_index[t] == kind
            and (f, t) not in taken
        ]  # fmt: skip
        if able:
            taken.add((f, min(able, key=lambda t, gaps=gaps: gaps[t])))  # type: ignore[misc]
            out.append((-score, True))
        elif not any(r.ignored[t] and gaps[t] < reach for t in range(len(r.truth))):
            out.append((-score, False))
    return out


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.sampled_from([0.5, 2.0, 4.0]))
def test_matching_is_the_rule_step_by_step(seed: int, reach: float) -> None:
    results = random_results(np.random.default_rng(seed))
    for kind in (0, 1):
        found = match_class(results, kind, reach)
        expected = plain_match(results, kind, reach)
        assert sorted(zip(found.scores.tolist(), found.right.tolist(), strict=True)) == sorted(
            expected
        )
        count = sum(((r.truth.class_index == kind) & ~r.ignored).sum() for r in results)
        assert found.truths == count
        for f, k, t in zip(found.frame, found.row, found.truth_row, strict=True):
            if t >= 0:
                gap = results[f].truth.centre_m[t, :2] - results[f].found.centre_m[k, :2]
                assert np.hypot(*gap) < reach


def test_a_better_detection_takes_the_truth_first() -> None:
    truth = cars([(10, 0), (12, 0)])
    found = cars([(11.2, 0), (11.1, 0), (30, 0)])
    result = match_class([frame(found, [0.5, 0.9, 0.1], truth)], 0, 2.0)
    assert result.right.tolist() == [True, True, False]
    assert result.truth_row.tolist() == [1, 0, -1]
    late = match_class([frame(found, [0.9, 0.5, 0.1], cars([(12, 0)]))], 0, 2.0)
    assert late.right.tolist() == [True, False, False]


def test_an_ignored_box_excuses_and_never_counts() -> None:
    truth = cars([(10, 0), (20, 0)])
    result = match_class([frame(cars([(20.5, 0), (20.4, 0)]), [0.9, 0.8], truth, (1,))], 0, 2.0)
    assert result.scores.size == 0 and result.truths == 1
    other = match_class([frame(cars([(20.5, 0)], kind=1), [0.9], truth, (1,))], 1, 2.0)
    assert other.scores.size == 0 and other.truths == 0


@pytest.mark.parametrize(
    ("right", "truths", "expected"),
    [
        ([True] * 4, 4, 1.0),
        ([], 4, 0.0),
        ([False, False], 4, 0.0),
        # Half of all found, always right: levels 0.11 .. 0.50 of 0.11 .. 1.
        ([True] * 5, 10, 40 / 90),
        # One of ten found: recall 0.1 is not beyond 0.1.
        ([True], 10, 0.0),
    ],
)
def test_average_precision_by_hand(right: list[bool], truths: int, expected: float) -> None:
    scores = np.linspace(0.9, 0.5, len(right)).tolist()
    assert average_precision(matched(scores, right, truths)) == pytest.approx(expected)


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 12))
def test_average_precision_is_nuscenes_s(right: list[bool], missed: int) -> None:
    """`calc_ap` and `accumulate` of nuscenes-devkit, written out."""
    truths = sum(right) + missed
    if not truths:
        return
    tp = np.cumsum(right).astype(float)
    fp = np.cumsum(~np.array(right)).astype(float)
    expected = 0.0
    if any(right):
        precision = np.interp(np.linspace(0, 1, 101), tp / truths, tp / (tp + fp), right=0)
        cut = np.clip(precision[round(100 * 0.1) + 1 :] - 0.1, 0, None)
        expected = float(np.mean(cut)) / (1.0 - 0.1)
    scores = np.linspace(1, 0.1, len(right)).tolist()
    assert average_precision(matched(scores, right, truths)) == pytest.approx(expected)


def test_errors_of_a_match_by_hand() -> None:
    truth = replace(cars([(10, 0)]), velocity_mps=np.array([[3.0, 4.0]]))
    found = replace(
        cars([(10.3, 0.4)]), size_m=np.array([[4.0, 2.0, 0.8]]), yaw_rad=np.array([np.pi - 0.1]),
    )  # fmt: skip
    truth = replace(truth, yaw_rad=np.array([-np.pi + 0.1]))
    results = [frame(found, [0.9], truth)]
    one = match_errors(results, match_class(results, 0, 2.0))
    np.testing.assert_allclose(one, [[0.5, 0.5, 0.2, 5.0]])
    score = class_score(results, 0, "car")
    assert score.errors == pytest.approx(
        {"translation_m": 0.5, "scale": 0.5, "orientation_rad": 0.2, "velocity_mps": 5.0}
    )
    # Half a metre off is not nearer than half a metre.
    assert score.ap == {0.5: 0.0, 1.0: 1.0, 2.0: 1.0, 4.0: 1.0} and score.best_recall == 1.0


def test_the_score_joins_precision_and_errors() -> None:
    truth = cars([(10, 0), (20, 5), (-10, 3)])
    perfect = detection_score([frame(truth, [0.9, 0.8, 0.7], truth)])
    assert perfect.score == pytest.approx(1.0) and perfect.mean_ap == pytest.approx(1.0)
    blind = detection_score([frame(cars([]), [], truth)])
    assert blind.score == 0.0 and blind.errors["scale"] == 1.0
    shifted = replace(truth, centre_m=truth.centre_m + np.array([1.5, 0.0, 0.0]))
    half = detection_score([frame(shifted, [0.9, 0.8, 0.7], truth)])
    assert half.mean_ap == pytest.approx(0.5)
    assert half.errors["translation_m"] == pytest.approx(1.5)
    assert half.score == pytest.approx((5 * 0.5 + 0 + 1 + 1 + 1) / 9)
    assert [one.truths for one in half.classes] == [3] + [0] * 8
    nothing = detection_score([frame(cars([]), [], cars([]))])
    assert np.isnan(nothing.mean_ap) and np.isnan(nothing.classes[0].ap[2.0])


def test_unknown_velocities_are_no_error() -> None:
    truth = replace(cars([(10, 0), (20, 0)]), velocity_mps=np.array([[np.nan, np.nan], [1.0, 0]]))
    score = class_score([frame(cars([(10, 0), (20, 0)]), [0.9, 0.8], truth)], 0, "car")
    # One of two matches has a velocity error, of 1 m/s: the other one has no part in it.
    assert score.errors["velocity_mps"] == pytest.approx(1.0) and score.errors["translation_m"] == 0
    none = replace(truth, velocity_mps=np.full((2, 2), np.nan))
    blind = detection_score([frame(cars([(10, 0), (20, 0)]), [0.9, 0.8], none)])
    assert np.isnan(blind.errors["velocity_mps"]) and blind.score == pytest.approx(8 / 9)


@settings(max_examples=80)
@given(st.integers(0, 2**31))
def test_overlap_is_that_of_shapely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 4
    boxes = Boxes(
        rng.uniform(-3, 3, (n, 3)), rng.uniform(0.3, 5, (n, 3)), rng.uniform(-4, 4, n),
        np.zeros((n, 2)), np.zeros(n, np.int64), np.zeros(n, np.int64),
    )  # fmt: skip
    iou, corners = iou_3d(boxes, boxes), boxes.corners_m()
    for i in range(n):
        assert iou[i, i] == pytest.approx(1.0)
        for j in range(n):
            area = Polygon(corners[i]).intersection(Polygon(corners[j])).area
            assert footprint_overlap_m2(corners[i], corners[j]) == pytest.approx(area, abs=1e-9)
            gap = abs(boxes.centre_m[i, 2] - boxes.centre_m[j, 2])
            tall = boxes.size_m[[i, j], 2]
            high = max(0.0, min(tall.sum() / 2 - gap, tall.min()))
            union = boxes.size_m[[i, j]].prod(axis=1).sum() - area * high
            assert iou[i, j] == pytest.approx(area * high / union, abs=1e-9)


def test_boxes_that_only_touch_do_not_overlap() -> None:
    a, b = cars([(0, 0)]), cars([(4, 0)])
    assert iou_3d(a, b)[0, 0] == pytest.approx(0.0, abs=1e-12)
    turned = replace(a, yaw_rad=np.array([np.pi]))
    assert iou_3d(a, turned)[0, 0] == pytest.approx(1.0)


def test_kitti_s_precision_by_hand() -> None:
    truth = cars([(0, 0), (10, 0), (20, 0), (30, 0)])
    found = cars([(0, 0), (50, 0), (10, 0), (20.2, 0)])
    # Right, wrong, right, right: precision 1, 2/3, 3/4; made to fall: 1, 3/4, 3/4 to recall 3/4.
    ap = kitti_ap([frame(found, [0.9, 0.8, 0.7, 0.6], truth)], 0, 0.7)
    assert ap == pytest.approx((10 * 1 + 20 * 0.75) / 40)
    assert kitti_ap([frame(truth, [0.9, 0.8, 0.7, 0.6], truth)], 0, 0.7) == pytest.approx(1.0)
    assert kitti_ap([frame(cars([]), [], truth)], 0, 0.7) == 0.0
    assert np.isnan(kitti_ap([frame(found, [0.9, 0.8, 0.7, 0.6], cars([]))], 0, 0.7))
    excused = frame(cars([(30, 0)]), [0.9], cars([(30, 0)]), (0,))
    assert kitti_ap([excused, frame(truth, [0.8] * 4, truth)], 0, 0.7) == 1.0


def test_slices_judge_only_what_is_in_them() -> None:
    truth = cars([(10, 0), (35, 0)])
    found = cars([(10, 0), (21, 0), (35, 0)])
    results = [frame(found, [0.9, 0.8, 0.7], truth)]
    near, far = in_range(results, 0, 20), in_range(results, 20, 40)
    assert len(near[0].found) == 1 and near[0].ignored.tolist() == [False, True]
    assert class_score(near, 0, "car").mean_ap == 1.0
    assert class_score(far, 0, "car").truths == 1
    assert match_class(far, 0, 2.0).right.tolist() == [False, True]
    kept = of_truth(results, [np.array([True, False])])
    # The far car is hidden from this slice: finding it is neither right nor wrong.
    assert match_class(kept, 0, 2.0).right.tolist() == [True, False]
    tags = [{"tod": "night"}, {"tod": "day", "weather": "rain"}, {}]
    assert by_tags(results * 3, tags, lambda tag: tag.get("tod") == "night") == results
    assert tag_values(tags, "tod") == ("day", "night")
    with pytest.raises(InputError, match="no range"):
        in_range(results, 20, 20)


def test_results_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="a score for each"):
        frame(cars([(0, 0)]), [], cars([]))
    with pytest.raises(InputError, match="not finite"):
        frame(cars([(0, 0)]), [float("nan")], cars([]))
    with pytest.raises(InputError, match="frames differ"):
        frame(replace(cars([(0, 0)]), frame="world"), [0.5], cars([]))
    assert len(detection_score([]).classes) == len(TAXONOMY.classes)


def test_the_report_tells_each_slice_and_no_figure_that_is_none() -> None:
    near, far = cars([(10, 0)]), cars([(35, 0)], kind=3)
    results = [frame(near, [0.75], near), frame(cars([]), [], far)]
    report = detection_report(results, [{"tod": "day"}, {"tod": "night"}], ["tod"])
    assert set(report.slices) == {
        "range=0-20", "range=20-40", "range=40-80", "tod=day", "tod=night", "rare",
    }  # fmt: skip
    assert report.overall.mean_ap == 0.5 and report.overall.classes["car"].ap["2"] == 1.0
    assert report.overall.classes["car"].calibration_error == 0.25
    assert report.overall.classes["bus"].mean_ap is None
    assert report.slices["tod=day"].mean_ap == 1.0 == report.slices["range=0-20"].mean_ap
    assert report.slices["tod=night"].mean_ap == 0.0 and report.slices["tod=night"].frames == 1
    assert report.slices["range=40-80"].mean_ap is None
    assert DetectionReport.model_validate_json(report.model_dump_json()) == report
