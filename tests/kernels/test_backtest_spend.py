"""The fleet's spend with a spec added to those that run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.clock import NS_PER_S
from contracts.signal_log import LoggedFire
from kernels.backtest.spend import fleet_spend
from tests.kernels.test_backtest import BRAKES, LIMITS, _replay_of, braking, header

HOURS = 100.0 / 3600.0


def test_what_kept_clips_hold_already_costs_nothing_more(tmp_path: Path) -> None:
    # 100 s of driving; the new spec asks for clips around 10, 40 and 70 s.
    ticks = braking(0, 5001, (10, 40, 70))
    (drive,) = _replay_of(tmp_path / "a", header(), ticks)
    at_40 = next(f.cause for f in drive.fires if f.cause.fired_mono_ns // NS_PER_S == 40)
    other = at_40.model_copy(update={"trigger_id": "other", "spec_digest": "e" * 64})
    fires = (
        LoggedFire(cause=other, outcome="kept"),
        LoggedFire(cause=at_40.model_copy(update={"trigger_id": "shy"}), outcome="budget_clips"),
    )
    drives = _replay_of(tmp_path / "b", header(), replace(ticks, fires=fires))
    spend = fleet_spend([BRAKES], drives, [], 8.0, {"": 2_000_000}, vehicles=10)
    assert (spend.vehicles, spend.sampled) == (10, 1)
    assert spend.clips_per_day_before == pytest.approx(1 / HOURS * 8 * 10)
    assert spend.clips_per_day_after == pytest.approx(3 / HOURS * 8 * 10)
    assert spend.bytes_per_day_after == pytest.approx(3 / HOURS * 8 * 10 * 2e6)


def test_vehicles_above_their_own_limits_are_counted(tmp_path: Path) -> None:
    tight = LIMITS.model_copy(update={"clips_per_day": 800})
    clips_a_day = 3 / HOURS * 8
    assert clips_a_day > 800
    for limits, over in ((LIMITS.model_copy(update={"clips_per_day": 10_000}), 0), (tight, 1)):
        folder = tmp_path / str(over)
        drives = _replay_of(folder, header(limits=limits), braking(0, 5001, (10, 40, 70)))
        assert fleet_spend([BRAKES], drives, [], 8.0, {}).vehicles_over == over


def test_a_parked_fleet_has_no_rate(tmp_path: Path) -> None:
    drives = _replay_of(tmp_path / "a", header(), braking(0, 1, ()))
    spend = fleet_spend([BRAKES], drives, [], 8.0, {"": 1})
    assert spend.clips_per_day_before is None
    assert spend.bytes_per_day_after is None
