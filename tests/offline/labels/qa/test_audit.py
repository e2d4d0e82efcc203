"""The purse and the audits: false alarms under continuous peeking, power, delay, restoring."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.qa.audit import (
    AuditPlan,
    AuditState,
    Change,
    drawn,
    observed,
    thresholds_at,
)
from offline.labels.qa.betting import bet, full_purse

TARGET = 0.98


def alarms(values: Float64s, limit: float, alpha: float = 0.05) -> Float64s:
    """When each run [runs, looks] first alarms, looked at after every value; inf where never."""
    purse = full_purse((len(values),))
    first = np.full(len(values), np.inf)
    for look, column in enumerate(values.T):
        purse = bet(purse, column, limit)
        first[(purse.evidence >= 1 / alpha) & np.isinf(first)] = look + 1
    return first


def test_false_alarms_are_rare_however_long_one_looks() -> None:
    rng = np.random.default_rng(1)
    looks, runs = 1500, 2000
    at_target = (rng.random((runs, looks)) < 1 - TARGET).astype(np.float64)
    assert np.isfinite(alarms(at_target, 1 - TARGET)).mean() <= 0.05
    # Whole tracks go wrong together, in shares: still expected to be 2 %.
    shares = rng.beta(0.02, 0.98, (runs, looks))
    assert np.isfinite(alarms(shares, 1 - TARGET)).mean() <= 0.05
    # A mean that wanders, but is at the limit at most whatever came before.
    mean = (1 - TARGET) * (0.5 + 0.5 * np.sin(np.arange(looks) / 40))
    wandering = (rng.random((runs, looks)) < mean).astype(np.float64)
    assert np.isfinite(alarms(wandering, 1 - TARGET)).mean() <= 0.05


def test_a_fall_of_precision_is_seen_soon_also_after_long_good_times() -> None:
    rng = np.random.default_rng(2)
    bad = (rng.random((300, 600)) < 0.1).astype(np.float64)
    at_once = alarms(bad, 1 - TARGET)
    assert np.isfinite(at_once).all()
    assert np.median(at_once) < 80
    good = (rng.random((300, 1000)) < 0.005).astype(np.float64)
    late = alarms(np.concatenate([good, bad], axis=1), 1 - TARGET)
    assert np.isfinite(late).all()
    assert np.median(late[late > 1000]) - 1000 < 250


def audited(
    precision_by_level: list[float], seed: int, tracks: int, plan: AuditPlan
) -> tuple[AuditState, list[Change]]:
    """A stream in which a track's level tells its precision; all levels are equally frequent."""
    rng = np.random.default_rng(seed)
    state, changes = AuditState(), []
    for _ in range(tracks):
        level = int(rng.integers(0, plan.levels))
        right = float(rng.random() < precision_by_level[level])
        state, change = observed(state, plan, right, level)
        changes += [change] if change else []
    return state, changes


def test_a_bad_level_is_left_and_a_good_one_kept() -> None:
    plan = AuditPlan(levels=2)
    for seed in range(10):
        # Level 0 accepts both kinds: 94 % right; level 1 the good ones only.
        state, changes = audited([0.88, 0.999], seed, 1500, plan)
        assert changes == ["tightened"]
        assert state.level == 1


def test_no_level_is_left_without_need() -> None:
    plan = AuditPlan(levels=3)
    changed = sum(bool(audited([0.985] * 3, seed, 600, plan)[1]) for seed in range(60))
    assert changed <= 3


def test_what_became_good_again_is_restored_and_only_that() -> None:
    plan = AuditPlan(levels=1)
    state = AuditState()
    rng = np.random.default_rng(3)
    while state.level == 0:
        state, _ = observed(state, plan, float(rng.random() < 0.9), 0)
    assert thresholds_at({"car": 0.9}, state.level, plan) == {"car": None}
    for _ in range(1500):
        state, change = observed(state, plan, float(rng.random() < 0.98), 0)
        assert change is None
    needed = 0
    while state.level:
        state, _ = observed(state, plan, float(rng.random() < 0.999), 0)
        needed += 1
    assert 100 < needed < 2500
    assert state.loosened == 1


def test_thresholds_tighten_towards_one() -> None:
    plan = AuditPlan(levels=2)
    assert thresholds_at({"a": 0.9, "b": None}, 0, plan) == {"a": pytest.approx(0.9), "b": None}
    assert thresholds_at({"a": 0.9, "b": None}, 1, plan) == {"a": pytest.approx(0.975), "b": None}
    assert thresholds_at({"a": 0.9}, 2, plan) == {"a": None}


def test_draws_are_repeatable_and_of_their_share() -> None:
    chosen = [drawn("night", f"clip{n // 10}", n % 10, 0.2) for n in range(5000)]
    assert np.mean(chosen) == pytest.approx(0.2, abs=0.02)
    assert chosen[:50] == [drawn("night", f"clip{n // 10}", n % 10, 0.2) for n in range(50)]
    assert chosen != [drawn("day", f"clip{n // 10}", n % 10, 0.2) for n in range(5000)]
    assert not drawn("night", "clip", 1, 0)
    assert drawn("night", "clip", 1, 1)


def test_what_is_no_audit_is_refused() -> None:
    with pytest.raises(InputError, match="level"):
        observed(AuditState(), AuditPlan(levels=1), 1.0, 1)
    with pytest.raises(InputError, match="value"):
        bet(full_purse(), 1.5, 0.5)
    with pytest.raises(InputError, match="share"):
        drawn("a", "b", 0, 2)
