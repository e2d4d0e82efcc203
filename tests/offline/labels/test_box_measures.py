"""AP by range, calibration, the whole report, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import InputError
from models.evaluation.matching import FrameResult
from models.evaluation.overlap import iou_3d, kitti_ap, paired_iou_3d
from models.evaluation.slices import in_range
from offline.labels.evaluation.detections import (
    AT_ALL,
    BoxMatches,
    calibration,
    localisation_error,
    match_boxes,
)
from offline.labels.evaluation.kitti_rules import ClassTable, class_table, space_scene
from offline.labels.evaluation.report import evaluate, flat
from offline.labels.kitti import label_text, read_labels
from tests.offline.labels.tracked import published_tracks, random_labels

SEEDS = st.integers(0, 2**32 - 1)


def crowd(seed: int) -> ClassTable:
    """Boxes that overlap in space as well, all found ones to be counted."""
    truth, found = random_labels(np.random.default_rng(seed), 6)
    near = np.array([0.3, 1.0, 1.0])
    truth = replace(truth, objects=replace(truth.objects, centre_m=truth.objects.centre_m * near))
    found = replace(found, objects=replace(found.objects, centre_m=found.objects.centre_m * near))
    table = class_table({"a": truth}, {"a": found}, "Car")
    return replace(table, excused=np.zeros(len(table.found), dtype=np.bool_))


def by_frame(table: ClassTable) -> list[FrameResult]:
    results = []
    for frame in range(6):
        found, truth = table.found.frame == frame, table.truth.frame == frame
        results.append(
            FrameResult(
                table.found.take(found).as_boxes(), table.found.score[found],
                table.truth.take(truth).as_boxes(), table.ignored[truth],
            )
        )  # fmt: skip
    return results


@settings(max_examples=30)
@given(SEEDS)
def test_ap_is_as_frame_by_frame(seed: int) -> None:
    table = crowd(seed)
    scene, results = space_scene(table), by_frame(table)
    for overlap in (0.25, 0.5, 0.7):
        assert match_boxes(table, scene, overlap).ap == pytest.approx(
            kitti_ap(results, 0, overlap), nan_ok=True
        )
        assert match_boxes(table, scene, overlap, (10.0, 25.0)).ap == pytest.approx(
            kitti_ap(in_range(results, 10.0, 25.0), 0, overlap), nan_ok=True
        )


@given(SEEDS)
def test_overlap_of_pairs_is_that_of_all(seed: int) -> None:
    boxes = crowd(seed).truth.as_boxes()
    every = iou_3d(boxes, boxes)
    assert every.diagonal() == pytest.approx(np.ones(len(boxes)))
    np.testing.assert_allclose(every, every.T, atol=1e-9)
    rows = np.random.default_rng(seed).permutation(len(boxes))
    np.testing.assert_allclose(
        paired_iou_3d(boxes, boxes.take(rows)), every[np.arange(len(boxes)), rows], atol=1e-12
    )


def test_localisation_error_by_hand() -> None:
    # Two bins: 0.61 and 0.63 against overlaps 0.8 and 0; 0.90 against 0.7.
    scores, overlap = np.array([0.61, 0.63, 0.90]), np.array([0.8, 0.0, 0.7])
    wanted = (abs(0.61 + 0.63 - 0.8) + abs(0.9 - 0.7)) / 3
    assert localisation_error(scores, overlap) == pytest.approx(wanted)
    matched = BoxMatches(scores, overlap, 3)
    found = calibration(matched, matched)
    assert found is not None
    assert found.laece == pytest.approx(wanted)
    assert found.laace == pytest.approx((0.19 + 0.63 + 0.2) / 3)
    # 15 bins: 0.61 and 0.63 share one, in which half are right.
    assert found.ece == pytest.approx((2 * abs(0.62 - 0.5) + abs(0.9 - 1)) / 3)
    assert np.isnan(localisation_error(scores[:0], overlap[:0]))


@given(SEEDS)
def test_scores_that_are_the_overlap_are_calibrated(seed: int) -> None:
    overlap = np.random.default_rng(seed).random(200)
    matched = BoxMatches(overlap, overlap, 200)
    found = calibration(matched, matched)
    assert found is not None
    assert (found.laece, found.laace) == pytest.approx((0, 0))


def test_raw_scores_have_no_calibration() -> None:
    matched = BoxMatches(np.array([8.5, 0.3]), np.array([0.8, 0.0]), 3)
    assert calibration(matched, matched) is None
    empty = BoxMatches(np.zeros(0), np.zeros(0), 3)
    assert calibration(empty, empty) is None


def test_boxes_need_scores() -> None:
    table = crowd(0)
    bare = replace(table, found=replace(table.found, score=table.found.score * np.nan))
    with pytest.raises(InputError, match="scores"):
        match_boxes(bare, space_scene(bare), AT_ALL)


def test_truth_found_as_it_is_is_right_everywhere(shared_data: Path) -> None:
    truth = read_labels(shared_data / "kitti_tracking/label_02/0011.txt")
    found = replace(truth, objects=replace(truth.objects, score=np.ones(len(truth.objects))))
    reports = evaluate({"0011": truth}, {"0011": found})
    assert [report.class_name for report in reports] == ["car", "pedestrian"]
    for report in reports:
        told = flat(report)
        for name in ("hota", "deta", "assa", "loca", "idf1", "mota_070", "ap_070", "ap_070_0_20"):
            assert told[name] == 1, name
        assert (told["ece"], told["laece"], told["laace"]) == (0, 0, 0)
        assert (told["ids_025"], told["frag_025"], told["mostly_lost_025"]) == (0, 0, 0)


def test_published_detections_score_sensibly(shared_data: Path) -> None:
    """Close to what the same detections gave the authors: about 87 MOTA at 0.25 on others."""
    root = shared_data / "kitti_tracking"
    names = ("0004", "0007")
    truth = {name: read_labels(root / f"label_02/{name}.txt") for name in names}
    reports = evaluate(truth, {name: published_tracks(root, name) for name in names})
    car = flat(reports[0])
    assert (car["class"], car["ece"]) == ("car", None)
    bounds = {
        "hota": (0.6, 0.85), "mota_025": (0.7, 0.95), "samota_025": (0.75, 0.98),
        "ap_070_0_20": (0.85, 1), "ap_070_40_80": (0.1, 0.6),
    }  # fmt: skip
    for name, (low, high) in bounds.items():
        value = car[name]
        assert isinstance(value, float)
        assert low < value < high, name
    assert reports[0].space["0.25"].mota > reports[0].space["0.7"].mota  # type: ignore[operator]


def test_nothing_found_is_a_miss_of_everything() -> None:
    truth, _ = random_labels(np.random.default_rng(0))
    nothing = replace(truth, objects=truth.objects.take(truth.objects.frame < 0))
    for report in evaluate({"a": truth}, {"a": nothing}):
        told = flat(report)
        for name in ("hota", "idf1", "mota", "mota_025", "samota_025", "ap_025"):
            assert told[name] == 0, name
        assert (told["mostly_lost"], told["ece"], told["tracks"]) == (1, None, 0)


def folders(tmp_path: Path) -> tuple[str, str]:
    for folder in ("gt", "pred"):
        (tmp_path / folder).mkdir()
    for name in ("0000", "0001"):
        truth, found = random_labels(np.random.default_rng(int(name)))
        (tmp_path / f"gt/{name}.txt").write_text(label_text(truth))
        (tmp_path / f"pred/{name}.txt").write_text(label_text(found))
    return str(tmp_path / "gt"), str(tmp_path / "pred")


def test_the_command_tells_one_object_a_class(tmp_path: Path) -> None:
    gt, pred = folders(tmp_path)
    done = CliRunner().invoke(app, ["eval", "--gt", gt, "--pred", pred, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {one["class"] for one in told} <= {"car", "pedestrian", "cyclist"}
    wanted = {
        "hota", "deta", "assa", "loca", "mota_025", "samota_025", "frag_025", "ids_025",
        "mota_070", "samota_070", "ap_050", "ap_070_40_80", "ece", "laece_0_20", "truths",
    }  # fmt: skip
    assert wanted <= told[0].keys()
    assert told[0]["sequences"] == 2
    assert told[0]["ece"] is not None
    words = CliRunner().invoke(app, ["eval", "--gt", gt, "--pred", pred, "--sequence", "0000"])
    assert words.exit_code == 0, words.output
    assert "HOTA" in words.stdout
    assert "sAMOTA" in words.stdout


def test_the_command_refuses_what_is_not_there(tmp_path: Path) -> None:
    gt, pred = folders(tmp_path)
    (Path(pred) / "0001.txt").unlink()
    done = CliRunner().invoke(app, ["eval", "--gt", gt, "--pred", pred])
    assert isinstance(done.exception, InputError)
    assert "0001.txt" in str(done.exception)
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["eval", "--gt", str(tmp_path / "empty"), "--pred", pred])
    assert "no .txt file" in str(done.exception)
