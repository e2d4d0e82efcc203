"""Draws by weight, and a word on disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from models.student.draws import drawn, epoch_size


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=40), st.integers(1, 200),
    st.integers(0, 2**31),
)  # fmt: skip
def test_rows_are_drawn_as_often_as_they_weigh(weights: list[float], n: int, seed: int) -> None:
    array = np.array(weights)
    rows = drawn(array, n, np.random.default_rng(seed))
    assert rows.size == n and (np.diff(rows) >= 0).all()
    counts = np.bincount(rows, minlength=array.size)
    assert (np.abs(counts - n * array / array.sum()) < 1 + 1e-6).all()
    assert np.array_equal(rows, drawn(array, n, np.random.default_rng(seed)))


def test_what_weighs_nothing_is_never_drawn_and_nothing_to_draw_is_refused() -> None:
    for seed in range(20):
        rows = drawn(np.array([0.0, 1.0, 0.0, 1.0, 0.0]), 3, np.random.default_rng(seed))
        assert set(rows.tolist()) <= {1, 3}
    for weights in (np.zeros(3), np.array([1.0, -1.0, 1.0]), np.zeros(0), np.array([np.nan])):
        with pytest.raises(InputError, match="not all 0"):
            drawn(weights, 1, np.random.default_rng(0))
    assert epoch_size(np.array([0.1, 0.1])) == 1
    assert epoch_size(np.array([1.0, 1.6])) == 3
