"""The lineage of all that a loop made: rollout → gate report → model → ... → vehicle, and back."""

from __future__ import annotations

from pathlib import Path

from contracts.gate_report import GateReport
from contracts.model_manifest import ModelManifest
from offline.datasets.lineage import Lineage, Thing, lineage_of
from offline.datasets.store import DatasetStore
from offline.gates.model_file import read_model
from offline.labels.formats.files import read_json
from offline.pipeline.stages.dataset import STORE
from offline.pipeline.stages.evaluate import read_report
from offline.pipeline.stages.rollout import ROLLOUT_FILE
from offline.pipeline.stages.train import model_manifest
from offline.pipeline.turn import PRODUCT, LoopFolder


def loop_lineage(folder: LoopFolder) -> Lineage:
    """Of all turns. Raises `CorruptError` for a product that is not what its record says."""
    manifests: dict[str, ModelManifest] = {}
    reports: dict[str, GateReport] = {}
    rollouts: list[tuple[str, str, Path]] = []
    for turn in folder.turns():
        keys = folder.progress(turn.turn_id).keys
        products = {name: folder.stage(name, key) / PRODUCT for name, key in keys.items()}
        reference = turn.spec.evaluate.reference
        for path in [reference, *([model_manifest(products["train"])] if "train" in keys else [])]:
            found = read_model(path).manifest
            manifests[found.sha256] = found
        for stage in ("evaluate", "shadow"):
            if stage in products:
                report = read_report(products[stage])
                reports[report.digest] = report
        if "rollout" in products:
            final = read_report(products["shadow"]).digest
            rollouts.append((turn.name, final, products["rollout"] / ROLLOUT_FILE))
    store = DatasetStore(folder.path / STORE)
    lineage = lineage_of(store, manifests.items())
    for digest, report in reports.items():
        add_report(lineage, digest, report)
    for name, digest, path in rollouts:
        _add_rollout(lineage, name, digest, path)
    return lineage


def add_report(lineage: Lineage, digest: str, report: GateReport) -> None:
    """A gate report comes of the candidate and of what it was held against."""
    verdicts = ", ".join(f"{each.gate} {each.verdict}" for each in report.gates)
    told = f"{report.candidate_name}: {'passes' if report.passes else verdicts}"
    models = [Thing("model", report.candidate), Thing("model", report.reference)]
    lineage.add(Thing("gate report", digest), told, models)


def _add_rollout(lineage: Lineage, name: str, report: str, path: Path) -> None:
    told = read_json(path)
    model = told["model"]
    specs = [Thing("trigger spec", each["digest"]) for each in told["specs"]]
    for each, thing in zip(told["specs"], specs, strict=True):
        lineage.told.setdefault(thing, f"{each['id']} v{each['version']}")
    lineage.add(
        Thing("rollout", name), f"{model['name']} v{model['version']}",
        [Thing("gate report", report), *specs],
    )  # fmt: skip
