"""Model and trigger specs go out: product/rollout.json tells which releases, by digest.

Over the cloud: published, signed, and rolled out in the cloud's own stages, specs in shadow first.
What a rollout finds on the way (a guardrail, a failing vehicle) is the rollout's to act on; the
stage asks whether it has begun, or, `until: complete`, whether it is over. Into a folder: the files
with the signed gate report, for whoever carries them on.

Nothing goes out whose gate report is not of this very model and passes, nor, where `shadow.key`
signs reports, one that this key has not signed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import JsonValue

from client.signing import load_key
from contracts.canonical import canonical_json
from contracts.errors import ConflictError, CorruptError, RefusedError
from contracts.model_manifest import ModelManifest
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import load_spec
from offline.gates.model_file import read_model
from offline.gates.signing import check_may_go, verified_report
from offline.pipeline.cloud import TAKEN_BACK, Releases
from offline.pipeline.stages.evaluate import PAGE_FILE, REPORT_FILE, read_report
from offline.pipeline.stages.shadow import SIGNED_FILE
from offline.pipeline.stages.specs import spec_files
from offline.pipeline.stages.train import MODEL, model_manifest
from offline.pipeline.work import Result, Waiting, Work

ROLLOUT_FILE = "rollout.json"


def rollout(work: Work) -> Result | Waiting:
    """Send out what passed."""
    manifest = model_manifest(work.needs["train"])
    check_report(work.needs["shadow"], manifest, work.spec.shadow.key)
    specs = spec_files(work.needs["specs"])
    told: dict[str, JsonValue] = {"model": _model_told(manifest), "specs": [
        {"id": loaded.spec.id, "version": loaded.spec.version, "digest": loaded.digest}
        for loaded in map(load_spec, specs)
    ]}  # fmt: skip
    section = work.spec.rollout
    if section.to == "folder":
        _into_a_folder(work, specs)
        figures: dict[str, JsonValue] = {"to": "folder", "specs": len(specs)}
    else:
        sent = _over_the_cloud(work, manifest, specs)
        if not isinstance(sent, dict):
            return sent
        figures = {"to": "cloud", "specs": len(specs), **sent}
    (work.product / ROLLOUT_FILE).write_bytes(canonical_json(told) + b"\n")
    return Result(figures)


def check_report(folder: Path, manifest: Path, key: Path | None) -> None:
    """That a folder's gate report lets this model go out; signed, where a key is given.

    Raises `RefusedError` for a report that is unsigned, of another model, or does not pass;
    `CorruptError` for a model that is not its manifest's, and for two reports that differ.
    """
    model, report, place = read_model(manifest), read_report(folder), str(folder / SIGNED_FILE)
    model.checked()
    if key is not None:
        try:
            content = (folder / SIGNED_FILE).read_bytes()
        except OSError as error:
            raise RefusedError("`shadow.key` is named, and the report not signed", place) from error
        public = load_key(key).public_key
        signed = verified_report(content, {public.keyid: public}, place)
        if signed != report:
            raise CorruptError(f"what is signed is not {REPORT_FILE}", place)
    check_may_go(report, model.manifest.sha256, str(folder / REPORT_FILE))


def _model_told(manifest: Path) -> dict[str, JsonValue]:
    found = validate_located(ModelManifest, parse_yaml(read_text(manifest), str(manifest)))
    return {"name": found.name, "version": found.version, "digest": found.sha256}


def _into_a_folder(work: Work, specs: list[Path]) -> None:
    shutil.copytree(work.needs["train"] / MODEL, work.product / MODEL)
    for name in (REPORT_FILE, PAGE_FILE, SIGNED_FILE):
        path = work.needs["shadow"] / name
        if path.is_file():
            shutil.copyfile(path, work.product / name)
    for path in specs:
        shutil.copyfile(path, work.product / path.name)


def _over_the_cloud(
    work: Work, manifest: Path, specs: list[Path]
) -> dict[str, JsonValue] | Result | Waiting:
    releases = Releases.of(work)
    if reason := releases.publish_model(manifest):
        return Waiting(reason)
    for path in specs:
        if reason := releases.publish_spec(path):
            return Waiting(reason)
        releases.begin_spec(path)
    try:
        row = releases.begin(manifest, in_shadow=False)
    except ConflictError as error:
        return Waiting(f"another rollout is under way: {error.message}")
    if row.phase in TAKEN_BACK:
        return Result(
            {"rollout_id": row.rollout_id, "phase": row.phase}, "refused",
            f"rollout {row.rollout_id} is {row.phase}: {row.verdict or row.waiting_for}",
        )  # fmt: skip
    if work.spec.rollout.until == "complete" and row.phase != "done":
        return Waiting(
            f"rollout {row.rollout_id} is in stage {row.stage} of {row.stages}: "
            f"{row.succeeded} vehicles have it; {row.waiting_for or row.phase}"
        )
    return {
        "rollout_id": row.rollout_id, "phase": row.phase, "stage": row.stage,
        "stages": row.stages, "succeeded": row.succeeded,
    }  # fmt: skip
