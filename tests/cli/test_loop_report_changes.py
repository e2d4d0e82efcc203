"""What driving the same scenes by both models showed, as changes of the loop's page."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.loop_report import trial_changes
from contracts.errors import InputError
from sim_fleet.trials.report import DriveCounts, DriveTrial, TrialsReport


def write(path: Path, phantoms: tuple[int, ...], missed: int = 0) -> Path:
    drives = tuple(
        DriveTrial(
            name=f"drive-{k}", slice="town",
            counts=DriveCounts(
                driven_s=60.0, driven_m=600.0, engaged_s=60.0, instants=120,
                critical={"car": 10}, missed={"car": missed} if missed else {},
                phantoms={"car": each} if each else {},
            ),
        )
        for k, each in enumerate(phantoms)
    )  # fmt: skip
    report = TrialsReport(
        recipe="town", recipe_digest="0" * 64, model="1" * 64, manifest_digest=None, drives=drives
    )
    path.write_text(report.model_dump_json(), "utf-8")
    return path


def test_no_interval_tells_of_less_than_nothing(tmp_path: Path) -> None:
    before = write(tmp_path / "a.json", (2, 40, 9, 80), missed=5)
    after = write(tmp_path / "b.json", (0, 0, 0, 0), missed=2)
    changes = {(c.metric, c.slice): c for c in trial_changes([before, after], seed=1)}
    phantoms = changes["phantoms_per_min", "all"]
    assert phantoms.verdict == "better" and phantoms.after_bounds == (0.0, 0.0)
    missed = changes["critical_missed_ratio", "all"]
    assert (missed.before, missed.after) == (0.5, 0.2)
    assert missed.after_bounds == pytest.approx((0.2, 0.2))


def test_what_was_nothing_before_has_the_difference(tmp_path: Path) -> None:
    before = write(tmp_path / "a.json", (0, 0, 0, 0))
    after = write(tmp_path / "b.json", (1, 3, 2, 2))
    changes = {(c.metric, c.slice): c for c in trial_changes([before, after], seed=1)}
    phantoms = changes["phantoms_per_min", "all"]
    assert phantoms.interval == "difference" and phantoms.verdict == "worse"
    with pytest.raises(InputError, match="two reports"):
        trial_changes([before], seed=1)
