"""Disagreement of boxes, inconsistency of tracks, and how they become scores of a clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.geometry import Boxes
from offline.acquisition.scores.clip import (
    Aggregation,
    FrameEvidence,
    Rule,
    clip_scores,
    frame_scores,
)
from offline.acquisition.scores.geometry import (
    CENTRE_FULL_M,
    MemberBoxes,
    geometry_scores,
    member_boxes,
)
from offline.acquisition.scores.tracks import TrackedBoxes, track_scores

S = 10**9


def members_of(centre: object, size: object, yaw: object) -> MemberBoxes:
    """One object's box by member."""
    c, s, y = (np.asarray(v, dtype=np.float64) for v in (centre, size, yaw))
    return MemberBoxes(c[:, None], s[:, None], y[:, None])


def test_members_who_draw_the_same_box_do_not_disagree() -> None:
    boxes = members_of([[1, 2, 0]] * 3, [[4, 2, 1.5]] * 3, [0.3] * 3)
    assert geometry_scores(boxes).disagreement[0] == pytest.approx(0, abs=1e-12)


def test_spreads_by_hand() -> None:
    boxes = members_of([[0, 0, 0], [2, 0, 9]], [[4, 2, 2], [2, 2, 2]], [0.0, np.pi])
    found = geometry_scores(boxes)
    assert found.centre_spread_m[0] == pytest.approx(1)
    assert found.size_spread[0] == pytest.approx(1 - (12 / 16 + 8 / 12) / 2)
    assert found.heading_spread[0] == pytest.approx(1)
    apart = (1 / CENTRE_FULL_M + found.size_spread[0] + 1) / 3
    assert found.disagreement[0] == pytest.approx(apart)


def test_a_member_that_sees_nothing_disagrees() -> None:
    gone = [np.nan] * 3
    boxes = members_of([[1, 2, 0], gone], [[4, 2, 2], gone], [0.1, np.nan])
    found = geometry_scores(boxes)
    assert found.missed[0] == 0.5
    assert found.disagreement[0] == pytest.approx(0.5)
    nobody = members_of([gone, gone], [gone, gone], [np.nan, np.nan])
    assert geometry_scores(nobody).disagreement[0] == 1
    with pytest.raises(InputError, match="throughout"):
        members_of([[1, 2, np.nan]], [[4, 2, 2]], [0.0])


def boxes_at(*xy: tuple[float, float]) -> Boxes:
    n = len(xy)
    centre = np.column_stack([np.array(xy, dtype=np.float64).reshape(n, 2), np.zeros(n)])
    index = np.zeros(n, dtype=np.int64)
    return Boxes(centre, np.ones((n, 3)), np.zeros(n), np.zeros((n, 2)), index, index - 1)


def test_members_boxes_go_to_the_nearest_one_to_one() -> None:
    found = member_boxes(
        boxes_at((0, 0), (1, 0)), [boxes_at((0.9, 0), (1.2, 0)), boxes_at((9, 0)), boxes_at()]
    )
    np.testing.assert_allclose(found.centre_m[0, :, 0], [1.2, 0.9])
    assert np.isnan(found.yaw_rad[1:]).all()
    with pytest.raises(InputError, match="members"):
        member_boxes(boxes_at(), [])
    with pytest.raises(InputError, match="member 0"):
        member_boxes(boxes_at(), [replace(boxes_at(), frame="world")])


def straight_track(n: int = 6) -> TrackedBoxes:
    times = np.arange(n) * S // 10
    x = 2.0 * np.arange(n)
    return TrackedBoxes(
        np.full(n, 4), times, np.zeros(n, dtype=np.int64), np.full(n, 0.8),
        np.column_stack([x, np.zeros(n)]), times,
    )  # fmt: skip


def test_a_steady_track_is_consistent() -> None:
    assert all(values.tolist() == [0.0] for values in track_scores(straight_track()).values())


def test_each_inconsistency_by_hand() -> None:
    track = straight_track()
    probability = np.array([0.8, 0.3, 0.8, 0.8, 0.8, 0.8])
    assert track_scores(replace(track, probability=probability))["flicker"] == pytest.approx(0.2)
    kinds = np.array([0, 0, 1, 0, 0, 0])
    assert track_scores(replace(track, class_index=kinds))["flips"] == pytest.approx(0.4)
    xy_m = track.xy_m.copy()
    xy_m[3, 1] = 1.0
    # 1 m beside is seen of the one that jumped; its neighbours lie 0.5 m off, within the noise.
    assert track_scores(replace(track, xy_m=xy_m))["jumps"] == pytest.approx(1 / 4)
    frames = np.sort(np.append(track.mono_ns, [S // 20, 3 * S // 20]))
    assert track_scores(replace(track, frames_mono_ns=frames))["gaps"] == pytest.approx(2 / 8)


def test_hard_braking_is_no_jump() -> None:
    t = np.arange(8) / 10
    x = 20 * t - 9.5 * t**2 / 2
    track = replace(straight_track(8), xy_m=np.column_stack([x, 0 * x]))
    assert track_scores(track)["jumps"] == 0


def test_order_of_boxes_does_not_matter_and_bad_tracks_are_refused() -> None:
    rng = np.random.default_rng(0)
    a = straight_track()
    track = replace(a, probability=rng.random(6), track_id=np.array([1, 1, 1, 2, 2, 2]))
    order = rng.permutation(6)
    mixed = TrackedBoxes(
        track.track_id[order], track.mono_ns[order], track.class_index[order],
        track.probability[order], track.xy_m[order], track.frames_mono_ns,
    )  # fmt: skip
    for name, values in track_scores(track).items():
        np.testing.assert_array_equal(track_scores(mixed)[name], values)
    twice = a.mono_ns.copy()
    twice[1] = twice[0]
    with pytest.raises(InputError, match="track 4"):
        track_scores(replace(a, mono_ns=twice))
    with pytest.raises(InputError, match="no frame"):
        replace(a, mono_ns=a.mono_ns + 1)
    with pytest.raises(InputError, match=r"0\.\.1"):
        replace(a, probability=a.probability * 2)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), max_size=12), st.integers(1, 5), st.integers(0, 99))
def test_rules_fold_values(values: list[float], k: int, seed: int) -> None:
    array = np.array(values)
    top = Rule(k=k).of(array)
    best = sorted(values, reverse=True)[:k]
    assert top == pytest.approx(sum(best) / len(best) if best else 0)
    assert Rule(kind="max").of(array) == (max(values) if values else 0)
    assert Rule(k=k).of(np.random.default_rng(seed).permutation(array)) == top


def test_a_clips_scores_are_of_its_frames_and_tracks() -> None:
    doubtful, sure = np.full((2, 1, 2), 1 / 3), np.array([[[1.0, 0]], [[1.0, 0]]])
    frames = [FrameEvidence(doubtful), FrameEvidence(sure), FrameEvidence(np.zeros((2, 0, 2)))]
    found = clip_scores(iter(frames), straight_track())
    assert found["entropy"] == pytest.approx(1 / 3)
    assert found["mutual_information"] == pytest.approx(0, abs=1e-12)
    assert found["flips"] == 0
    assert "disagreement" not in found
    assert list(found) == sorted(found)
    found = clip_scores(frames, aggregation=Aggregation(frames=Rule(kind="max")))
    assert found["entropy"] == pytest.approx(1)
    with pytest.raises(InputError, match="without frames"):
        clip_scores([])


def test_frames_must_tell_alike() -> None:
    boxes = members_of([[1, 2, 0]] * 2, [[4, 2, 2]] * 2, [0, 3.0])
    told = FrameEvidence(np.full((2, 1, 2), 0.5), boxes)
    assert 0 < clip_scores([told])["disagreement"] < 1
    with pytest.raises(InputError, match="only some"):
        clip_scores([told, FrameEvidence(np.full((2, 1, 2), 0.5))])
    with pytest.raises(InputError, match="objects"):
        frame_scores(FrameEvidence(np.full((2, 3, 2), 0.5), boxes), Rule())
