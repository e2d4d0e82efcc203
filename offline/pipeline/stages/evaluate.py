"""All gates but the last: product/report.json, report.md, and evidence/ by digest. A gate that
fails ends the turn.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from contracts.canonical import canonical_json
from contracts.errors import CorruptError
from contracts.gate_report import GateReport
from contracts.scenario_suite import read_suite
from offline.gates.drives import hard_drives, random_drives
from offline.gates.judge import Subjects, judge
from offline.gates.measuring import SelfTest
from offline.gates.model_file import ModelFile, read_model
from offline.gates.page import page_text
from offline.gates.policy import Policy, read_policy
from offline.gates.source import FolderEvidence
from offline.pipeline.stages.train import model_manifest
from offline.pipeline.work import Result, Work
from offline.traceability.evidence import KeptEvidence

REPORT_FILE, PAGE_FILE, EVIDENCE = "report.json", "report.md", "evidence"


def evaluate(work: Work) -> Result:
    """Ask the gates in their order; the first that fails stops the rest, and the turn."""
    section, rules = work.spec.evaluate, policy_of(work)
    suite = read_suite(section.suite)
    ours = read_model(model_manifest(work.needs["train"]))
    theirs = read_model(best_ever(work))
    evidence = FolderEvidence(
        ours, theirs, suite, section.suite, hard_drives(section.tails),
        random_drives(section.random, section.probabilities), rules, _opens(work), None,
        lambda name, done, of: work.say(f"{name}: {done} of {of}"),
    )  # fmt: skip
    subjects = Subjects(
        candidate=ours.manifest.sha256, candidate_name=ours.name,
        reference=theirs.manifest.sha256, reference_name=theirs.name,
        suite=rules.suite or suite.digest,
    )  # fmt: skip
    kept = KeptEvidence(evidence, work.product / EVIDENCE)
    report = judge(subjects, kept, rules, lambda each: work.say(f"{each.gate}: {each.verdict}"))
    write_report(work.product, report)
    failed = [each for each in report.gates if each.verdict == "fail"]
    figures: dict[str, JsonValue] = {
        "gates": {each.gate: each.verdict for each in report.gates},
        "claims": sum(len(each.claims) for each in report.gates),
        "indicators": {name: float(value) for name, value in report.indicators.items()},
    }
    if failed:
        first = next(iter(report.failures()))
        why = f"the gate `{failed[0].gate}` fails: {first.name}: {first.told}"
        return Result(figures, "refused", why)
    return Result(figures)


def policy_of(work: Work) -> Policy:
    return read_policy(work.spec.evaluate.policy_file)


def best_ever(work: Work) -> Path:
    """The manifest of the model that the candidate is held against: the one that the turn before
    shipped, which had to hold against the one before it, and so on.
    """
    before = work.before.get("train")
    return work.spec.evaluate.reference if before is None else model_manifest(before)


def write_report(folder: Path, report: GateReport) -> None:
    (folder / REPORT_FILE).write_bytes(canonical_json(report) + b"\n")
    (folder / PAGE_FILE).write_text(page_text(report), "utf-8")


def read_report(folder: Path) -> GateReport:
    return GateReport.model_validate_json((folder / REPORT_FILE).read_bytes())


def _opens(work: Work) -> SelfTest:
    """The digest first: bytes that are not the manifest's are not opened."""

    def opens(model: ModelFile) -> None:
        if model.sha256 != model.manifest.sha256:
            raise CorruptError("the file is not the manifest's", str(model.path))
        work.outside.opens_on_a_vehicle(model)

    return opens
