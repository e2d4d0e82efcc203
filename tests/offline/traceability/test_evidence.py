"""Evidence that is kept while gates judge, and found again by its digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import CorruptError, InputError
from offline.gates.judge import judge
from offline.gates.policy import read_policy
from offline.loop_report.tails import tails_of
from offline.traceability.build import trace_of
from offline.traceability.evidence import KeptEvidence, read_evidence
from tests.offline.gates.evidences import Given, subjects


def test_what_gates_were_judged_on_is_kept_and_found(tmp_path: Path) -> None:
    report = judge(subjects(), KeptEvidence(Given(), tmp_path), read_policy())
    assert report == judge(subjects(), Given(), read_policy())
    held = read_evidence(tmp_path)
    used = {claim.evidence.digest for gate in report.gates for claim in gate.claims}
    assert set(held) == used
    trace = trace_of(report, evidence=held)
    shown = {node.text: node.told for node in trace.of_kind("evidence")}
    assert shown["budget"].startswith("CPU time over")
    assert "frames on" in shown["shadow"]
    assert "scenarios passed" in shown["scenario"]


def test_tails_are_told_with_the_intervals_of_their_differences(tmp_path: Path) -> None:
    report = judge(subjects(), KeptEvidence(Given(), tmp_path), read_policy())
    changes = tails_of(report, read_evidence(tmp_path))
    gate = next(each for each in report.gates if each.gate == "tails")
    names = [
        each.metric if each.slice == "all" else f"{each.metric}@{each.slice}" for each in changes
    ]
    assert names == [claim.name for claim in gate.claims]
    for change, claim in zip(changes, gate.claims, strict=True):
        assert change.after == claim.value
        assert change.better == ("lower" if "false" in claim.name else "higher")
        bounds = change.after_bounds
        assert bounds is None or bounds[0] <= change.after <= bounds[1]
    assert tails_of(report, {}) == ()


def test_evidence_that_is_lost_or_changed_is_an_error(tmp_path: Path) -> None:
    report = judge(subjects(), KeptEvidence(Given(), tmp_path), read_policy())
    with pytest.raises(InputError, match="not at hand"):
        trace_of(report, evidence={})
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(CorruptError, match="its name says"):
        read_evidence(tmp_path)
