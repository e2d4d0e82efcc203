"""Systematic disagreement: what opens a finding, of which kind, and how often wrongly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.ids import sha256_hex
from offline.labels.qa.findings import Cell, FindingKind, Reviewed, e_bh, findings
from offline.labels.qa.misses import Group

CAR = Cell.of(Group("car", 0, 30))
BIKE = Cell.of(Group("cyclist", 30, 60), "tod=night")


def reviews(
    cell: Cell, count: int, wrong: float, split: float, seed: int, confidence: float = 0.9
) -> list[Reviewed]:
    rng = np.random.default_rng(seed)
    return [
        Reviewed(
            sha256_hex(f"{cell}{seed}{n}".encode()), cell, float(rng.random() < wrong), confidence,
            float(rng.random() < split),
        )
        for n in range(count)
    ]  # fmt: skip


def test_a_model_that_is_wrong_where_people_agree_is_a_blind_spot() -> None:
    told = [*reviews(CAR, 300, 0.1, 0.05, 1), *reviews(BIKE, 80, 0.5, 0.05, 2)]
    (found,) = findings(told)
    assert found.kind is FindingKind.MODEL_BLIND_SPOT
    assert found.cell == BIKE
    assert found.reviews == 80
    assert found.auto_wrong > 3 * found.auto_wrong_expected
    assert [ask.what for ask in found.asks] == ["trigger", "gold_clips"]
    assert found.asks[0].when is not None
    assert found.asks[0].when.classes == ("cyclist",)
    assert found.examples
    assert set(found.examples) <= {
        one.task_id for one in told if one.auto_wrong and one.cell == BIKE
    }


def test_people_who_split_are_a_drift_of_the_guideline_whatever_the_model_does() -> None:
    told = [*reviews(CAR, 300, 0.1, 0.05, 1), *reviews(BIKE, 100, 0.5, 0.4, 2)]
    (found,) = findings(told)
    assert found.kind is FindingKind.GUIDELINE_DRIFT
    assert not found.changed_over_time
    assert [ask.what for ask in found.asks] == ["guideline", "gold_clips"]


def test_people_who_changed_are_found_though_they_split_no_more_than_usual_elsewhere() -> None:
    calm = reviews(CAR, 60, 0.1, 0.0, 1)
    (found,) = findings([*calm, *reviews(CAR, 150, 0.1, 0.3, 2)])
    assert found.kind is FindingKind.GUIDELINE_DRIFT
    assert found.changed_over_time


def test_nothing_is_found_where_confidences_mean_what_they_say() -> None:
    opened = 0
    for seed in range(60):
        told = [
            review
            for number in range(8)
            for review in reviews(
                Cell.of(Group(f"class{number}", 0, 30)), 60, 0.1, 0.08, 100 * seed + number
            )
        ]
        opened += bool(findings(told))
    assert opened <= 3


@given(evidence=st.lists(st.floats(0, 1e4), max_size=12))
def test_e_bh_is_the_step_up_rule(evidence: list[float]) -> None:
    values = np.array(evidence)
    chosen = e_bh(values, 0.05)
    n, k = len(evidence), len(chosen)
    assert all(values[one] >= n / (k * 0.05) for one in chosen)
    rest = sorted((v for i, v in enumerate(evidence) if i not in chosen), reverse=True)
    assert all(v < n / ((k + more) * 0.05) for more, v in enumerate(rest, start=1))
    assert all(values[a] >= values[b] for a, b in pairwise(chosen))


def test_findings_come_strongest_first_and_shares_are_checked() -> None:
    told = [*reviews(CAR, 60, 0.6, 0.02, 1), *reviews(BIKE, 200, 0.9, 0.02, 2)]
    assert [one.cell for one in findings(told)] == [BIKE, CAR]
    assert findings([]) == ()
    with pytest.raises(InputError, match="lie in"):
        findings([Reviewed("a", CAR, 2.0, 0.5)])
