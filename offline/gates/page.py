"""A gate report for people: one Markdown page, the verdict first, then what failed and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts.gate_report import Claim, GateReport

_WORDS = {"pass": "passes", "fail": "**fails**", "not_run": "not run"}


def page_text(report: GateReport) -> str:
    """The page as Markdown: the same report gives the same text."""
    parts = [
        f"# May {report.candidate_name} replace {report.reference_name}?", "", verdict(report), "",
        "## Gates", "", *_gates(report), "", *_failures(report), *_scenarios(report),
        *_indicators(report), "## All claims", "", *_claims(report), "",
        "## What was judged", "",
        f"- candidate `{report.candidate}`", f"- reference `{report.reference}`",
        f"- suite `{report.suite}`", f"- policy `{report.policy}`",
        f"- this report `{report.digest}`",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def verdict(report: GateReport) -> str:
    """One sentence."""
    stopped = report.stopped_by
    if stopped is None:
        return "Yes: every gate passes."
    if report.waits_for_the_fleet:
        return "Not yet: every gate but the shadow passes, and the fleet has not been asked."
    count = sum(claim.verdict == "fail" for claim in stopped.claims)
    why = f"{count} of its {len(stopped.claims)} claims fail" if count else stopped.reason
    return f"No: it is stopped by the gate `{stopped.gate}`, since {why}."


def gate_rows(report: GateReport) -> list[tuple[str, str, str]]:
    """Gate, verdict, and how many claims hold or why it was not run."""
    return [
        (
            gate.gate, gate.verdict,
            gate.reason or
            f"{sum(c.verdict == 'pass' for c in gate.claims)} of {len(gate.claims)} claims hold",
        )
        for gate in report.gates
    ]  # fmt: skip


def _gates(report: GateReport) -> list[str]:
    rows = [(gate, _WORDS[found], told) for gate, found, told in gate_rows(report)]
    return _table(("gate", "verdict", ""), rows)


def _failures(report: GateReport) -> list[str]:
    failures = report.failures()
    if not failures:
        return []
    rows = [(f"`{each.name}`", each.requirement, each.told) for each in failures]
    return ["## Why", "", *_table(("claim", "must hold", "found"), rows), ""]


def _scenarios(report: GateReport) -> list[str]:
    if not report.observed:
        return []
    slices: dict[str, list[int]] = {}
    for each in report.observed:
        count = slices.setdefault(each.safety_slice, [0, 0, 0, 0])
        at = 0 if each.standing == "must" else 2
        count[at] += each.passed
        count[at + 1] += 1
    rows = [(name, f"{a} of {b}", f"{c} of {d}") for name, (a, b, c, d) in slices.items()]
    open_ones = [
        (each.name, each.safety_slice, each.told)
        for each in report.observed if each.standing == "target" and not each.passed
    ]  # fmt: skip
    newly = [e.name for e in report.observed if e.standing == "target" and e.spare]
    found = ["## Frozen scenarios", "", *_table(("slice", "must pass", "targets"), rows), ""]
    if newly:
        names = ", ".join(f"`{name}`" for name in newly)
        found += [
            f"Targets passed with something to spare, to be promoted on release: {names}.",
            "",
        ]
    if open_ones:
        found += ["Targets not passed yet; they stop nobody.", ""]
        found += [*_table(("scenario", "slice", "found"), open_ones), ""]
    return found


def _indicators(report: GateReport) -> list[str]:
    if not report.indicators:
        return []
    rows = [(name, f"{value:.4g}") for name, value in sorted(report.indicators.items())]
    return ["## Safety performance indicators", "", *_table(("indicator", "candidate"), rows), ""]


def _claims(report: GateReport) -> list[str]:
    rows = [_claim_row(gate.gate, claim) for gate in report.gates for claim in gate.claims]
    return _table(("gate", "claim", "verdict", "found", "evidence"), rows)


def _claim_row(gate: str, claim: Claim) -> tuple[str, ...]:
    evidence = f"{claim.evidence.kind} `{claim.evidence.digest[:12]}`"
    return gate, f"`{claim.name}`", _WORDS[claim.verdict], claim.told, evidence


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *(_row(each) for each in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
