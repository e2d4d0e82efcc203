from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from cli.loop import app
from contracts.errors import InputError
from contracts.gate_report import GATES, Claim, Evidence, GateOutcome, GateReport, Observed
from contracts.ids import sha256_hex
from contracts.scenario_suite import FrozenScenario, FrozenSuite, Scenario, suite_text
from offline.datasets.lineage import Lineage, Thing
from offline.traceability.build import trace_of
from offline.traceability.records import Link, Trace
from offline.traceability.tables import COLUMNS, claim_rows, csv_text, page_text


def digest(name: str) -> str:
    return sha256_hex(name.encode())


def suite(musts: int = 3, targets: int = 2) -> FrozenSuite:
    return FrozenSuite(name="road", version=1, scenarios=tuple(
        FrozenScenario(
            scenario=Scenario.model_validate({
                "name": f"scene-{k}", "slice": "night" if k % 2 else "rain", "drive": {"seed": k},
                "asks": [{"ask": "told", "who": "pedestrian", "within_m": 20, "share": 0.5},
                         {"ask": "clear"}],
            }),
            folder=f"scene-{k}", frames=digest(f"scene-{k}"),
            standing="must" if k < musts else "target",
        )
        for k in range(musts + targets)
    ))  # fmt: skip


def report(frozen: FrozenSuite, fails: str = "", stop: str = "") -> GateReport:
    """Of two figures a gate, and of all scenarios that must be passed."""
    gates: list[GateOutcome] = []
    for gate in GATES:
        if gates and gates[-1].verdict != "pass":
            gates.append(GateOutcome(gate=gate, verdict="not_run", reason=f"{stop} did not pass"))
            continue
        kind = "scenario" if gate == "scenarios" else "comparison"
        # One comparison is what three gates rest on.
        shared = "aggregate" if gate in ("aggregate", "heads", "calibration") else gate
        evidence = Evidence(kind=kind, digest=digest(shared))
        names = [("suite", "every scenario was run")] if gate == "scenarios" else [
            (f"{gate}-{k}", f"{gate}-{k} is no worse") for k in range(2)
        ]  # fmt: skip
        if gate == "scenarios":
            names += [
                (each.scenario.name, f"{each.scenario.safety_slice}: what is asked holds")
                for each in frozen.scenarios if each.standing == "must"
            ]  # fmt: skip
        claims = tuple(
            Claim(name=name, requirement=text, verdict="fail" if name == fails else "pass",
                  told="found", value=0.5, limit=0.4, evidence=evidence)
            for name, text in names
        )  # fmt: skip
        bad = any(claim.verdict == "fail" for claim in claims)
        gates.append(GateOutcome(gate=gate, verdict="fail" if bad else "pass", claims=claims))
        stop = gate
    return GateReport(
        candidate=digest("new"), candidate_name="new", reference=digest("old"),
        reference_name="old", policy=digest("policy"), suite=frozen.digest, gates=tuple(gates),
        observed=tuple(
            Observed(name=e.scenario.name, safety_slice=e.scenario.safety_slice,
                     standing=e.standing, passed=e.scenario.name != fails, spare=False, told="so")
            for e in frozen.scenarios
        ),
    )  # fmt: skip


def lineage(*, missing: bool = False) -> Lineage:
    found = Lineage()
    model, dataset = Thing("model", digest("new")), Thing("dataset version", digest("dataset"))
    clips = [Thing("clip", digest(f"clip{k}")) for k in range(3)]
    found.add(model, "new v2", [dataset])
    found.add(dataset, "3 clips", clips)
    for clip in clips[missing:]:
        found.add(clip, "triggered", [Thing("vehicle", "car-1")])
    found.add(Thing("vehicle", "car-1"), "", ())
    return found


def test_every_claim_is_there_once_with_all_that_it_stands_on() -> None:
    frozen = suite()
    whole = report(frozen)
    trace = trace_of(whole, frozen, lineage())
    claims = [f"claim:{g.gate}/{c.name}" for g in whole.gates for c in g.claims]
    assert [node.id for node in trace.of_kind("claim")] == claims
    assert trace.gaps == ("no evidence is given: it is told by its digest alone",)
    goal = f"goal:{digest('new')}"
    for name in claims:
        below = trace.below(name)
        assert sum(each.startswith("evidence:") for each in below) == 1
        assert f"model:{digest('new')}" in below
        assert "origin:vehicle/car-1" in below
        assert goal in trace.above(name)
    assert {node.id for node in trace.nodes} == {goal} | trace.below(goal)


def test_both_ways_say_the_same() -> None:
    frozen = suite()
    trace = trace_of(report(frozen), frozen, lineage())
    for node in trace.nodes:
        assert all(node.id in trace.above(each) for each in trace.below(node.id))
        assert all(node.id in trace.below(each) for each in trace.above(node.id))
    # What three gates rest on tells so from below.
    shared = trace.above(f"evidence:{digest('aggregate')}")
    assert {"argument:aggregate", "argument:heads", "argument:calibration"} <= shared
    clip = trace.above(f"origin:clip/{digest('clip1')}")
    assert "claim:scenarios/scene-0" in clip


def test_scenarios_stand_between_requirement_and_claim() -> None:
    frozen = suite()
    trace = trace_of(report(frozen), frozen)
    scene = trace.node("scenario:scene-0")
    assert scene.digest == frozen.scenarios[0].digest
    assert scene.text == (
        "rain: 50% of pedestrian within 20 m told; nothing told ahead up to 25 m but in 0 frames"
    )
    target = trace.node("scenario:scene-4")
    assert (target.state, target.told) == ("target", "so")
    assert not any(name.startswith("claim:") for name in trace.below(target.id))
    # Two scenarios of one slice are asked for by one requirement.
    (row, other) = [r for r in claim_rows(trace) if r["scenario_id"] in
                    ("scenario:scene-0", "scenario:scene-2")]  # fmt: skip
    assert row["requirement_id"] == other["requirement_id"]


def test_ids_are_the_same_in_every_report() -> None:
    frozen = suite()
    one, two = trace_of(report(frozen), frozen), trace_of(report(frozen, "scene-1"), frozen)
    known = {node.id for node in one.of_kind("requirement")}
    assert {node.id for node in two.of_kind("requirement")} <= known


def test_a_failed_claim_and_what_it_stopped_are_told() -> None:
    frozen = suite()
    trace = trace_of(report(frozen, "scene-1"), frozen, lineage())
    assert trace.node("claim:scenarios/scene-1").state == "fail"
    assert trace.of_kind("goal")[0].state == "fail"
    assert "the gate tails was not run: scenarios did not pass" in trace.gaps
    assert "Not shown" in page_text(trace)


def test_without_suite_or_lineage_the_gaps_say_so() -> None:
    trace = trace_of(report(suite()))
    assert [gap.split(" is given")[0] for gap in trace.gaps] == [
        "no suite", "no lineage", "no evidence",
    ]  # fmt: skip
    assert trace.node("scenario:scene-0").digest is None


def test_another_suite_is_refused() -> None:
    with pytest.raises(InputError, match="not of this one"):
        trace_of(report(suite()), suite(musts=2))


def _with(whole: GateReport, **changes: Any) -> GateReport:
    return GateReport.model_validate(whole.model_dump() | changes)


def test_references_that_lead_nowhere_are_errors() -> None:
    frozen = suite()
    whole = report(frozen)
    with pytest.raises(InputError, match="not at hand"):
        trace_of(whole, frozen, lineage(missing=True))
    with pytest.raises(InputError, match="is unknown"):
        trace_of(_with(whole, candidate=digest("another")), frozen, lineage())
    stranger = Observed(name="stranger", safety_slice="rain", standing="target", passed=True,
                        spare=False)  # fmt: skip
    with pytest.raises(InputError, match="stranger is judged"):
        trace_of(_with(whole, observed=[stranger.model_dump()]), frozen)
    # A must that was not judged: the report was made for a suite with fewer of them.
    fewer = report(suite(musts=2, targets=3))
    with pytest.raises(InputError, match="scene-2 must be passed and judged"):
        trace_of(_with(fewer, suite=frozen.digest), frozen)


def test_a_graph_with_loose_ends_is_no_trace() -> None:
    frozen = suite()
    told = trace_of(report(frozen), frozen).model_dump()
    with pytest.raises(ValidationError, match="is not there"):
        Trace.model_validate(
            told
            | {"links": [*told["links"], Link(kind="needs", above="argument:tails", below="x")]}
        )
    with pytest.raises(ValidationError, match="is there twice"):
        Trace.model_validate(told | {"nodes": [*told["nodes"], told["nodes"][0]]})
    loose = [link for link in told["links"] if link["kind"] != "rests_on"]
    with pytest.raises(ValidationError, match="shown 0 times"):
        Trace.model_validate(told | {"links": loose})


def test_the_table_holds_a_row_a_claim() -> None:
    frozen = suite()
    trace = trace_of(report(frozen), frozen)
    rows = list(csv.DictReader(io.StringIO(csv_text(trace))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["claim_id"] for row in rows] == [node.id for node in trace.of_kind("claim")]
    scene = next(row for row in rows if row["claim_id"] == "claim:scenarios/scene-1")
    assert (scene["gate"], scene["verdict"], scene["evidence_digest"]) == (
        "scenarios", "pass", digest("scenarios"),
    )  # fmt: skip


def _longtail(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


def test_the_command_writes_what_is_asked(tmp_path: Path) -> None:
    frozen = suite()
    told, folder = tmp_path / "report.json", tmp_path / "suite"
    told.write_text(report(frozen).model_dump_json())
    folder.mkdir()
    (folder / "suite.json").write_text(suite_text(frozen))
    outs = [tmp_path / f"trace{suffix}" for suffix in (".json", ".csv", ".html")]
    given = [word for out in outs for word in ("--out", out)]
    done = _longtail("--report", told, "--suite", folder, *given)
    assert done.exit_code == 0, done.exception
    assert "18 claims, 18 hold" in done.stdout
    assert Trace.model_validate_json(outs[0].read_text()) == trace_of(report(frozen), frozen)
    assert outs[1].read_text().startswith("gate,requirement_id")
    assert "Up from the evidence" in outs[2].read_text()
    assert isinstance(
        _longtail("--report", told, "--out", tmp_path / "x.pdf").exception, InputError
    )
    told.write_text("{}")
    assert isinstance(_longtail("--report", told).exception, InputError)
