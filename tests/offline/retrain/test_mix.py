"""The mined mix, weighed towards the road."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from offline.retrain.mix import balanced, reference_of

NIGHT_RAIN = {"tod": "night", "weather": "rain"}
NIGHT = {"tod": "night", "weather": "clear"}
DAY = {"tod": "day", "weather": "clear"}


def test_the_random_stream_tells_the_road_whatever_it_was_drawn_by() -> None:
    # Nights were drawn four times as often as days.
    reference = reference_of([DAY, NIGHT], np.array([0.1, 0.4]), ["tod"])
    assert reference == {"tod": {"day": pytest.approx(0.8), "night": pytest.approx(0.2)}}


def test_a_mix_agrees_with_every_tag_at_once() -> None:
    tags = [NIGHT_RAIN] * 40 + [NIGHT] * 30 + [DAY] * 30
    reference = {"tod": {"day": 0.6, "night": 0.4}, "weather": {"clear": 0.8, "rain": 0.2}}
    mix = balanced(tags, reference)
    assert not mix.missed
    assert mix.shares["tod"]["day"] == pytest.approx(0.6, abs=1e-6)
    assert mix.shares["weather"]["rain"] == pytest.approx(0.2, abs=1e-6)
    assert mix.weights.mean() == pytest.approx(1.0)


def test_bounds_hold_and_what_they_cost_is_told() -> None:
    tags = [NIGHT] * 99 + [DAY]
    mix = balanced(tags, {"tod": {"day": 0.9, "night": 0.1}}, 0.5, 3.0)
    assert mix.weights.max() <= 3.0 + 1e-9 and mix.weights.min() >= 0.5 - 1e-9
    assert mix.missed["tod=day"] > 0.8


def test_a_condition_that_was_never_mined_is_told_as_missed() -> None:
    mix = balanced([DAY, DAY], {"weather": {"clear": 0.9, "snow": 0.1}})
    assert mix.missed == {"weather=clear": pytest.approx(-0.1), "weather=snow": 0.1}


def test_weights_that_are_given_hold_within_a_condition() -> None:
    tags, given = [NIGHT] * 4 + [DAY] * 2, np.array([1.0, 1.0, 2.0, 4.0, 1.0, 3.0])
    mix = balanced(tags, {"tod": {"day": 0.5, "night": 0.5}}, given=given)
    assert mix.weights[:4] / mix.weights[0] == pytest.approx(given[:4])
    assert mix.weights[5] / mix.weights[4] == pytest.approx(3.0)
    assert mix.shares["tod"]["day"] == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(InputError, match="a weight over 0"):
        balanced(tags, {}, given=np.zeros(6))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"tod": {"day": 0.5, "night": 0.6}}, "add to 1"),
        ({"season": {"winter": 1.0}}, "no frame has this tag"),
    ],
)
def test_a_reference_that_cannot_be_met_is_refused(
    reference: dict[str, dict[str, float]], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        balanced([DAY, NIGHT], reference)


def test_nothing_to_weigh_or_draw_is_refused() -> None:
    with pytest.raises(InputError, match="no frame to weigh"):
        balanced([], {})
    with pytest.raises(InputError, match="do not hold 1"):
        balanced([DAY], {}, 2.0, 3.0)
    with pytest.raises(InputError, match="for each of 1 frames"):
        reference_of([DAY], np.array([0.0]), ["tod"])
