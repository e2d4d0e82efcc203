"""Costs: the stated defaults, and what records make of them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.errors import InputError
from offline.acquisition.cost import (
    DEFAULTS,
    ClipFeatures,
    CostModel,
    CostRecord,
    fitted,
)


def records(true: CostModel, n: int, noise: float = 0.0) -> list[CostRecord]:
    rng = np.random.default_rng(4)
    features = [
        ClipFeatures(
            frames=int(rng.integers(1, 60)), boxes=(boxes := int(rng.integers(0, 400))),
            rare_boxes=int(rng.integers(0, boxes + 1)),
        )
        for _ in range(n)
    ]  # fmt: skip
    return [
        CostRecord(features=f, cost=true.expected(f) * float(np.exp(rng.normal(0, noise))))
        for f in features
    ]


def test_the_defaults_are_as_stated() -> None:
    clip = ClipFeatures(frames=10, boxes=20, rare_boxes=2)
    assert DEFAULTS["boxes"].expected(clip) == 21
    assert DEFAULTS["labeller_s"].expected(clip) == 60 + 100 + 20 * 114 + 2 * 57
    assert all(unit == model.unit and model.records == 0 for unit, model in DEFAULTS.items())


def test_records_decide_what_they_tell_of() -> None:
    start = DEFAULTS["labeller_s"]
    true = CostModel(unit="labeller_s", per_clip=90, per_frame=4, per_box=9, per_rare_box=20)
    found = fitted(records(true, 3000, 0.2), start)
    assert found.records == 3000
    assert found.per_box == pytest.approx(9, rel=0.1)
    assert found.per_rare_box == pytest.approx(20, rel=0.1)
    assert found.per_frame == pytest.approx(4, rel=0.3)
    # One clip of many boxes tells of boxes, and hardly of what opening a clip takes.
    clip = ClipFeatures(frames=1, boxes=300)
    one = fitted([CostRecord(features=clip, cost=3000)], start)
    assert one.per_box == pytest.approx(10, rel=0.1)
    assert one.per_clip == pytest.approx(60, rel=0.1)
    assert one.per_rare_box == pytest.approx(57)
    firm = fitted([CostRecord(features=clip, cost=3000)], start, trust_records=1e9)
    assert firm.per_box == pytest.approx(114, rel=0.01)
    assert fitted([], start) == start
    same = fitted(records(start, 50), start)
    assert same.per_box == pytest.approx(start.per_box, rel=1e-6)
    assert same.per_clip == pytest.approx(start.per_clip, rel=1e-4)


def test_no_cost_falls_below_zero() -> None:
    features = [ClipFeatures(frames=f, boxes=100 - f) for f in range(1, 100)]
    cheap = [CostRecord(features=f, cost=float(f.boxes)) for f in features]
    found = fitted(cheap, DEFAULTS["labeller_s"], trust_records=0.01)
    assert found.per_frame == pytest.approx(0, abs=0.1)
    assert min(found.per_clip, found.per_box, found.per_rare_box) >= 0
    assert found.expected(ClipFeatures(frames=0, boxes=0)) > 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="trust_records"):
        fitted([], DEFAULTS["boxes"], trust_records=0)
    with pytest.raises(ValidationError):
        CostRecord(features=ClipFeatures(frames=1, boxes=1), cost=float("nan"))
    with pytest.raises(ValidationError):
        CostModel(unit="boxes", per_clip=0, per_frame=0, per_box=1, per_rare_box=0)
