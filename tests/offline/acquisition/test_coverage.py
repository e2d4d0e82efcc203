"""k-centre and near-duplicates against brute force; cuts into shards change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from offline.acquisition import coverage, dedup, lattice
from offline.acquisition.coverage import k_centre
from offline.acquisition.dedup import thinned_in_time, without_near_duplicates
from offline.acquisition.lattice import lattice_of


def plain_k_centre(
    rows: np.ndarray, k: int, told: np.ndarray
) -> tuple[list[int], list[float], float]:
    """By the definition, in whole numbers."""
    centres = [told[i] for i in range(len(told))]
    taken: list[int] = []
    far: list[float] = []

    def nearest(row: np.ndarray) -> float:
        return min((int(((row - c) ** 2).sum()) for c in centres), default=np.inf)

    for _ in range(k):
        distances = [nearest(row) for row in rows]
        best = max(distances)
        if best == 0:
            break
        taken.append(distances.index(best))
        far.append(best)
        centres.append(rows[taken[-1]])
    return taken, far, max(nearest(row) for row in rows)


@settings(max_examples=25)
@given(
    st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 9), st.integers(0, 12),
    st.integers(0, 5), st.booleans(),
)  # fmt: skip
def test_k_centre_equals_brute_force(
    seed: int, n: int, width: int, k: int, told: int, coarse: bool
) -> None:
    rng = np.random.default_rng(seed)
    # Coarse vectors bring ties and duplicates.
    draw = rng.integers(-1, 2, (n + told, width)) if coarse else rng.normal(size=(n + told, width))
    vectors = draw.astype(np.float32)
    pool, labelled = vectors[:n], vectors[n:]
    made = lattice_of([pool, labelled])
    rows = made.rounded(pool).astype(np.int64)
    taken, squared, radius = plain_k_centre(rows, k, made.rounded(labelled).astype(np.int64))
    found = k_centre([pool], k, labelled)
    assert found.rows.tolist() == taken
    np.testing.assert_allclose(found.distance, np.sqrt(squared) * made.step)
    assert found.radius == pytest.approx(np.sqrt(radius) * made.step)
    assert (np.diff(found.distance) <= 0).all() if len(taken) > 1 else True


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 60), max_size=5), st.integers(1, 16))
def test_shards_and_blocks_change_nothing(seed: int, cuts: list[int], block: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, labelled = rng.normal(size=(60, 7)), rng.normal(size=(3, 7))
    whole = k_centre([vectors], 12, labelled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "BLOCK", block)
        patch.setattr(lattice, "BLOCK", block)
        patch.setattr(coverage, "_CENTRES_AT_ONCE", 2)
        found = k_centre(np.split(vectors, sorted(cuts)), 12, labelled)
    np.testing.assert_array_equal(found.rows, whole.rows)
    np.testing.assert_array_equal(found.distance, whole.distance)
    assert found.radius == whole.radius


def test_squares_on_the_lattice_are_exact_up_to_its_ends() -> None:
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(200, 256))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    vectors = np.concatenate([unit, -unit, np.eye(256)[:4], -np.eye(256)[:4]])
    cover = coverage.Cover([vectors], lattice_of([vectors]))
    rows = cover.lattice.rounded(vectors).astype(np.int64)
    for centre in (0, 200, 400, 404):
        cover = coverage.Cover([vectors], cover.lattice)
        cover.add_row(centre)
        exact = ((rows - rows[centre]) ** 2).sum(axis=1)
        assert exact.max() > 2**23.9
        np.testing.assert_array_equal(cover.nearest_squared.astype(np.int64), exact)
        # And near the distances of the vectors as they were given.
        plain = np.linalg.norm(vectors - vectors[centre], axis=1)
        assert np.abs(cover.distances() - plain).max() < 2 * cover.lattice.step


def test_the_radius_is_within_twice_the_best() -> None:
    # Four clusters of radius 0.1: four centres reach 0.1, so greedy must stay within 0.2.
    rng = np.random.default_rng(1)
    corners = np.array([[0, 0], [5, 0], [0, 5], [5, 5]])
    angle = rng.random(200) * 7
    away = np.column_stack([np.cos(angle), np.sin(angle)]) * 0.1
    found = k_centre([corners[rng.integers(0, 4, 200)] + away], 4)
    assert found.radius <= 0.2 + 0.02
    assert np.isinf(found.distance[0])


def test_duplicates_are_no_centres() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = k_centre([vectors], 10)
    assert found.rows.tolist() == [0, 4, 8]
    assert found.radius == 0
    assert not k_centre([vectors], 10, np.eye(3)).rows.size
    assert k_centre([np.zeros((5, 3))], 2).rows.tolist() == [0]
    assert not k_centre([np.zeros((0, 3))], 2).rows.size


def test_bad_vectors_are_refused() -> None:
    good = np.zeros((3, 2))
    broken = good.copy()
    broken[1, 1] = np.nan
    with pytest.raises(InputError, match="row 1"):
        k_centre([good, broken], 1)
    with pytest.raises(InputError, match="width"):
        k_centre([good, np.zeros((3, 4))], 1)
    with pytest.raises(InputError, match="floating"):
        k_centre([np.zeros((3, 2), dtype=np.int64)], 1)
    with pytest.raises(InputError, match="k: "):
        k_centre([good], -1)
    with pytest.raises(InputError, match="no vectors"):
        k_centre([], 1)
    with pytest.raises(InputError, match="longer"):
        lattice_of([np.ones((1, 2))]).rounded(np.full((1, 2), 9.0))


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 50), st.floats(0, 1.5), st.integers(1, 20))
def test_near_duplicates_equal_brute_force(seed: int, n: int, distance: float, block: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n, 3)) + rng.normal(0, 0.05, (n, 3))
    priority = rng.integers(0, 5, n).astype(np.float64)
    made = lattice_of([vectors])
    rows = made.rounded(vectors).astype(np.int64)
    expected = np.arange(n)
    kept: list[int] = []
    for row in sorted(range(n), key=lambda i: (-priority[i], i)):
        near = [
            k for k in kept if ((rows[row] - rows[k]) ** 2).sum() <= (distance / made.step) ** 2
        ]
        if near:
            expected[row] = near[0]
        else:
            kept.append(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "_AT_ONCE", block)
        patch.setattr(dedup, "BLOCK", 3)
        found = without_near_duplicates(vectors, priority, distance)
    assert found.rows.tolist() == sorted(kept)
    np.testing.assert_array_equal(found.instead, expected)


def test_clips_of_a_drive_that_are_too_close_give_way_to_the_best() -> None:
    drives = ["a", "a", "a", "b", "a"]
    start = np.array([0, 10, 24, 10, 40]) * 10**9
    found = thinned_in_time(
        drives, start, start + 8 * 10**9, np.array([0.1, 0.9, 0.2, 0.0, 0.3]), 5.0
    )
    # 10..18 wins over 0..8 (2 s apart); 24..32 lies 6 s off, 40..48 more.
    assert found.rows.tolist() == [1, 2, 3, 4]
    assert found.instead.tolist() == [1, 1, 2, 3, 4]


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 40), st.floats(0, 20))
def test_kept_clips_keep_their_distance(seed: int, n: int, gap_s: float) -> None:
    rng = np.random.default_rng(seed)
    drives = [f"d{k}" for k in rng.integers(0, 3, n)]
    start = rng.integers(0, 300, n) * 10**9
    end = start + rng.integers(0, 20, n) * 10**9
    priority = rng.random(n)
    found = thinned_in_time(drives, start, end, priority, gap_s)
    kept = set(found.rows.tolist())
    for a in range(n):
        b = int(found.instead[a])
        assert b in kept and drives[a] == drives[b] and priority[b] >= priority[a]
        for other in kept - {a}:
            if a in kept and drives[a] == drives[other]:
                between = max(start[a], start[other]) - min(end[a], end[other])
                assert between >= round(gap_s * 1e9)
    order = rng.permutation(n)
    again = thinned_in_time(
        [drives[k] for k in order], start[order], end[order], priority[order], gap_s
    )
    assert {int(order[k]) for k in again.rows} == kept


def test_bad_spans_are_refused() -> None:
    one = np.array([5])
    with pytest.raises(InputError, match="row 0"):
        thinned_in_time(["a"], one, one - 1, np.zeros(1), 1.0)
    with pytest.raises(InputError, match="length"):
        thinned_in_time(["a", "b"], one, one, np.zeros(1), 1.0)
    with pytest.raises(InputError, match="gap_s"):
        thinned_in_time(["a"], one, one, np.zeros(1), -1.0)
    with pytest.raises(InputError, match="NaN"):
        without_near_duplicates(np.zeros((1, 2)), np.array([np.nan]), 1.0)
    with pytest.raises(InputError, match="distance"):
        without_near_duplicates(np.zeros((1, 2)), np.zeros(1), float("nan"))
