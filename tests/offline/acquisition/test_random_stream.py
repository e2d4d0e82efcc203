"""The random stream: probabilities as told, blind to scores, and unbiased by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from offline.acquisition.cost import DEFAULTS, ClipFeatures
from offline.acquisition.draw import lot, sample_size
from offline.acquisition.estimate import horvitz_thompson
from offline.acquisition.records import SelectionReport, SelectorConfig, Shard
from offline.acquisition.selector import Selector
from tests.offline.acquisition.pools import (
    candidate,
    embeddings,
    mixed,
    nothing_labelled,
    sharded,
)

BOXES = DEFAULTS["boxes"]


def random_ids(report: SelectionReport) -> list[str]:
    return [one.clip_id for one in report.selections if one.stream == "random"]


def test_estimates_from_the_random_stream_are_unbiased_though_choices_are_not() -> None:
    n, turns = 40, 600
    clips = mixed(n, 3)
    # A value that the scores and the costs go with: what a selection by them would overstate.
    value = {c.clip_id: 100 * c.scores["mutual_information"] + c.features.boxes for c in clips}
    truth = sum(value.values()) / n
    shards = sharded(clips, embeddings(n))
    config = SelectorConfig(budget=400, seed=0, random_share=0.4, cost_exponent=0)
    estimates, errors, hits, all_chosen = [], [], dict.fromkeys(value, 0), []
    for seed in range(turns):
        picker = Selector(config.model_copy(update={"seed": seed}), BOXES, nothing_labelled())
        report = picker.select(shards)
        drawn = [one for one in report.selections if one.stream == "random"]
        assert {one.inclusion_probability for one in drawn} == {report.inclusion_probability}
        for one in drawn:
            hits[one.clip_id] += 1
        told = np.array([value[one.clip_id] for one in drawn])
        inclusion = np.full(len(drawn), report.inclusion_probability)
        found = horvitz_thompson(told, inclusion, report.population)
        estimates.append(found.mean)
        errors.append(found.standard_error)
        all_chosen.append(np.mean([value[one.clip_id] for one in report.selections]))
    spread = np.std(estimates) / np.sqrt(turns)
    assert abs(np.mean(estimates) - truth) < 4 * spread
    # The standard error that is told is the one that is found.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(estimates), rel=0.1)
    # Every clip is drawn as often as was told.
    p = report.inclusion_probability
    off = np.array(list(hits.values())) / turns - p
    assert np.abs(off).max() < 4.5 * np.sqrt(p * (1 - p) / turns)
    # And the plain mean of all that is labelled is what it is held against: far off.
    assert abs(np.mean(all_chosen) - truth) > 10 * spread


def test_the_draw_is_blind_to_scores_and_order() -> None:
    clips, vectors = mixed(80, 1), embeddings(80)
    config = SelectorConfig(budget=700, seed=11, random_share=0.5)
    picker = Selector(config, BOXES, nothing_labelled())
    first = random_ids(picker.select(sharded(clips, vectors)))
    other = [c.model_copy(update={"scores": {"mutual_information": 0.0}}) for c in clips]
    assert random_ids(picker.select(sharded(other, embeddings(80, 9)))) == first
    assert len(first) > 5


def test_another_seed_draws_others() -> None:
    shards = sharded(mixed(80, 1), embeddings(80))
    drawn = [
        set(random_ids(Selector(
            SelectorConfig(budget=700, seed=seed, random_share=0.5), BOXES, nothing_labelled()
        ).select(shards)))
        for seed in (1, 2)
    ]  # fmt: skip
    assert drawn[0] != drawn[1]
    assert lot(1, "random", "x") != lot(1, "coverage", "x")


def test_only_what_vehicles_sent_at_random_is_drawn_when_asked() -> None:
    clips = [
        c.model_copy(update={"fleet_stream": "random", "fleet_probability": 0.01})
        if k % 4 == 0 else c
        for k, c in enumerate(mixed(80, 1))
    ]  # fmt: skip
    config = SelectorConfig(budget=900, seed=5, random_from="fleet_random")
    report = Selector(config, BOXES, nothing_labelled()).select(sharded(clips, embeddings(80)))
    drawn = [one for one in report.selections if one.stream == "random"]
    assert report.population == 20 and report.pool == 80
    assert drawn and all(one.fleet_probability == 0.01 for one in drawn)
    assert report.inclusion_probability == len(drawn) / 20
    plain = sharded(mixed(80, 1), embeddings(80))
    with pytest.raises(InputError, match="no clip to draw from"):
        Selector(config, BOXES, nothing_labelled()).select(plain)


def test_the_sample_is_as_large_as_its_budget_pays_for_at_worst() -> None:
    assert sample_size(100, 100 * 10, 10, 200, 1000) == 20
    # One clip of 500 might be drawn: no more than two such fit into 1000.
    assert sample_size(100, 100 * 10, 500, 200, 1000) == 2
    assert sample_size(5, 50, 10, 10_000, 10_000) == 5
    with pytest.raises(InputError, match="pays for no clip"):
        sample_size(100, 100 * 10, 10, 5, 1000)


def test_a_selection_without_a_random_stream_is_refused() -> None:
    shards = sharded([candidate(0, features=ClipFeatures(frames=1, boxes=500))], embeddings(1))
    with pytest.raises(InputError, match="random stream: its budget of 20"):
        Selector(SelectorConfig(budget=100, seed=0), BOXES, nothing_labelled()).select(shards)
    with pytest.raises(InputError, match="no clip"):
        Selector(SelectorConfig(budget=9, seed=0), BOXES, nothing_labelled()).select([])


def test_horvitz_thompson_by_hand_and_bad_input() -> None:
    found = horvitz_thompson(np.array([1.0, 3.0]), np.array([0.5, 0.5]), 4)
    assert (found.total, found.mean) == (8.0, 2.0)
    assert found.standard_error == pytest.approx(np.sqrt(0.5 * 2 / 2))
    mixed_up = horvitz_thompson(np.array([1.0, 3.0]), np.array([0.5, 0.25]), 6)
    assert mixed_up.total == 14 and mixed_up.standard_error is None
    for values, inclusion, population in (
        ([1.0], [0.0], 4), ([1.0], [1.1], 4), ([np.nan], [0.5], 4), ([1.0, 2.0], [0.5], 4),
        ([1.0, 2.0], [0.5, 0.5], 1), ([], [], 0),
    ):  # fmt: skip
        with pytest.raises(InputError):
            horvitz_thompson(np.array(values), np.array(inclusion), population)


def test_a_shard_tells_of_its_own_rows() -> None:
    with pytest.raises(InputError, match="for 2 clips"):
        Shard((candidate(0), candidate(1)), embeddings(3), "m")
