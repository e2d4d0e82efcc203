"""Entropies and BALD against closed forms and a plain sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from offline.acquisition.scores import classes
from offline.acquisition.scores.classes import class_scores, distributions_at


def plain(samples: np.ndarray) -> tuple[float, float]:
    """Predictive and expected entropy of one box [samples, classes], by the formula."""

    def entropy(p: list[float]) -> float:
        return -math.fsum(x * math.log(x) for x in p if x > 0)

    outcomes = [[*row, max(0.0, 1 - math.fsum(row))] for row in samples.tolist()]
    mean = [math.fsum(column) / len(outcomes) for column in zip(*outcomes, strict=True)]
    return entropy(mean), math.fsum(entropy(row) for row in outcomes) / len(outcomes)


@settings(max_examples=40)
@given(
    st.integers(0, 2**31), st.integers(1, 9), st.integers(0, 12), st.integers(1, 10),
    st.floats(0.02, 5),
)  # fmt: skip
def test_scores_equal_the_closed_form(
    seed: int, members: int, boxes: int, count: int, sharpness: float
) -> None:
    rng = np.random.default_rng(seed)
    told = rng.dirichlet(np.full(count + 1, sharpness), (members, boxes))[..., :count]
    found = class_scores(told)
    for box in range(boxes):
        predictive, expected = plain(told[:, box])
        assert found.entropy[box] == pytest.approx(predictive, abs=1e-9)
        assert found.expected_entropy[box] == pytest.approx(expected, abs=1e-9)
        assert found.mutual_information[box] == pytest.approx(predictive - expected, abs=1e-9)
    assert (found.mutual_information >= 0).all()
    assert (found.mutual_information <= math.log(min(members, count + 1)) + 1e-9).all()
    assert all(((v >= 0) & (v <= 1)).all() for v in found.named().values())
    order = rng.permutation(members)
    for name, values in class_scores(told[order]).named().items():
        np.testing.assert_allclose(values, found.named()[name], atol=1e-12)


def test_members_who_agree_know_and_members_who_differ_do_not() -> None:
    split = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    found = class_scores(split)
    assert found.mutual_information[0] == pytest.approx(math.log(2), abs=1e-12)
    assert found.expected_entropy[0] == 0
    assert found.ambiguity[0] == 1
    found = class_scores(np.full((8, 1, 2), 1 / 3))
    assert found.mutual_information[0] == pytest.approx(0, abs=1e-12)
    assert found.named()["entropy"][0] == pytest.approx(1)
    # Sure that there is nothing: what is missing to 1 is an outcome.
    found = class_scores(np.zeros((4, 1, 3)))
    assert found.entropy[0] == found.ambiguity[0] == 0


def test_dropout_passes_are_samples_like_members() -> None:
    told = np.random.default_rng(1).dirichlet(np.ones(4), (8, 5, 6))[..., :3]
    both, flat = class_scores(told), class_scores(told.reshape(40, 6, 3))
    np.testing.assert_array_equal(both.mutual_information, flat.mutual_information)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = np.random.default_rng(1).dirichlet(np.ones(4), (8, 50))[..., :3]
    whole = class_scores(told)
    monkeypatch.setattr(classes, "_CHUNK", 7)
    np.testing.assert_array_equal(class_scores(told).mutual_information, whole.mutual_information)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 0.9])
def test_what_is_no_distribution_is_refused(bad: float) -> None:
    told = np.full((2, 3, 4), 0.2)
    told[1, 2, 0] = bad
    with pytest.raises(InputError, match="box 2"):
        class_scores(told)


@pytest.mark.parametrize("shape", [(3, 4), (0, 3, 4), (2, 3, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        class_scores(np.zeros(shape))


def test_distributions_are_read_at_the_boxes_cells() -> None:
    heat = np.zeros((2, 3, 4, 5), dtype=np.float32)
    heat[0, :, 1, 2] = (0.5, 0.25, 0.0)
    heat[1, :, 1, 2] = (1.0, 0.5, 0.5)
    found = distributions_at(heat, np.array([[1, 2], [0, 0]]))
    np.testing.assert_allclose(found[:, 0], [[0.5, 0.25, 0], [0.5, 0.25, 0.25]])
    assert not found[:, 1].any()
    with pytest.raises(InputError, match="off the map"):
        distributions_at(heat, np.array([[4, 0]]))
