"""Whether the candidate may go out, what changed, and how far it went."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from contracts.gate_report import GateReport
from offline.gates.evidence import ShadowEvidence
from offline.loop_report.facts import Change, RolloutStage, SpecChange
from offline.loop_report.html import (
    Mood,
    code,
    folded,
    heading,
    ids,
    legend,
    pairs,
    paragraph,
    pill,
    section,
    table,
)
from offline.loop_report.plots.changes import changes_plot
from offline.loop_report.words import (
    duration,
    interval,
    metric_words,
    number,
    percent,
    signed_percent,
)

_GATE_MOODS: dict[str, Mood] = {"pass": "good", "fail": "bad", "not_run": ""}
_VERDICT_MOODS: dict[str, Mood] = {"better": "good", "worse": "bad", "unsure": "open"}
_ROLLOUT_MOODS: dict[str, Mood] = {
    "done": "good", "running": "open", "aborted": "bad", "rolled_back": "bad", "waiting": "",
}  # fmt: skip
_NS = 1e9
_DOTS = (("grey", "before"), ("green", "better"), ("red", "worse"), ("amber", "may be chance"))


def gates_section(report: GateReport | None) -> str | None:
    """The failing claims first, then gate by gate."""
    if report is None:
        return None
    failures = "".join(
        f'<div class="failure"><b>{escape(claim.name)}</b> {pill(gate.gate, "bad")}'
        f"<p>Asked: {escape(claim.requirement)}</p><p>Found: {escape(claim.told)}</p>"
        f"<p>Evidence: {claim.evidence.kind} {code(claim.evidence.digest)}</p></div>"
        for gate in report.gates for claim in gate.claims if claim.verdict == "fail"
    )  # fmt: skip
    rows = [
        (escape(gate.gate), pill(gate.verdict.replace("_", " "), _GATE_MOODS[gate.verdict]),
         str(len(gate.claims) or ""), escape(gate.reason))
        for gate in report.gates
    ]  # fmt: skip
    claims = [
        (escape(gate.gate), escape(claim.name), pill(claim.verdict, _GATE_MOODS[claim.verdict]),
         escape(claim.told), code(claim.evidence.digest))
        for gate in report.gates for claim in gate.claims
    ]  # fmt: skip
    spi = [(escape(name), number(value)) for name, value in sorted(report.indicators.items())]
    return section(
        "gates", "Gates",
        f"May {report.candidate_name} replace {report.reference_name}? The first gate that does not"
        " pass stops those behind it.",
        failures, table(("gate", "verdict", "claims", ""), rows, numbers=(2,)),
        _suite(report),
        folded(f"all {len(claims)} claims",
               table(("gate", "claim", "verdict", "found", "evidence"), claims)),
        folded("safety performance indicators", table(("indicator", ""), spi, numbers=(1,)))
        if spi else "",
        ids(report=report.digest, candidate=report.candidate, reference=report.reference,
            suite=report.suite, policy=report.policy),
    )  # fmt: skip


def _suite(report: GateReport) -> str:
    if not report.observed:
        return ""
    slices: dict[str, list[int]] = {}
    for each in report.observed:
        count = slices.setdefault(each.safety_slice, [0, 0, 0, 0])
        at = 0 if each.standing == "must" else 2
        count[at] += each.passed
        count[at + 1] += 1
    rows = [(escape(name), f"{a} of {b}", f"{c} of {d}") for name, (a, b, c, d) in slices.items()]
    return folded(
        f"{len(report.observed)} frozen scenarios by safety slice",
        table(("slice", "must pass", "targets, which stop nobody"), rows, numbers=(1, 2)),
    )


def changes_section(key: str, title: str, lead: str, changes: Sequence[Change]) -> str | None:
    """Before and after, as a plot and as a table."""
    if not changes:
        return None
    rows = [
        (
            escape(metric_words(each.metric)), escape(each.slice), number(each.before),
            number(each.after),
            "" if each.relative is None else signed_percent(each.relative),
            interval(*(each.after_bounds or (None, None))),
            pill(each.verdict, _VERDICT_MOODS[each.verdict]),
        )
        for each in changes
    ]  # fmt: skip
    head = ("figure", "slice", "before", "after", "change", "after, 95 %", "")
    return section(
        key,
        title,
        lead,
        legend(_DOTS),
        changes_plot(changes),
        folded("as a table", table(head, rows, numbers=(2, 3, 4, 5))),
    )


def shadow_section(shadow: ShadowEvidence | None) -> str | None:
    """The candidate beside the active model."""
    if shadow is None:
        return None
    objects = shadow.agreed + shadow.class_differs + shadow.only_active + shadow.only_candidate
    rows = [
        ("frames", f"{shadow.frames:,}"), ("frames without an answer", f"{shadow.crashes:,}"),
        *(
            (told, f"{count:,}" + (f" ({percent(count / objects)})" if objects else ""))
            for told, count in (
                ("objects that both tell alike", shadow.agreed),
                ("of another class", shadow.class_differs),
                ("told by the active model alone", shadow.only_active),
                ("told by the candidate alone", shadow.only_candidate),
            )
        ),
        ("frames in which the plan differs", f"{shadow.disagreements:,}"),
        ("the human did what the candidate asked for", f"{shadow.confirmed:,}"),
        ("the human did what the active model asked for", f"{shadow.refuted:,}"),
    ]  # fmt: skip
    return section(
        "shadow", "Shadow", f"The candidate beside the active model on {shadow.vehicles} vehicles.",
        pairs(rows),
    )  # fmt: skip


def rollout_section(
    stages: Sequence[RolloutStage], specs: Sequence[SpecChange]
) -> str | None:  # fmt: skip
    """Stages of the rollout with their times, and trigger specs that went with it."""
    if not stages and not specs:
        return None
    parts = []
    if stages:
        rows = [
            (escape(each.name), pill(each.state.replace("_", " "), _ROLLOUT_MOODS[each.state]),
             "" if each.vehicles is None else f"{each.vehicles:,}", _took(each),
             escape(each.reason))
            for each in stages
        ]  # fmt: skip
        parts.append(table(("stage", "", "vehicles", "took", ""), rows, numbers=(2, 3)))
    else:
        parts.append(paragraph("No model was rolled out.", "missing"))
    if specs:
        told = [
            (escape(each.trigger_id), f"v{each.version}", escape(each.told), escape(each.state))
            for each in specs
        ]  # fmt: skip
        parts += [heading("Trigger specs that changed by what was learned"),
                  table(("trigger", "version", "what changed", ""), told)]  # fmt: skip
    return section("rollout", "Rollout", "", *parts)


def _took(stage: RolloutStage) -> str:
    if stage.start_utc_ns is None or stage.end_utc_ns is None:
        return ""
    return duration((stage.end_utc_ns - stage.start_utc_ns) / _NS)
