from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from offline.health.cusum import first_alarm, threshold


def test_the_threshold_is_the_one_of_the_textbook() -> None:
    """Allowance 0.5, both sides: 4 gives about 168 values, 5 about 465 (Montgomery)."""
    assert threshold(2 * 168) == pytest.approx(4.0, abs=0.02)
    assert threshold(2 * 465) == pytest.approx(5.0, abs=0.02)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Of 400 charts of 100 values each, 2,000 values apart: about a twentieth alarms."""
    rng = np.random.default_rng(1)
    charts, length, between = 400, 100, 2_000
    alarms = sum(
        first_alarm(rng.normal(size=length).tolist(), 1.0, 0.0, between) is not None
        for _ in range(charts)
    )
    stated = 1 - np.exp(-length / between)
    assert alarms / charts <= stated + 3 * np.sqrt(stated * (1 - stated) / charts)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_step_is_found_soon_after_it_and_told_by_its_size(sign: float) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=80) * 0.1
    values[40:] += sign
    found = first_alarm(values.tolist(), 0.1, 0.3, 10_000)
    assert found is not None
    assert 40 <= found.since <= found.at <= 45
    assert found.value == pytest.approx(sign, abs=0.1)


def test_a_slow_drift_is_found_once_it_is_beyond_the_tolerance() -> None:
    values = np.linspace(0, 1.0, 200).tolist()
    found = first_alarm(values, 0.05, 0.5, 10_000)
    assert found is not None
    assert values[found.at] == pytest.approx(0.6, abs=0.05)


def test_a_mean_within_the_tolerance_and_one_bad_clip_are_no_drift() -> None:
    values = [0.3] * 500
    values[200] = 50.0
    assert first_alarm(values, 0.1, 0.3, 10_000) is None


def test_no_noise_is_refused() -> None:
    with pytest.raises(InputError, match="noise"):
        first_alarm([0.0], 0.0, 0.0, 100)
    with pytest.raises(InputError, match="false alarms"):
        threshold(1)
