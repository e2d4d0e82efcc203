"""Figures judge themselves by their goals, and name no machine."""

from __future__ import annotations

import json
import platform

import pytest

from bench.figures import figure, median_cpu_ns, report
from bench.table import markdown


@pytest.mark.parametrize(
    ("value", "goal", "holds"),
    [
        (9.0, ">= 9", True), (8.99, ">= 9", False), (1.0, "<= 0.5", False),
        (4.0, "ratio <= 2", True), (4.1, "ratio <= 2", False), (0.0, "", True),
    ],
)  # fmt: skip
def test_a_figure_holds_as_its_goal_says(value: float, goal: str, holds: bool) -> None:
    found = figure("f", value, "x", reference="peer", reference_value=2.0, goal=goal)
    assert found.holds is holds
    assert found.ratio == value / 2.0


@pytest.mark.parametrize("goal", ["ratio >= 2", "= 2"])
def test_a_goal_that_cannot_be_judged_is_refused(goal: str) -> None:
    with pytest.raises(ValueError, match="cannot be judged"):
        figure("f", 1.0, "x", goal=goal)


def test_a_report_is_json_and_names_no_host() -> None:
    text = json.dumps(report("b", [figure("f", 1.0, "x")]))
    assert platform.node() not in text
    assert json.loads(text)["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("instructions", "told"), [(["avx2", "avx512_vnni"], "C (avx2 avx512_vnni), 2"), ([], "C, 2")]
)
def test_a_page_tells_the_instructions_on_which_ratios_hang(
    instructions: list[str], told: str
) -> None:
    known = {"cpu": "C", "instructions": instructions, "cores": 2, "memory_gib": 4.0,
             "system": "Linux", "python": "3.11"}  # fmt: skip
    assert f"Machine: {told} cores, 4.0 GiB, Linux" in markdown(known, [])


def test_jobs_take_turns_after_one_warming_round() -> None:
    calls: list[str] = []
    spent = median_cpu_ns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert set(spent) == {"a", "b"}
