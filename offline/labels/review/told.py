"""The journal's standing as JSON, for people and reports; what nobody can tell is null."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from contracts.geometry import Taxonomy
from offline.labels.qa.audit import AuditPlan
from offline.labels.review import standing
from offline.labels.review.records import Settled


def standing_of(
    lines: Sequence[Settled], taxonomy: Taxonomy, rule_digest: str, plan: AuditPlan
) -> dict[str, JsonValue]:
    """Seconds spent, annotators by gold, agreement, audits of the rule, and findings."""
    audited = standing.audit_state(lines, rule_digest, plan)
    return {
        **work_of(lines, taxonomy),
        "annotators": _annotators(lines, taxonomy),
        "audits": {
            "level": audited.level, "tightened": audited.tightened, "audited": audited.audited,
            "evidence": float(audited.against.evidence),
        },
        "findings": [one.model_dump(mode="json") for one in standing.found_out(lines)],
    }  # fmt: skip


def work_of(lines: Sequence[Settled], taxonomy: Taxonomy) -> dict[str, JsonValue]:
    """Seconds spent by tier, and how far annotators agree."""
    agreed = standing.agreement(lines, taxonomy)
    return {
        "spent_s": dict(standing.spent_s(lines)),
        "agreement": {
            "tasks": agreed.tasks, "fleiss_kappa": _known(agreed.fleiss),
            "cohen_kappa": {
                f"{one}, {two}": _known(value) for (one, two), value in agreed.cohen.items()
            },
            "boxes": agreed.boxes,
            "icc": {
                name: {"value": _known(found.single.value), "low": _known(found.single.low),
                       "high": _known(found.single.high)}
                for name, found in agreed.icc.items()
            },
        },
    }  # fmt: skip


def _annotators(lines: Sequence[Settled], taxonomy: Taxonomy) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {}
    for name, record in sorted(standing.gold_records(lines, taxonomy).items()):
        recall = record.recall()
        told[name] = {
            "gold": record.answered, "passed": record.passed,
            "failed": record.failed_at is not None, "recall": [recall.found, recall.planted],
            "rms_centre_m": _known(record.rms[0]), "rms_size": _known(record.rms[1]),
            "rms_axis_rad": _known(record.rms[2]),
        }  # fmt: skip
    return told


def _known(value: float) -> float | None:
    return None if value != value else round(value, 4)  # noqa: PLR0124
