"""The few old frames that stand for all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from offline.retrain.replay import dealt, replayed


def test_rare_slices_come_along_and_clusters_are_covered() -> None:
    rng = np.random.default_rng(1)
    # Day has three clusters, of which one has three frames only.
    centres = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], [60, 34, 3], axis=0)
    day = centres + rng.normal(scale=0.1, size=centres.shape)
    night = rng.normal(size=(3, 2))
    slices = ["day"] * 97 + ["night"] * 3
    rows = replayed(slices, np.concatenate([day, night]).astype(np.float32), 0.05)
    assert rows.size == 5
    assert (rows >= 97).sum() == 1
    cluster = np.repeat([0, 1, 2, 3], [60, 34, 3, 3])[rows]
    assert set(cluster.tolist()) == {0, 1, 2, 3}


def test_frames_that_are_alike_still_make_up_the_share() -> None:
    assert replayed(["a"] * 10, np.zeros((10, 4), np.float32), 0.5).size == 5


def test_no_share_is_no_replay_and_any_share_is_at_least_one() -> None:
    vectors = np.zeros((10, 4), np.float32)
    assert replayed(["a"] * 10, vectors, 0.0).size == 0
    assert replayed(["a"] * 10, vectors, 0.001).size == 1
    assert replayed(["b", "a"] * 5, np.zeros((10, 0), np.float32), 1.0).tolist() == list(range(10))
    assert replayed([], np.zeros((0, 4), np.float32), 0.5).size == 0


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 30), min_size=1),
    st.integers(0, 60), st.integers(0, 3),
)  # fmt: skip
def test_what_is_dealt_adds_up_and_no_slice_gives_more_than_it_has(
    sizes: dict[str, int], count: int, floor: int
) -> None:
    given_ = dealt(sizes, count, floor)
    assert sum(given_.values()) == min(count, sum(sizes.values()))
    assert all(given_[name] <= sizes[name] for name in sizes)
    if count >= sum(min(floor, size) for size in sizes.values()):
        assert all(given_[name] >= min(floor, sizes[name]) for name in sizes)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="2 slices"):
        replayed(["a", "b"], np.zeros((3, 4), np.float32), 0.5)
    with pytest.raises(InputError, match=r"not 1\.5"):
        replayed(["a"], np.zeros((1, 4), np.float32), 1.5)
