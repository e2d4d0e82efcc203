"""The selection: budget, quotas, distances, and the same whatever the order of the pool."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from contracts.errors import InputError
from offline.acquisition.cost import DEFAULTS, ClipFeatures
from offline.acquisition.records import (
    Labelled,
    Quota,
    Reason,
    Selection,
    SelectionReport,
    SelectorConfig,
    Shard,
)
from offline.acquisition.selector import Selector
from offline.acquisition.shortlist import Entry, Shortlist
from offline.acquisition.tables import selection_tables
from tests.offline.acquisition.pools import (
    SPACE,
    candidate,
    clip_id,
    embeddings,
    mixed,
    nothing_labelled,
    sharded,
)

BOXES = DEFAULTS["boxes"]
NIGHT = Quota(kind="slice", name="tod=night", at_least=6)


def chosen_by(config: SelectorConfig, shards: list[Shard]) -> SelectionReport:
    return Selector(config, BOXES, nothing_labelled()).select(shards)


@settings(max_examples=25)
@given(
    st.integers(0, 2**31), st.integers(20, 60), st.integers(200, 1500), st.integers(0, 9),
    st.lists(st.integers(0, 20), max_size=3), st.sampled_from([0.0, 0.5]), st.integers(5, 80),
)  # fmt: skip
def test_any_order_and_any_shards_give_the_same_and_stay_within_budget(
    seed: int, n: int, budget: int, at_least: int, cuts: list[int], apart: float, shortlist: int
) -> None:
    clips, vectors = mixed(n, seed), embeddings(n, seed)
    config = SelectorConfig(
        budget=budget, seed=seed, min_gap_s=5, min_distance=apart, shortlist=shortlist,
        random_share=0.4, score_weights={"mutual_information": 2, "flips": 1},
        quotas=(
            Quota(kind="cause", name="hard_brake", at_least=at_least, at_most=at_least + 2),
            Quota(kind="slice", name="tod=night", at_least=at_least),
        ),
    )  # fmt: skip
    try:
        report = chosen_by(config, sharded(clips, vectors))
    except InputError as error:
        assert "pays for no clip" in error.message
        return
    order = np.random.default_rng(seed + 1).permutation(n)
    mixed_up = sharded([clips[k] for k in order], vectors[order], sorted(cuts))
    assert chosen_by(config, mixed_up) == report

    by_id = {c.clip_id: c for c in clips}
    assert len({one.clip_id for one in report.selections}) == len(report.selections)
    costs = [BOXES.expected(by_id[one.clip_id].features) for one in report.selections]
    assert sum(costs) <= budget
    assert report.spent == pytest.approx(sum(costs)) and report.left >= 0
    assert report.spent + report.left == pytest.approx(budget)
    assert report.by_stream["random"].clips >= 1
    assert sum(t.clips for t in report.by_stream.values()) == len(report.selections)
    assert sum(t.clips for t in report.by_reason.values()) == len(report.selections)
    for outcome in report.quotas:
        quota = outcome.quota
        held = [one for one in report.selections if quota.holds(by_id[one.clip_id])]
        assert outcome.chosen == len(held)
        assert (outcome.unmet is None) == (outcome.chosen >= quota.at_least)
        directed = [one for one in held if one.stream != "random"]
        assert (
            quota.at_most is None
            or not directed
            or len(held) <= max(quota.at_most, len(held) - len(directed))
        )


def test_the_report_tells_json_and_people_the_same() -> None:
    config = SelectorConfig(budget=700, seed=2, random_share=0.3, quotas=(NIGHT,))
    report = chosen_by(config, sharded(mixed(60), embeddings(60)))
    assert SelectionReport.model_validate_json(report.model_dump_json()) == report
    stream = io.StringIO()
    Console(file=stream, width=160).print(selection_tables(report))
    shown = stream.getvalue()
    assert all(one.clip_id[:12] in shown for one in report.selections)
    assert "slice:tod=night" in shown and f"{report.spent:g} of 700 boxes" in shown
    assert {one.stream for one in report.selections} == {
        "random", "quota", "uncertainty", "coverage"
    }  # fmt: skip
    for one in report.selections:
        assert (one.inclusion_probability is not None) == (one.stream == "random")
        main = {"random": "random", "quota": "quota", "uncertainty": "score"}
        assert one.reasons[0].kind == main.get(one.stream, "coverage")


def test_uncertain_clips_win_then_novel_ones_then_cheap_ones() -> None:
    east, north = np.eye(6, dtype=np.float32)[:2]

    def first(config: dict[str, object], *clips: tuple[float, int, np.ndarray]) -> int:
        """Which of the clips comes first, once a sure one in the east is labelled."""
        told = [
            candidate(
                k, scores={"mutual_information": score},
                features=ClipFeatures(frames=1, boxes=boxes),
            )
            for k, (score, boxes, _) in enumerate(clips)
        ]  # fmt: skip
        labelled = Labelled(frozenset({clip_id(99)}), np.array([east]), SPACE)
        # The random stream draws one of many sure clips that all lie in the east.
        sure = [candidate(k, scores={"mutual_information": 0.0}) for k in range(100, 400)]
        vectors = np.array([v for _, _, v in clips] + [east] * 300, dtype=np.float32)
        settings: dict[str, object] = {
            "budget": 60, "seed": 1, "random_share": 0.19, "coverage_share": 0
        }  # fmt: skip
        report = Selector(SelectorConfig.model_validate(settings | config), BOXES, labelled).select(
            sharded(told + sure, vectors)
        )
        directed = [one for one in report.selections if one.stream == "uncertainty"]
        return [clip_id(k) for k in range(len(clips))].index(directed[0].clip_id)

    assert first({}, (0.3, 9, north), (0.4, 9, north)) == 1
    assert first({}, (0.4, 9, north), (0.3, 9, north)) == 0
    near = (north + 3 * east) / np.sqrt(10, dtype=np.float32)
    assert first({"novelty_exponent": 1}, (0.4, 9, near), (0.3, 9, north)) == 1
    assert first({"novelty_exponent": 0}, (0.4, 9, near), (0.3, 9, north)) == 0
    assert first({}, (0.4, 30, north), (0.3, 5, north)) == 1
    assert first({"cost_exponent": 0}, (0.4, 30, north), (0.3, 5, north)) == 0


def test_coverage_goes_where_no_score_points() -> None:
    rng = np.random.default_rng(0)
    # One crowd that is uncertain, and one clip far off of which all members are sure.
    vectors = (np.eye(6)[0] + rng.normal(0, 0.01, (40, 6))).astype(np.float32)
    vectors[17] = np.eye(6)[3]
    clips = [candidate(k, scores={"mutual_information": float(k != 17)}) for k in range(40)]
    config = SelectorConfig(budget=110, seed=0, coverage_share=0.2)
    report = chosen_by(config, sharded(clips, vectors))
    (found,) = [one for one in report.selections if one.clip_id == clip_id(17)]
    assert found.stream in ("random", "coverage")
    assert report.by_stream["coverage"].clips >= 1


def test_a_quota_is_met_when_the_cheap_ones_pay_for_it() -> None:
    # The uncertain night clips cost 101 each, the sure ones 11: four of which just fit.
    clips = [
        candidate(
            k, slices=("tod=night",), scores={"mutual_information": 0.9 if k < 4 else 0.1},
            features=ClipFeatures(frames=1, boxes=100 if k < 4 else 10),
        )
        for k in range(8)
    ] + [candidate(k, features=ClipFeatures(frames=1, boxes=1)) for k in range(8, 400)]  # fmt: skip
    quota = Quota(kind="slice", name="tod=night", at_least=4)
    config = SelectorConfig(
        budget=140, seed=3, random_share=0.03, random_most=1, quotas=(quota,), cost_exponent=0
    )
    report = chosen_by(config, sharded(clips, embeddings(400)))
    assert report.quotas[0].unmet is None and report.quotas[0].chosen == 4
    # What is left over the cheap ones goes to one uncertain clip.
    costs = sorted(one.expected_cost for one in report.selections if one.stream == "quota")
    assert costs == [11, 11, 11, 101]


@pytest.mark.parametrize(
    ("quota", "budget", "gap_s", "why"),
    [
        (Quota(kind="cause", name="never", at_least=1), 300, 0, "candidates"),
        (Quota(kind="cause", name="rare", at_least=9), 900, 0, "candidates"),
        (Quota(kind="cause", name="rare", at_least=8), 60, 0, "budget"),
        (Quota(kind="cause", name="rare", at_least=8), 900, 60, "blocked"),
    ],
)
def test_an_unmet_quota_says_why(quota: Quota, budget: int, gap_s: float, why: str) -> None:
    clips = [
        candidate(
            k, causes=("rare",) if k < 8 else (), drive_id="one" if k < 8 else f"d{k}",
            start_ns=k * 20 * 10**9, end_ns=k * 20 * 10**9 + 10 * 10**9,
        )
        for k in range(60)
    ]  # fmt: skip
    config = SelectorConfig(
        budget=budget, seed=1, random_share=0.2, random_most=1, quotas=(quota,), min_gap_s=gap_s,
        coverage_share=0,
    )  # fmt: skip
    (outcome,) = chosen_by(config, sharded(clips, embeddings(60))).quotas
    assert outcome.unmet == why and outcome.chosen < quota.at_least


def test_quotas_beyond_the_shortlist_are_told_as_such() -> None:
    # More clips of the cause than memory holds, all but a few in one place and one drive.
    clips = [candidate(k, causes=("rare",), drive_id="one") for k in range(300)]
    quota = Quota(kind="cause", name="rare", at_least=3)
    config = SelectorConfig(
        budget=900, seed=1, random_most=1, quotas=(quota,), min_gap_s=1, shortlist=4
    )
    (outcome,) = chosen_by(config, sharded(clips, embeddings(300))).quotas
    assert outcome.unmet == "shortlist" and outcome.in_pool == 300


def test_directed_clips_keep_their_distance() -> None:
    clips, vectors = mixed(60), embeddings(60)
    config = SelectorConfig(
        budget=900, seed=4, random_share=0.1, min_distance=0.9, min_gap_s=5.0,
    )  # fmt: skip
    report = chosen_by(config, sharded(clips, vectors))
    row = {c.clip_id: k for k, c in enumerate(clips)}
    rows = [row[one.clip_id] for one in report.selections]
    for place, one in enumerate(report.selections):
        if one.stream != "random":
            before = rows[:place]
            here = rows[place]
            assert np.linalg.norm(vectors[before] - vectors[here], axis=1).min() > 0.9 - 0.01
            assert not any(
                clips[b].drive_id == clips[here].drive_id
                and abs(clips[b].start_ns - clips[here].start_ns) < 15 * 10**9
                for b in before
            )


def test_what_is_labelled_is_neither_chosen_nor_counted() -> None:
    clips, vectors = mixed(60), embeddings(60)
    done = frozenset(c.clip_id for c in clips[:20])
    labelled = Labelled(done | {clip_id(999)}, vectors[:20], SPACE)
    config = SelectorConfig(budget=10_000, seed=4, random_share=0.1)
    report = Selector(config, BOXES, labelled).select(sharded(clips, vectors))
    assert (report.pool, report.population, report.already_labelled) == (40, 40, 20)
    assert {one.clip_id for one in report.selections} == {c.clip_id for c in clips[20:]}


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 6), st.integers(0, 99))
def test_a_shortlist_holds_the_lowest_and_little_more(
    keys: list[int], size: int, seed: int
) -> None:
    entries = [Entry(candidate(k), 1, 0.5, embeddings(1)[0]) for k in range(len(keys))]
    held = Shortlist(size)
    for k in np.random.default_rng(seed).permutation(len(keys)):
        held.offer(keys[k], entries[k])
        assert len(held._held) < 2 * size
    lowest = sorted(range(len(keys)), key=lambda k: (keys[k], clip_id(k)))[:size]
    assert [e.candidate.clip_id for e in held.entries()] == [clip_id(k) for k in lowest]
    assert held.offered == len(keys)


def test_shards_are_read_one_by_one() -> None:
    def shards() -> Iterator[Shard]:
        for number in range(30):
            assert not any(shard() is not None for shard in seen[:-1]), "an old shard is held"
            clips = [candidate(10 * number + k) for k in range(10)]
            (shard,) = sharded(clips, embeddings(10, number))
            seen.append(weakref.ref(shard.embeddings))
            yield shard

    seen: list[weakref.ref[Any]] = []
    config = SelectorConfig(budget=300, seed=0, shortlist=20, random_most=5)
    report = Selector(config, BOXES, nothing_labelled()).select(shards())
    assert report.pool == 300 and report.by_stream["random"].clips == 5


def test_bad_pools_are_refused() -> None:
    config = SelectorConfig(budget=300, seed=0, random_share=0.4)
    clips, vectors = mixed(20), embeddings(20)
    cases: list[tuple[list[Shard], str]] = [
        ([Shard(tuple(clips), vectors, "b" * 64)], "shard 0: embeddings of model bbb"),
        (sharded([*clips, clips[0]], embeddings(21)), "came twice"),
        (sharded([*clips, candidate(77, scores={})], embeddings(21)), "no score mutual_inform"),
        ([*sharded(clips, vectors), Shard((candidate(88),), np.zeros((1, 3)), SPACE)], "shard 1"),
        (sharded(clips, vectors * np.float32(np.nan)), "not finite"),
    ]
    for shards, message in cases:
        with pytest.raises(InputError, match=message):
            chosen_by(config, shards)


def test_bad_records_are_refused() -> None:
    with pytest.raises(InputError, match="labelled"):
        Labelled(frozenset(), np.zeros(3), SPACE)
    with pytest.raises(ValidationError, match="two for the same"):
        SelectorConfig(budget=1, seed=0, quotas=(NIGHT, NIGHT))
    with pytest.raises(ValidationError, match="exceed the budget"):
        SelectorConfig(budget=1, seed=0, random_share=0.9)
    with pytest.raises(ValidationError):
        SelectorConfig(budget=1, seed=0, random_share=0)
    with pytest.raises(ValidationError, match="below at_least"):
        Quota(kind="cause", name="x", at_least=3, at_most=2)
    with pytest.raises(ValidationError):
        candidate(1, scores={"mutual_information": 1.5})
    with pytest.raises(ValidationError, match="ends after"):
        candidate(1, end_ns=-1)
    reason = Reason(kind="score", name="flips", value=0.5)
    with pytest.raises(ValidationError, match="random stream"):
        Selection(
            clip_id=clip_id(1), stream="coverage", reasons=(reason,), inclusion_probability=0.5,
            expected_cost=1,
        )  # fmt: skip
