"""The gates against a catalogue: regressions that must be blocked, improvements that must pass.

The shipped student answers each frame once; every entry changes those answers, or the evidence
beside them, and goes through all gates. A regression counts as blocked by the gate that its entry
names, and by no other. Doubled latency is a real graph that does everything twice, timed in turn
with the shipped one.

Data: the folder of a frozen suite (`longtail sim suite`), and folders of drives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from bench.figures import Figure, figure
from bench.gates_catalogue import REGRESSIONS, improvements
from bench.gates_slow import slowed
from bench.gates_world import World, answered, split
from contracts.errors import InputError
from contracts.gate_report import GateReport
from contracts.scenario_suite import SUITE_FILE, read_suite
from models.data.drives import drive_folders
from offline.gates.judge import judge
from offline.gates.measuring import budget_evidence
from offline.gates.model_file import read_model
from offline.gates.policy import read_policy
from offline.gates.scenarios import checked_folder

MODEL = Path(__file__).parents[1] / "models" / "zoo" / "student-s.manifest.yaml"
FIRST_SEED = 100
"""Of the improvements' fluctuations; rules were chosen on others."""
Say = Callable[[str], None]


def run(data: Sequence[Path] = ()) -> list[Figure]:
    """Judge the whole catalogue, on what the given folders hold."""
    if not data:
        typer.echo("no drives and no suite given: the catalogue is left out", err=True)
        return []
    world = read_world(data)

    def say(text: str) -> None:
        typer.echo(text, err=True)

    return [*blocked(world, say), *passed(world, say, FIRST_SEED), *_slow()]


def read_world(data: Sequence[Path]) -> World:
    """The suite and the drives with the shipped student's answers.

    Raises `InputError` unless exactly one folder is a suite's, and where a drive is missing.
    """
    suites = [each for each in data if (each / SUITE_FILE).is_file()]
    if len(suites) != 1:
        raise InputError(f"one folder of a frozen suite is wanted, not {len(suites)}", "--data")
    suite = read_suite(suites[0])
    told = answered([checked_folder(each, suites[0]) for each in suite.scenarios], MODEL)
    drives = answered(drive_folders([each for each in data if each != suites[0]]), MODEL)
    hard, random = split(frame for frames in drives.values() for frame in frames)
    met = {
        each.scenario.name: frames
        for each, frames in zip(suite.scenarios, told.values(), strict=True)
    }
    return World(suite, met, hard, random, read_model(MODEL).manifest, read_policy())


def blocked(world: World, say: Say) -> list[Figure]:
    """How many regressions are stopped, and how many by the gate that should."""
    rightly, at_all = 0, 0
    for each in REGRESSIONS:
        report = judge(world.subjects(), each.build(world), world.policy)
        found = None if report.stopped_by is None else report.stopped_by.gate
        at_all += found is not None
        rightly += found == each.gate
        mark = "ok" if found == each.gate else f"WRONG, expected {each.gate}"
        say(f"{each.name}: {found or 'passed'} ({mark}){why(report)}")
    return [
        figure("injected regressions", float(len(REGRESSIONS)), "entries", goal=">= 30"),
        figure("regressions blocked", 100 * at_all / len(REGRESSIONS), "%", goal=">= 100"),
        figure("regressions blocked by the gate that should", 100 * rightly / len(REGRESSIONS),
               "%", goal=">= 100"),
    ]  # fmt: skip


def passed(world: World, say: Say, first_seed: int) -> list[Figure]:
    """How many honest improvements pass all gates."""
    count, entries = 0, improvements(first_seed)
    for each in entries:
        report = judge(world.subjects(), each.build(world), world.policy)
        count += report.passes
        say(f"{each.name} ({each.margin}): {'passes' if report.passes else 'stopped'}{why(report)}")
    name = f"honest improvements that pass, of {len(entries)}"
    return [figure(name, float(count), "entries", goal=f">= {0.9 * len(entries):g}")]


def why(report: GateReport) -> str:
    """The failed claims in a few words."""
    failures = report.failures()
    told = "; ".join(f"{each.name}: {each.told}" for each in failures[:2])
    more = f" and {len(failures) - 2} more" if len(failures) > 2 else ""
    return f": {told}{more}" if failures else ""


def _slow() -> list[Figure]:
    """The graph that does everything twice, against the shipped one, and that against itself."""
    model, rule = read_model(MODEL), read_policy().budget
    slow, same = (budget_evidence(each, model).ratio for each in (slowed(model), model))
    limit = rule.max_cpu_ratio
    return [
        figure("CPU ratio of a graph that works twice", slow, "ratio", goal=f">= {limit:g}"),
        figure("CPU ratio of the same graph", same, "ratio", goal=f"<= {limit:g}"),
    ]
