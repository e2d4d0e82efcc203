"""The trace claim by claim, as CSV, and as a page for people: both ways."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from html import escape

from offline.loop_report.html import Mood, code, folded, ids, paragraph, pill, section, table
from offline.loop_report.page import document
from offline.traceability.records import Link, Node, Trace

COLUMNS = (
    "gate", "requirement_id", "requirement", "scenario_id", "scenario", "scenario_digest",
    "claim_id", "verdict", "found", "value", "limit", "evidence_id", "evidence_kind",
    "evidence_digest", "model", "report",
)  # fmt: skip
_MOODS: dict[str, Mood] = {"pass": "good", "fail": "bad", "not_run": "", "": ""}


def claim_rows(trace: Trace) -> Iterator[dict[str, str]]:
    """A row a claim, by the names of `COLUMNS`, in the order of the report."""
    nodes = {node.id: node for node in trace.nodes}
    up: dict[tuple[str, str], Link] = {(link.kind, link.below): link for link in trace.links}
    down: dict[tuple[str, str], Link] = {(link.kind, link.above): link for link in trace.links}
    for claim in trace.of_kind("claim"):
        asked = nodes[up["judged_by", claim.id].above]
        scenario = asked if asked.kind == "scenario" else None
        requirement = asked if scenario is None else nodes[up["exercised_by", asked.id].above]
        evidence = nodes[down["rests_on", claim.id].below]
        yield {
            "gate": _gate(up, requirement), "requirement_id": requirement.id,
            "requirement": requirement.text,
            "scenario_id": "" if scenario is None else scenario.id,
            "scenario": "" if scenario is None else scenario.text,
            "scenario_digest": "" if scenario is None else scenario.digest or "",
            "claim_id": claim.id, "verdict": claim.state, "found": claim.told,
            "value": _number(claim.value), "limit": _number(claim.limit),
            "evidence_id": evidence.id, "evidence_kind": evidence.text,
            "evidence_digest": evidence.digest or "", "model": trace.candidate,
            "report": trace.report,
        }  # fmt: skip


def csv_text(trace: Trace) -> str:
    """With a head line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(claim_rows(trace))
    return out.getvalue()


def page_text(trace: Trace) -> str:
    """Down from the goal, and up from each piece of evidence and each origin."""
    (goal,) = trace.of_kind("goal")
    words = {"pass": "Shown", "fail": "Not shown", "not_run": "Not yet shown"}[goal.state]
    mood = {"pass": "good", "fail": "bad", "not_run": "open"}[goal.state]
    title = f"{words}: {goal.text}"
    claims = trace.of_kind("claim")
    held = sum(claim.state == "pass" for claim in claims)
    why = f"{held} of {len(claims)} claims hold, on {len(trace.of_kind('evidence'))} pieces of"
    gaps = "".join(f"<li>{escape(gap)}</li>" for gap in trace.gaps)
    body = (
        f'<header class="verdict {mood}"><h1>{escape(title)}</h1>'
        f"{paragraph(f'{why} evidence.', 'why')}</header>"
        + (f'<div class="notes"><ul>{gaps}</ul></div>' if gaps else "")
        + "".join(_argument(trace, each) for each in trace.of_kind("argument"))
        + _upward(trace) + _origins(trace)
        + ids(report=trace.report, candidate=trace.candidate, reference=trace.reference,
              policy=trace.policy, suite=trace.suite)
    )  # fmt: skip
    return document(title, body)


def _argument(trace: Trace, argument: Node) -> str:
    gate = argument.id.partition(":")[2]
    held = [row for row in claim_rows(trace) if row["gate"] == gate]
    staged = any(row["scenario_id"] for row in held)
    rows = [
        (
            escape(row["requirement"]), *(_scenario(row) if staged else ()),
            pill(row["verdict"], _MOODS[row["verdict"]]), escape(row["found"]),
            code(row["evidence_digest"]),
        )
        for row in held
    ]  # fmt: skip
    targets = [
        (escape(node.id.partition(":")[2]), escape(node.text), escape(node.told))
        for node in trace.of_kind("scenario") if node.state == "target"
    ] if gate == "scenarios" else []  # fmt: skip
    more = ("scenario", "what is asked", "holds") if staged else ()
    head = ("required", *more, "verdict", "found", "evidence")
    return section(
        gate, f"{gate}: {argument.text}", argument.told, pill(argument.state.replace("_", " "),
                                                              _MOODS[argument.state]),
        table(head, rows) if rows else "",
        folded(f"{len(targets)} scenarios that are not required yet",
               table(("scenario", "asked", "found"), targets)) if targets else "",
    )  # fmt: skip


def _scenario(row: dict[str, str]) -> tuple[str, ...]:
    name = row["scenario_id"].partition(":")[2]
    return f"<b>{escape(name)}</b>", escape(row["scenario"]), code(row["scenario_digest"])


def _upward(trace: Trace) -> str:
    rows = []
    for evidence in trace.of_kind("evidence"):
        above = trace.above(evidence.id)
        counts = {kind: sum(name.startswith(f"{kind}:") for name in above)
                  for kind in ("claim", "scenario", "requirement")}  # fmt: skip
        gates = sorted(name.partition(":")[2] for name in above if name.startswith("argument:"))
        rows.append((
            escape(evidence.text), code(evidence.digest), escape(evidence.told),
            str(counts["claim"]), str(counts["scenario"]), str(counts["requirement"]),
            escape(", ".join(gates)),
        ))  # fmt: skip
    head = ("evidence", "digest", "", "claims", "scenarios", "requirements", "gates")
    return section("upward", "Up from the evidence", "What stands on each piece.",
                   table(head, rows, numbers=(3, 4, 5)))  # fmt: skip


def _origins(trace: Trace) -> str:
    origins = trace.of_kind("origin")
    if not origins:
        return ""
    rows = []
    for node in origins:
        kind, _, name = node.id.removeprefix("origin:").rpartition("/")
        rows.append((escape(kind), code(name), escape(node.told)))
    return section("origins", "Where the model comes from", "",
                   folded(f"{len(rows)} things", table(("", "", ""), rows)))  # fmt: skip


def _gate(up: dict[tuple[str, str], Link], requirement: Node) -> str:
    return up["needs", requirement.id].above.partition(":")[2]


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
