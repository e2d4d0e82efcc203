"""A candidate model beside the active one: compared, and never felt."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.check_in import ShadowModel
from contracts.ota import Slot
from contracts.samples import Detection
from edge_agent.runtime import BuiltIn
from edge_agent.runtime.agreement import Agreement, boxes_of, matched, overlaps
from tests.edge_agent.runtime_rig import MadeModel, Rig, model_release, release, seen, spec

# Matching -----------------------------------------------------------------------------------

COORDINATES = st.integers(0, 12)
BOXES = st.lists(
    st.tuples(COORDINATES, COORDINATES, st.integers(0, 6), st.integers(0, 6)), max_size=6
)


def boxes(corners: list[tuple[int, int, int, int]]) -> np.ndarray:
    found = [(x, y, x + wide, y + high) for x, y, wide, high in corners]
    return np.array(found, np.float64).reshape(-1, 4)


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union > 0 else 0.0


@given(BOXES, BOXES)
def test_matching_is_one_to_one_greedy_and_complete(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    a, b = boxes(first), boxes(second)
    shared = overlaps(a, b)
    assert shared.shape == (len(a), len(b))
    for i in range(len(a)):
        for j in range(len(b)):
            assert shared[i, j] == pytest.approx(plain_iou(a[i], b[j]))
    pairs = matched(a, b)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    gone_a: set[int] = set()
    gone_b: set[int] = set()
    for i, j in pairs:  # each is the best of what was left
        left = [
            shared[k, m]
            for k in range(len(a)) for m in range(len(b))
            if k not in gone_a and m not in gone_b
        ]  # fmt: skip
        assert shared[i, j] == max(left) >= 0.5
        gone_a.add(i)
        gone_b.add(j)
    for i in set(range(len(a))) - gone_a:  # nothing that overlaps is left on both sides
        assert all(shared[i, j] < 0.5 for j in set(range(len(b))) - gone_b)


@given(BOXES, st.randoms())
def test_a_frame_agrees_with_itself_in_any_order(
    corners: list[tuple[int, int, int, int]], rng: object
) -> None:
    a = boxes(corners)
    solid = a[(a[:, 2] > a[:, 0]) & (a[:, 3] > a[:, 1])]
    order = list(range(len(solid)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    assert len(matched(solid, solid[order])) == len(solid)


def test_the_best_overlap_wins_in_any_order() -> None:
    """Two near boxes and their better partners: greedy pairs both right."""
    a = [seen(x=0), seen(x=4)]
    for b in permutations([seen(x=1), seen(x=4.5)]):
        pairs = {(a[i].box_px[0], b[j].box_px[0]) for i, j in matched(boxes_of(a), boxes_of(b))}
        assert pairs == {(0, 1), (4, 4.5)}


def test_counts_of_one_frame() -> None:
    found = Agreement()
    found.add(
        [seen("car", 0.9), seen("car", 0.8, x=100), seen("dog", 0.5, x=200)],
        [seen("car", 0.7, x=1), seen("dog", 0.6, x=101), seen("dog", 0.5, x=300)],
    )
    counts = (found.agreed, found.class_differs, found.only_active, found.only_candidate)
    assert counts == (1, 1, 1, 1)
    assert found.probability_gap == pytest.approx(0.2)
    assert Agreement().probability_gap == 0


# In the drive -------------------------------------------------------------------------------


def scripted(n: int) -> list[Detection]:
    return [seen("car", 0.6 + 0.3 * np.sin(n)), *([seen("dog", 0.7, x=50)] if n % 7 < 3 else [])]


WATCHES = spec("watches", when="perception.object_count > 1")


def shadow_of(rig: Rig) -> ShadowModel:
    found = rig.runtime.report().shadow_model
    assert found is not None
    return found


def bad(n: int) -> list[Detection]:
    raise RuntimeError("the candidate breaks")


@pytest.mark.parametrize("candidate", [None, scripted, bad])
def test_the_active_model_is_bit_for_bit_the_same(tmp_path: Path, candidate: object) -> None:
    """Signals at every tick, class scores, fires and the bytes of clips."""
    rigs = []
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
        built_in = BuiltIn((WATCHES, spec()), model_release("active", scripted))
        rigs.append(Rig(tmp_path / name, built_in, shadow_every=1))
    alone, beside = rigs
    if candidate is not None:
        shadow = model_release("candidate", candidate, ("zebra",), shadow=True)  # type: ignore[arg-type]
        beside.offer(shadow_model=shadow)
    for rig in (alone, beside):
        rig.go(4.0, camera_hz=10)
        rig.go(4.5, camera_hz=10, accel=-4)
        rig.go(9.0, camera_hz=10)
        rig.runtime.finish()
    assert len(alone.ticks) == len(beside.ticks) > 400
    for one, other in zip(alone.ticks, beside.ticks, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
        assert one.class_scores.tobytes() == other.class_scores.tobytes()
        assert (one.now_ns, one.frame_number) == (other.now_ns, other.frame_number)
    assert {name for name, _, _ in alone.fires} == {"watches", "brakes"}
    assert alone.fires == beside.fires
    assert alone.clips == beside.clips
    held, held_beside = (list(rig.ring.window(0, 10**18, lambda _: True)) for rig in rigs)
    assert held == held_beside


def test_every_nth_frame_is_compared_and_timed(tmp_path: Path) -> None:
    active = model_release("active", scripted)
    rig = Rig(tmp_path, BuiltIn((), active))
    candidate = model_release("candidate", lambda n: [seen("car", 0.6)], shadow=True)
    rig.offer(shadow_model=candidate)
    rig.go(10.0, camera_hz=10)
    assert isinstance(candidate.model, MadeModel)
    assert candidate.model.calls == 20
    found = shadow_of(rig)
    assert (found.digest, found.active_digest) == (candidate.digest, active.digest)
    assert (found.frames, found.failed_frames, found.agreed) == (20, 0, 20)
    assert found.only_active > 0
    assert (found.only_candidate, found.class_differs) == (0, 0)
    assert 0 < found.probability_gap < 0.3
    assert 0 < found.p50_ms <= found.p99_ms
    timing = rig.runtime.drive.timer.report()
    assert timing is not None
    assert timing.frames == 100
    models = rig.runtime.report().models
    assert [(m.name, m.shadow) for m in models] == [("active", False), ("candidate", True)]


def test_a_candidate_that_fails_k_times_in_a_row_is_at_fault_and_stops(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("active")), shadow_every=1)
    wobbly = model_release("wobbly", lambda n: bad(n) if n % 3 else [seen()], shadow=True)
    rig.offer(shadow_model=wobbly)
    rig.go(3.0, camera_hz=10)
    found = shadow_of(rig)
    assert (found.frames, found.failed_frames) == (10, 20)
    assert rig.runtime.report().faults == ()
    broken = model_release("broken", bad, shadow=True)
    rig.offer(shadow_model=broken)
    rig.go(6.0, camera_hz=10)
    (fault,) = rig.runtime.report().faults
    assert (fault.slot, fault.digest, fault.stage) == (
        Slot("model", shadow=True), broken.digest, "soak",
    )  # fmt: skip
    assert "the candidate breaks" in fault.reason
    assert isinstance(broken.model, MadeModel)
    assert (broken.model.calls, shadow_of(rig).failed_frames) == (3, 3)


def test_figures_start_anew_with_another_active_model_and_not_with_other_specs(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, BuiltIn((), model_release("active")), shadow_every=1)
    candidate = model_release("candidate", shadow=True)
    rig.offer(shadow_model=candidate)
    rig.go(1.0, camera_hz=10)
    rig.offer(release(spec()), shadow_model=candidate)
    rig.go(2.0, camera_hz=10)
    assert shadow_of(rig).frames == 20
    other = model_release("other")
    rig.offer(model=other, shadow_model=candidate)
    rig.go(6.0, camera_hz=10, speed=0.0)
    assert shadow_of(rig).active_digest == other.digest
    assert shadow_of(rig).frames < 40


def test_without_an_active_model_there_is_nothing_to_compare(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BuiltIn())
    rig.offer(shadow_model=model_release("candidate", shadow=True))
    rig.go(1.0, camera_hz=10)
    assert rig.runtime.report().shadow_model is None
