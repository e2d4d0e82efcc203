"""HOTA, CLEAR MOT and IDF1 against TrackEval and motmetrics, and by what they promise."""

from __future__ import annotations

from dataclasses import asdict
from itertools import permutations
from typing import Any

import motmetrics
import numpy as np
import pytest
import trackeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from offline.labels.evaluation.clear import Clear, clear
from offline.labels.evaluation.hota import ALPHAS, Hota, hota
from offline.labels.evaluation.identity import identity
from offline.labels.evaluation.scene import Scene, assigned, dense, same_frame
from tests.offline.labels.tracked import (
    Frame,
    Frames,
    random_frames,
    scene_of,
    trackeval_sequence,
)

SEEDS = st.integers(0, 2**32 - 1)


def quiet(metric: type) -> Any:
    return metric({"PRINT_CONFIG": False})


def trackeval_of(metric: type, *sequences: Frames) -> dict[str, Any]:
    measure = quiet(metric)
    each = {str(k): measure.eval_sequence(trackeval_sequence(s)) for k, s in enumerate(sequences)}
    return dict(measure.combine_sequences(each))


def assert_as_trackeval(scene: Scene, *sequences: Frames) -> None:
    peer, ours = trackeval_of(trackeval.metrics.HOTA, *sequences), hota(scene)
    names = {
        "HOTA": ours.hota, "DetA": ours.det_a, "DetRe": ours.det_recall,
        "DetPr": ours.det_precision, "AssA": ours.ass_a, "AssRe": ours.ass_recall,
        "AssPr": ours.ass_precision,
    }  # fmt: skip
    for name, found in names.items():
        np.testing.assert_allclose(found, peer[name], atol=1e-12, err_msg=name)
    some = peer["HOTA_TP"] > 0
    np.testing.assert_allclose(ours.loc_a[some], peer["LocA"][some], atol=1e-12)

    peer, counts = trackeval_of(trackeval.metrics.CLEAR, *sequences), clear(scene)
    found = {
        "CLR_TP": counts.hits, "CLR_FN": counts.misses, "CLR_FP": counts.false_alarms,
        "IDSW": counts.switches, "Frag": counts.fragments, "MT": counts.mostly_tracked,
        "ML": counts.mostly_lost, "MOTA": counts.mota, "MOTP": counts.motp,
        "CLR_Re": counts.recall, "CLR_Pr": counts.precision,
    }  # fmt: skip
    assert found == pytest.approx({name: peer[name] for name in found})

    peer, same = trackeval_of(trackeval.metrics.Identity, *sequences), identity(scene)
    assert (same.f1, same.recall, same.precision) == pytest.approx(
        (peer["IDF1"], peer["IDR"], peer["IDP"])
    )


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 3), st.integers(1, 8))
def test_all_is_as_trackeval_has_it(seed: int, sequences: int, tracks: int) -> None:
    rng = np.random.default_rng(seed)
    every = [random_frames(rng, 25, tracks) for _ in range(sequences)]
    # TrackEval cannot tell how many frames an empty sequence has.
    every = [s for s in every if any(f.truth.size for f in s) and any(f.found.size for f in s)]
    if every:
        assert_as_trackeval(scene_of(*every), *every)


@settings(max_examples=25)
@given(SEEDS)
def test_identity_and_counts_are_as_motmetrics_has_them(seed: int) -> None:
    """Where a box may match one other only: for choices, motmetrics has another rule."""
    rng = np.random.default_rng(seed)
    frames = []
    for frame in random_frames(rng, 25):
        alike = frame.similarity * (frame.similarity == frame.similarity.max(initial=0, axis=0))
        alike = alike * (alike == alike.max(initial=0, axis=1)[:, None])
        alike[alike < 0.5] = 0
        frames.append(Frame(frame.truth, frame.found, alike))
    seen = motmetrics.MOTAccumulator(auto_id=True)
    for frame in frames:
        distance = np.where(frame.similarity > 0, 1 - frame.similarity, np.nan)
        seen.update(frame.truth.tolist(), frame.found.tolist(), distance)
    names = [
        "idf1", "idp", "idr", "mota", "motp", "num_switches", "num_misses", "num_false_positives"
    ]  # fmt: skip
    peer = motmetrics.metrics.create().compute(seen, metrics=names, return_dataframe=False)
    scene = scene_of(frames)
    counts, same = clear(scene), identity(scene)
    ours = (
        same.f1, same.precision, same.recall, counts.mota, 1 - counts.motp, counts.switches,
        counts.misses, counts.false_alarms,
    )  # fmt: skip
    assert ours == pytest.approx(tuple(peer[name] for name in names))


def perfect(rng: np.random.Generator, frames: int = 20) -> list[Frame]:
    """Two tracks that are always there, and four that come and go once."""
    first, last = np.sort(rng.integers(0, frames, (2, 4)), axis=0)
    made = []
    for k in range(frames):
        ids = np.array([0, 1, *(2 + np.flatnonzero((first <= k) & (k <= last)))])
        made.append(Frame(ids, ids, np.eye(ids.size)))
    return made


@given(SEEDS)
def test_perfect_tracks_are_perfect(seed: int) -> None:
    scene = scene_of(perfect(np.random.default_rng(seed)))
    for name, values in asdict(hota(scene)).items():
        assert values == pytest.approx(np.ones(ALPHAS.size)), name
    counts = clear(scene)
    assert (counts.mota, counts.motp, identity(scene).f1) == pytest.approx((1, 1, 1))
    assert (counts.switches, counts.fragments, counts.mostly_lost) == (0, 0, 0)
    assert counts.mostly_tracked == counts.tracks


@given(SEEDS, st.integers(1, 19))
def test_swapped_tracks_cost_association_only(seed: int, at: int) -> None:
    frames = perfect(np.random.default_rng(seed))
    swap = np.array([1, 0, 2, 3, 4, 5])
    swapped = [
        Frame(f.truth, swap[f.found] if k >= at else f.found, f.similarity)
        for k, f in enumerate(frames)
    ]
    found = hota(scene_of(swapped))
    for values in (found.det_a, found.loc_a):
        assert values == pytest.approx(np.ones(ALPHAS.size))
    assert (found.ass_a < 1).all()
    counts = clear(scene_of(swapped))
    assert (counts.switches, counts.misses, counts.false_alarms) == (2, 0, 0)
    assert identity(scene_of(swapped)).f1 < 1


@given(SEEDS, st.integers(0, 19))
def test_a_missed_box_costs_detection(seed: int, at: int) -> None:
    frames = perfect(np.random.default_rng(seed))
    frames[at] = Frame(frames[at].truth, frames[at].found[1:], frames[at].similarity[:, 1:])
    found, counts = hota(scene_of(frames)), clear(scene_of(frames))
    assert (found.det_a < 1).all()
    assert found.det_precision == pytest.approx(np.ones(ALPHAS.size))
    assert (counts.misses, counts.fragments) == (1, int(0 < at < 19))


@given(SEEDS)
def test_names_of_tracks_and_order_of_rows_mean_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = random_frames(rng)
    names, others = rng.permutation(20), rng.permutation(20)
    turned = []
    for frame in frames:
        rows, columns = rng.permutation(frame.truth.size), rng.permutation(frame.found.size)
        turned.append(
            Frame(
                names[frame.truth][rows], others[frame.found][columns],
                frame.similarity[rows][:, columns],
            )
        )  # fmt: skip
    one, two = scene_of(frames), scene_of(turned)
    np.testing.assert_allclose(hota(one).hota, hota(two).hota, atol=1e-12)
    assert asdict(clear(one)) == pytest.approx(asdict(clear(two)))
    assert identity(one) == identity(two)


def test_three_frames_by_hand() -> None:
    # One track of truth over three frames, found as track 0 twice and then as track 1.
    one = np.array([[0.8]])
    frames = [Frame(np.array([0]), np.array([k]), one) for k in (0, 0, 1)]
    found = hota(scene_of(frames))
    # Each match of track 0: two frames in common of three. That of track 1: one of three.
    assert found.ass_a[0] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    assert found.det_a[0] == 1
    assert found.hota[0] == pytest.approx(np.sqrt(5 / 9))
    assert found.hota[ALPHAS > 0.81].sum() == 0
    assert clear(scene_of(frames)) == Clear(3, 0, 0, 1, 0, 1, 0, 1, pytest.approx(2.4))
    assert identity(scene_of(frames)).f1 == pytest.approx(2 / 3)


def test_nothing_found_and_nothing_there() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    missed = scene_of([Frame(np.array([0]), nothing, np.zeros((1, 0)))])
    alarm = scene_of([Frame(nothing, np.array([0]), np.zeros((0, 1)))])
    for scene, wanted in ((missed, (0, 1, 0)), (alarm, (0, 0, 1)), (scene_of([]), (0, 0, 0))):
        counts = clear(scene)
        assert (counts.hits, counts.misses, counts.false_alarms) == wanted
        assert isinstance(hota(scene), Hota)
        assert hota(scene).hota.sum() == 0
        assert identity(scene).f1 == 0


@given(SEEDS)
def test_the_heaviest_assignment_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.random((4, 5)) * (rng.random((4, 5)) < 0.5)
    one, two = np.nonzero(weight)
    chosen = assigned(one, two, weight[one, two])
    best = max(sum(weight[k, p] for k, p in enumerate(way)) for way in permutations(range(5), 4))
    assert weight[one, two][chosen].sum() == pytest.approx(best)
    assert len(set(one[chosen])) == len(set(two[chosen])) == chosen.sum()


def test_pairs_of_rows_of_one_frame() -> None:
    row, other = same_frame(np.array([0, 0, 3, 5]), np.array([0, 3, 3, 4, 5]))
    assert list(zip(row.tolist(), other.tolist(), strict=True)) == [
        (0, 0), (1, 0), (2, 1), (2, 2), (3, 4)
    ]  # fmt: skip
    assert dense(np.array([1, 0, 1]), np.array([7, 7, 8])).tolist() == [1, 0, 2]


def test_a_track_is_once_in_a_frame() -> None:
    with pytest.raises(InputError, match="twice"):
        scene_of([Frame(np.array([0, 0]), np.array([0]), np.zeros((2, 1)))])
    with pytest.raises(InputError, match="similarity"):
        scene_of([Frame(np.array([0]), np.array([0]), np.full((1, 1), 1.5))])
