"""KITTI's rules against TrackEval's reading of the same files, and AB3DMOT's by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trackeval.datasets
import trackeval.metrics
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from offline.labels.evaluation.amota import LEVELS, amota, levels
from offline.labels.evaluation.clear import clear
from offline.labels.evaluation.hota import hota
from offline.labels.evaluation.identity import identity
from offline.labels.evaluation.kitti_clear import KittiClear, kitti_clear
from offline.labels.evaluation.kitti_rules import class_table, image_scene, space_scene
from offline.labels.evaluation.scene import Scene
from offline.labels.kitti import LabelFile, label_text, read_labels
from tests.offline.labels.tracked import NO_REGIONS, published_tracks, random_labels

REAL = ("0003", "0004", "0017")


def assert_as_trackeval(folder: Path, truth: dict[str, LabelFile], found: dict[str, LabelFile]
                        ) -> None:  # fmt: skip
    """Write both as files, let TrackEval read them, compare every figure."""
    (folder / "label_02").mkdir()
    (folder / "trackers/ours/data").mkdir(parents=True)
    seqmap = ""
    for name, labels in truth.items():
        (folder / f"label_02/{name}.txt").write_text(label_text(labels))
        (folder / f"trackers/ours/data/{name}.txt").write_text(label_text(found[name]))
        seqmap += f"{name} empty 000000 {1 + labels.objects.frame.max():06d}\n"
    (folder / "evaluate_tracking.seqmap.training").write_text(seqmap)
    data = trackeval.datasets.Kitti2DBox({
        "GT_FOLDER": str(folder), "TRACKERS_FOLDER": str(folder / "trackers"),
        "PRINT_CONFIG": False,
    })  # fmt: skip
    # What was written has fewer digits.
    truth = {name: read_labels(folder / f"label_02/{name}.txt") for name in truth}
    found = {name: read_labels(folder / f"trackers/ours/data/{name}.txt") for name in found}
    for name in ("Car", "Pedestrian"):
        scene = image_scene(class_table(truth, found, name))
        each: dict[str, dict[str, Any]] = {"HOTA": {}, "CLEAR": {}, "Identity": {}}
        for sequence in truth:
            raw = data.get_raw_seq_data("ours", sequence)
            seen = data.get_preprocessed_seq_data(raw, name.lower())
            for metric, results in each.items():
                measure = getattr(trackeval.metrics, metric)({"PRINT_CONFIG": False})
                results[sequence] = measure.eval_sequence(seen)
        peer = {
            metric: getattr(trackeval.metrics, metric)({"PRINT_CONFIG": False})
            .combine_sequences(results) for metric, results in each.items()
        }  # fmt: skip
        ours, counts = hota(scene), clear(scene)
        for key, values in (("HOTA", ours.hota), ("DetA", ours.det_a), ("AssA", ours.ass_a)):
            np.testing.assert_allclose(values, peer["HOTA"][key], atol=1e-9, err_msg=key)
        names = {
            "CLR_TP": counts.hits, "CLR_FN": counts.misses, "CLR_FP": counts.false_alarms,
            "IDSW": counts.switches, "Frag": counts.fragments, "MT": counts.mostly_tracked,
            "ML": counts.mostly_lost, "MOTP": counts.motp,
        }  # fmt: skip
        assert names == pytest.approx({key: peer["CLEAR"][key] for key in names})
        assert identity(scene).f1 == pytest.approx(peer["Identity"]["IDF1"])


@pytest.mark.parametrize("seed", range(6))
def test_crossing_boxes_of_every_class_count_as_in_trackeval(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = {f"{k:04d}": random_labels(rng) for k in range(2)}
    assert_as_trackeval(
        tmp_path, {name: one[0] for name, one in made.items()},
        {name: one[1] for name, one in made.items()},
    )  # fmt: skip


def test_published_detections_count_as_in_trackeval(tmp_path: Path, shared_data: Path) -> None:
    root = shared_data / "kitti_tracking"
    truth = {name: read_labels(root / f"label_02/{name}.txt") for name in REAL}
    assert_as_trackeval(tmp_path, truth, {name: published_tracks(root, name) for name in REAL})


def test_truth_found_as_it_is_scores_full(shared_data: Path) -> None:
    truth = {"0004": read_labels(shared_data / "kitti_tracking/label_02/0004.txt")}
    objects = truth["0004"].objects
    told = replace(objects, score=1 - 1e-3 * objects.track_id)
    table = class_table(truth, {"0004": LabelFile(told, *NO_REGIONS)}, "Car")
    assert hota(image_scene(table)).hota == pytest.approx(np.ones(19))
    family = amota(table, space_scene(table), 0.7)
    assert family.best.mota == pytest.approx(1)
    assert family.best.motp == pytest.approx(1)
    assert (family.best.switches, family.best.false_alarms) == (0, 0)


def test_sequences_must_be_the_same() -> None:
    truth, found = random_labels(np.random.default_rng(0))
    with pytest.raises(InputError, match="same sequences: b"):
        class_table({"a": truth}, {"a": found, "b": found}, "Car")


def test_the_family_needs_scores() -> None:
    truth, found = random_labels(np.random.default_rng(0))
    objects = replace(found.objects, score=np.full(len(found.objects), np.nan))
    table = class_table({"a": truth}, {"a": LabelFile(objects, *NO_REGIONS)}, "Car")
    with pytest.raises(InputError, match="scores"):
        amota(table, space_scene(table), 0.5)


def line(told: str) -> tuple[Scene, np.ndarray[Any, np.dtype[np.bool_]]]:
    """One true track by frame: a letter is the track that finds it, `.` none; in capitals (`:`
    for none) where the truth is ignored.
    """
    rows = np.arange(len(told))
    hit = np.array([letter.isalpha() for letter in told])
    tracks = np.array([ord(letter.lower()) for letter in told])
    scene = Scene(
        rows, np.zeros(len(told), dtype=np.int64), rows[hit], tracks[hit], rows[hit],
        np.arange(int(hit.sum())), np.full(int(hit.sum()), 0.9),
    )  # fmt: skip
    return scene, np.array([letter.isupper() or letter == ":" for letter in told])


def course(told: str) -> KittiClear:
    scene, ignored = line(told)
    every = np.ones(scene.found_frame.size, dtype=np.bool_)
    return kitti_clear(scene, ignored, ~every, every, 0.5)


@pytest.mark.parametrize(
    ("told", "switches", "fragments"),
    [
        ("aaaa", 0, 0),
        ("aabb", 1, 1),
        ("abab", 3, 3),
        # A gap is no switch; taken up again and held, it is a fragment.
        ("aa.bb", 0, 1),
        ("aa.aa", 0, 1),
        ("aa.b.bb", 0, 1),
        ("..aaa", 0, 0),
        # Only in the last frame: a fragment, even if never held before.
        ("....a", 0, 1),
        ("aa..a", 0, 1),
        # What is ignored ends what was held, save in the first frame.
        ("aaBbb", 0, 0),
        ("aa:bb", 0, 0),
        ("Abbb", 1, 1),
        ("AAbb", 0, 0),
        (":aaa", 0, 0),
    ],
)
def test_switches_and_fragments_by_hand(told: str, switches: int, fragments: int) -> None:
    found = course(told)
    assert (found.switches, found.fragments) == (switches, fragments)


def plain_course(told: str) -> tuple[int, int]:
    """The devkit's rule, frame by frame."""
    tracks = [letter.lower() if letter.isalpha() else None for letter in told]
    holding, switches, fragments = tracks[0], 0, 0
    for k in range(1, len(told)):
        if told[k].isupper() or told[k] == ":":
            holding = None
            continue
        now, before = tracks[k], tracks[k - 1]
        if now and holding and before and now != holding:
            switches += 1
        if k + 1 == len(told):
            fragments += bool(now) and now != before
        elif now and holding and now != before and tracks[k + 1]:
            fragments += 1
        holding = now or holding
    return switches, fragments


@given(st.text("aabbc..AB:", min_size=1, max_size=12))
def test_switches_and_fragments_frame_by_frame(told: str) -> None:
    found = course(told)
    assert (found.switches, found.fragments) == plain_course(told)
    assert found.truths == sum(not (letter.isupper() or letter == ":") for letter in told)


def test_coverage_and_ignored_boxes() -> None:
    found = course("aaaaaaaa..")
    assert (found.mostly_tracked, found.mostly_lost, found.tracks) == (0, 0, 1)
    found = course("aaaaaaaaa.")
    assert (found.mostly_tracked, found.hits, found.misses, found.mota) == (1, 9, 1, 0.9)
    found = course("a.........")
    assert (found.mostly_lost, found.tracks) == (1, 1)
    # Matches of ignored boxes are hits, but no true boxes, and their misses are none.
    found = course("AA::")
    assert (found.tracks, found.truths, found.hits, found.misses) == (0, 0, 2, 0)


def test_most_matches_come_before_the_best() -> None:
    none = np.zeros(2, dtype=np.int64)
    ids = np.array([0, 1])
    scene = Scene(
        none, ids, none, ids, np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.95, 0.3, 0.3])
    )
    every = np.ones(2, dtype=np.bool_)
    found = kitti_clear(scene, ~every, ~every, every, 0.25)
    assert (found.hits, found.misses, found.false_alarms) == (2, 0, 0)
    assert found.similarity == pytest.approx(0.6)
    # What is not told is neither a match nor an alarm; what is excused is no alarm.
    found = kitti_clear(scene, ~every, ~every, np.array([True, False]), 0.25)
    assert (found.hits, found.misses, found.false_alarms) == (1, 1, 0)
    found = kitti_clear(scene, ~every, np.array([False, True]), every, 0.5)
    assert (found.hits, found.misses, found.false_alarms) == (1, 1, 0)


def test_levels_of_recall() -> None:
    falling = np.linspace(1, 0.01, 80)
    reached = levels(falling, 80)
    assert [level for level, _ in reached] == pytest.approx(np.arange(1, LEVELS + 1) / LEVELS)
    # 80 true boxes: the level k / 40 is at the 2 k th match.
    assert [value for _, value in reached] == pytest.approx(falling[1::2])
    # Half of the boxes found, half of the levels reached.
    assert [level for level, _ in levels(falling, 160)] == pytest.approx(np.arange(1, 21) / LEVELS)


def test_the_family_of_tracks_that_are_right() -> None:
    """80 cars of falling confidence: at each level MOTA is the recall, sMOTA is 1."""
    truth, _ = random_labels(np.random.default_rng(1), 1)
    objects = truth.objects.take(np.zeros(80, dtype=np.int64))
    rows = np.arange(80)
    objects = replace(
        objects, kind=0 * rows, track_id=rows, occlusion=0 * rows, truncation=0.0 * rows,
        score=np.linspace(5, -5, 80), centre_m=np.column_stack([10.0 * rows, 0 * rows, 0 * rows]),
    )  # fmt: skip
    label = {"a": LabelFile(objects, *NO_REGIONS)}
    table = class_table(label, label, "Car")
    family = amota(table, space_scene(table), 0.7)
    assert family.samota == pytest.approx(1)
    assert family.amota == pytest.approx(np.mean(np.arange(1, LEVELS + 1) / LEVELS))
    assert family.amotp == pytest.approx(1)
    assert family.best.mota == pytest.approx(1)
    half = {"a": LabelFile(objects.take(rows < 40), *NO_REGIONS)}
    table = class_table(label, half, "Car")
    family = amota(table, space_scene(table), 0.7)
    assert (family.samota, family.amotp, family.best.mota) == pytest.approx((0.5, 0.5, 0.5))
