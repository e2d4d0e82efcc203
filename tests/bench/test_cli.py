"""`longtail bench`: one JSON object a benchmark, notes on stderr, a page only of whole runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from bench import cli
from bench.figures import Figure, figure
from bench.table import number
from contracts.errors import InputError

KEYS = {"name", "value", "unit", "reference", "reference_value", "ratio", "goal", "holds"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """Two benchmarks that take no time; `seen` tells which folder of recordings each got."""
    seen: dict[str, object] = {}

    def recorded_run(recorded: Path | None) -> list[Figure]:
        seen["recorded"] = recorded
        return [figure("speed | of copies", 3.0, "GB/s", reference="memcpy", reference_value=2.0)]

    def plain_run() -> list[Figure]:
        return [figure("share", 0.5, "ratio", goal="<= 0.2")]

    for name, run in (("with_recorded", recorded_run), ("without", plain_run)):
        module = ModuleType(f"bench.quick_{name}", "What it measures.\n\nAgainst\nwhat.")
        vars(module)["run"] = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
    benches = {
        "one": cli.Bench("bench.quick_with_recorded", "", True),
        "two": cli.Bench("bench.quick_without", ""),
    }
    monkeypatch.setattr(cli, "BENCHES", benches)
    monkeypatch.chdir(tmp_path)
    return seen


def test_json_of_a_real_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.triggers._TICKS", 40)
    monkeypatch.setattr("bench.triggers.run.__defaults__", (40, 1))
    result = CliRunner().invoke(cli.app, ["triggers", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report.keys() == {"bench", "machine", "figures"}
    assert report["bench"] == "triggers"
    assert all(each.keys() == KEYS for each in report["figures"])


def test_all_gives_one_object_a_line_and_says_what_is_left_out(quick: dict[str, object]) -> None:
    result = CliRunner().invoke(cli.app, ["all", "--json"])
    assert result.exit_code == 0
    assert [json.loads(line)["bench"] for line in result.stdout.splitlines()] == ["one", "two"]
    assert "no recorded drives" in result.stderr
    assert quick == {"recorded": None}


def test_a_given_folder_is_used_and_must_exist(quick: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "drives").mkdir()
    assert CliRunner().invoke(cli.app, ["all", "--recorded", "drives"]).exit_code == 0
    assert quick == {"recorded": Path("drives")}
    missing = CliRunner().invoke(cli.app, ["all", "--recorded", "nothing"])
    assert missing.exit_code == 2
    assert "nothing" in missing.stderr


def test_the_page_holds_every_figure(quick: dict[str, object], tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    result = CliRunner().invoke(cli.app, ["all", "--write", str(page)])
    assert result.exit_code == 0, "a goal that does not hold is a result, not an error"
    text = page.read_text()
    assert "## one\n\nWhat it measures.\n\nAgainst what.\n" in text
    assert "| speed \\| of copies | 3.00 | GB/s | memcpy | 2.00 | 1.50 |  |  |" in text
    assert "| share | 0.500 | ratio |  |  |  | <= 0.2 | **no** |" in text
    assert "Machine: " in text


@pytest.mark.parametrize("error", [InputError("broken scan", "a.pcd"), FileNotFoundError("gone")])
def test_what_cannot_run_is_told_and_no_page_written(
    quick: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def run() -> list[Figure]:
        raise error

    monkeypatch.setattr(sys.modules["bench.quick_without"], "run", run)
    result = CliRunner().invoke(cli.app, ["all", "--write", str(tmp_path / "page.md")])
    assert result.exit_code == 1
    assert "two could not run" in result.stderr
    assert str(error) in result.stderr
    assert "speed | of copies" in result.stdout, "the others still ran"
    assert not (tmp_path / "page.md").exists()


def test_a_missing_peer_is_named(quick: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(cli.BENCHES["two"], module="bench.no_such_peer")
    monkeypatch.setitem(cli.BENCHES, "two", absent)
    result = CliRunner().invoke(cli.app, ["all"])
    assert result.exit_code == 1
    assert "bench.no_such_peer is not installed" in result.stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0006949, "0.000695"), (25320.4, "25300"), (None, ""), (0.0, "0"), (0.09996, "0.100"),
        (9.996, "10.0"), (1.5, "1.50"), (197.3, "197"), (-2.345, "-2.35"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
