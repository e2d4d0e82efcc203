"""The candidate beside the active model, and the whole gate report, signed.

product/shadow.json          what vehicles counted (`ShadowEvidence`)
product/report.json, .md     all gates
product/report.dsse.json     signed, where a key is given
product/evidence/            what every claim was judged on, by digest

Told by a simulated fleet, by a file, or by the fleet itself: then the candidate is published and
rolled out to the shadow, and the turn waits until enough was seen.
"""

from __future__ import annotations

import shutil

from client.signing import load_key
from contracts.canonical import canonical_json
from contracts.errors import ConflictError, InputError
from offline.gates.evidence import ShadowEvidence, digest_of
from offline.gates.judge import Subjects, with_shadow
from offline.gates.shadow import added_up, read_shadow
from offline.gates.signing import signed_report
from offline.pipeline.cloud import TAKEN_BACK, Releases
from offline.pipeline.stages.evaluate import (
    EVIDENCE,
    best_ever,
    policy_of,
    read_report,
    write_report,
)
from offline.pipeline.stages.train import model_manifest
from offline.pipeline.work import Result, Waiting, Work

SHADOW_FILE, SIGNED_FILE = "shadow.json", "report.dsse.json"


def shadow(work: Work) -> Result | Waiting:
    """Look at what was seen in shadow, and judge."""
    before = read_report(work.needs["evaluate"])
    found = _evidence(work, before.candidate, before.reference)
    if isinstance(found, Waiting | Result):
        return found
    subjects = Subjects(**before.model_dump(include=set(Subjects.model_fields)))
    report = with_shadow(before, found, subjects, policy_of(work))
    (work.product / SHADOW_FILE).write_bytes(canonical_json(found) + b"\n")
    shutil.copytree(work.needs["evaluate"] / EVIDENCE, work.product / EVIDENCE)
    (work.product / EVIDENCE / f"{digest_of(found)}.json").write_bytes(canonical_json(found))
    write_report(work.product, report)
    if work.spec.shadow.key is not None:
        key = load_key(work.spec.shadow.key)
        (work.product / SIGNED_FILE).write_bytes(signed_report(report, [key]))
    figures = found.model_dump(mode="json", exclude={"kind"})
    if not report.passes:
        first = next(iter(report.failures()))
        why = f"the gate `shadow` fails: {first.name}: {first.told}"
        return Result(figures, "refused", why)
    return Result(figures)


def _evidence(work: Work, candidate: str, active: str) -> ShadowEvidence | Waiting | Result:
    section = work.spec.shadow
    if section.by == "fleet":
        return _of_the_fleet(work, candidate, active)
    if section.by == "file":
        if section.file is None:
            raise InputError("say which `file`", "shadow.file")
        return read_shadow(section.file, candidate, active)
    if section.drives is None:
        raise InputError("a simulated fleet drives a recipe", "shadow.drives")
    out = work.scratch / SHADOW_FILE
    if not out.is_file():
        partial = work.scratch / f".{SHADOW_FILE}"
        work.outside.simulated.evidence(
            best_ever(work), model_manifest(work.needs["train"]), section.drives, partial, work.say
        )
        partial.replace(out)
    return read_shadow(out, candidate, active)


def _of_the_fleet(work: Work, candidate: str, active: str) -> ShadowEvidence | Waiting | Result:
    """What check-ins have counted; the candidate is sent to the shadow first."""
    releases, manifest = Releases.of(work), model_manifest(work.needs["train"])
    if reason := releases.publish_model(manifest):
        return Waiting(reason)
    try:
        row = releases.begin(manifest, in_shadow=True)
    except ConflictError as error:
        return Waiting(f"another rollout is under way: {error.message}")
    if row.phase in TAKEN_BACK:
        # No vehicle will look on any more: to wait would be to wait for ever.
        return Result(
            {"rollout_id": row.rollout_id, "phase": row.phase}, "refused",
            f"rollout {row.rollout_id} to the shadow is {row.phase}: "
            f"{row.verdict or row.waiting_for}",
        )  # fmt: skip
    counted = releases.shadow_counts(candidate)
    rule = policy_of(work).shadow
    try:
        found = added_up(counted, candidate, active, "the fleet")
    except InputError:
        return Waiting("no vehicle has run the candidate in shadow yet")
    if found.frames < rule.min_frames or found.vehicles < rule.min_vehicles:
        return Waiting(
            f"{found.frames} of {rule.min_frames} frames were seen in shadow, on "
            f"{found.vehicles} of {rule.min_vehicles} vehicles"
        )
    if found.objects < rule.min_objects:
        return Waiting(f"{found.objects} of {rule.min_objects} objects were told beside it")
    return found
