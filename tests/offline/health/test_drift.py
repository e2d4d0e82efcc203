from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from contracts.errors import InputError
from offline.health.discoveries import adjusted
from offline.health.drift import ALL, Watch, drift
from offline.health.observed import Observation
from offline.health.records import EMBEDDING
from tests.offline.health.clips import SPACE, period


def test_where_nothing_drifts_alarms_are_as_rare_as_stated() -> None:
    """Clips of a drive are alike and of unequal probability; 5 cohorts of 2 measures each."""
    repeats = 150
    alarms = sum(
        bool(drift(period("now", k, drives=12), period("before", k), SPACE,
                   Watch(rounds=399, seed=k)).drifted)
        for k in range(repeats)
    )  # fmt: skip
    assert alarms / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_a_shift_of_one_cohort_is_found_there() -> None:
    report = drift(
        period("now", 1, drives=40, shift=2.5, shifted="tod=night"), period("before", 1, drives=60),
        SPACE,
    )  # fmt: skip
    told = {(each.cohort, each.measure) for each in report.drifted}
    assert ("tod=night", EMBEDDING) in told
    assert ("tod=day", EMBEDDING) not in told
    assert report.drifted[0].cohort == "tod=night"
    assert report.drifted[0].before is None


def test_a_figure_that_moves_is_told_with_both_means() -> None:
    report = drift(period("now", 2, drives=40, cars=2.0), period("before", 2, drives=60), SPACE)
    found = next(t for t in report.drifted if (t.cohort, t.measure) == (ALL, "cars a frame"))
    assert found.before is not None
    assert found.now is not None
    assert found.now - found.before == pytest.approx(2.0, abs=0.6)
    moved = [each for each in report.tests if each.measure == "cars a frame"]
    assert all(each.drifted for each in moved)


def test_what_was_drawn_rarely_counts_for_more() -> None:
    """Night drawn ten times as often by chance alone is no drift, once weighed."""
    before = period("before", 3, drives=60)
    now = []
    for clip in period("now", 3, drives=60):
        night = "tod=night" in clip.tags
        for k in range(10 if night else 1):
            name = f"{clip.clip_id[:-1]}{k}"
            now.append(replace(clip, clip_id=name, probability=0.5 if night else 0.05))
    report = drift(now, before, SPACE)
    whole = next(t for t in report.tests if (t.cohort, t.measure) == (ALL, EMBEDDING))
    assert not whole.drifted


def test_a_spec_is_compared_with_what_its_trigger_brought_before() -> None:
    def asked(name: str, version: int, shift: float) -> list[Observation]:
        return period(name, 4, stream="triggered", specs=(("hard-brake", version),), shift=shift)

    report = drift(
        period("now", 4) + asked("now-asked", 4, 3.0),
        period("before", 4) + asked("before-asked", 3, 0.0), SPACE,
    )  # fmt: skip
    assert {each.cohort for each in report.drifted} == {"spec=hard-brake v4"}


def test_a_cohort_without_a_reference_is_told_and_not_judged() -> None:
    now = period("now", 5)
    port = [replace(clip, tags=("region=port",)) for clip in now[:20]]
    report = drift(now[20:] + port, period("before", 5), SPACE)
    assert [each.cohort for each in report.not_tested] == ["region=port"]
    assert report.not_tested[0].reason == "the reference holds 0 clips of 0 drives"


def test_two_drives_against_two_are_no_all_clear() -> None:
    report = drift(period("now", 6, drives=2, shift=9), period("before", 6, drives=2), SPACE)
    whole = next(t for t in report.tests if t.cohort == ALL)
    assert whole.p_value is None
    assert not whole.drifted
    assert whole.size > 0.3


def test_vehicles_may_be_dealt_whole() -> None:
    report = drift(period("now", 7), period("before", 7), SPACE, Watch(unit="vehicle"))
    assert report.tests[0].drives == 6


def test_a_clip_in_both_periods_is_refused() -> None:
    clips = period("now", 8)
    with pytest.raises(InputError, match="in both periods"):
        drift(clips, clips[:1], SPACE)


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    values = np.random.default_rng(9).random(40) ** 3
    assert adjusted(values.tolist()) == pytest.approx(
        multipletests(values, method="fdr_bh")[1].tolist()
    )
    assert adjusted([]) == []
