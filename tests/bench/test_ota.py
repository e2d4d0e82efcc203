"""The benchmark of update checks runs on a small fleet, and its peers hold what it holds."""

from __future__ import annotations

from bench import ota
from tests.bench.test_benches import assert_well_formed


def test_ota() -> None:
    figures = ota.run(count=40, sample=2)
    assert_well_formed(figures)
    named = {each.name.rpartition(" (")[0]: each for each in figures}
    assert named["requests of a check, nothing new"].value == 2
    assert named["requests of a check after its own change"].value == 4
    assert named["metadata of a check, nothing new"].holds
