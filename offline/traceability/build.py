"""The trace of a gate report, with the suite that it speaks of and where the model comes from."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.gate_report import Claim, GateOutcome, GateReport
from contracts.scenario_suite import Ask, Clear, FrozenScenario, FrozenSuite, Light, Told
from offline.datasets.lineage import Branch, Lineage
from offline.traceability.evidence import Evidences, told
from offline.traceability.records import Link, LinkKind, Node, NodeKind, Trace

_SCENARIOS, _SUITE_CLAIM = "scenarios", "suite"
_DIGITS = 12
_ASKS = {
    "manifest": "the file is what its manifest says, and what hangs on the model still fits it",
    "budget": "it runs on the vehicle in time, and fits",
    "scenarios": "it sees what it must in situations that never change",
    "tails": "it is no worse where it matters: safety classes, night, rain, range",
    "aggregate": "it is no worse on what the fleet meets",
    "heads": "ground, light and motion are no worse",
    "calibration": "its probabilities mean what they say",
    "shadow": "beside the active model on the fleet it neither fails nor is contradicted",
}


def trace_of(
    report: GateReport, suite: FrozenSuite | None = None, lineage: Lineage | None = None,
    evidence: Evidences | None = None,
) -> Trace:  # fmt: skip
    """Every claim once, with all that it stands on.

    Args:
        suite: the frozen scenarios that the report speaks of; without it they are names.
        lineage: where models come from; without it the trace ends at the model.
        evidence: by digest; without it evidence is a digest alone.

    Raises `InputError` for another suite, a scenario that only one of report and suite knows,
    evidence that is not there or of another kind, and a model, dataset or clip that the lineage
    names and does not have.
    """
    graph = _Graph()
    scenarios = _scenarios(report, suite)
    goal = graph.add("goal", f"goal:{report.candidate}",
                     f"{report.candidate_name} may replace {report.reference_name}",
                     state=_verdict(report))  # fmt: skip
    model = graph.add("model", f"model:{report.candidate}", report.candidate_name,
                      digest=report.candidate)  # fmt: skip
    for outcome in report.gates:
        argument = graph.add(
            "argument", f"argument:{outcome.gate}", _ASKS[outcome.gate], state=outcome.verdict,
            told=outcome.reason,
        )  # fmt: skip
        graph.link("argued_by", goal, argument)
        for claim in outcome.claims:
            _add_claim(graph, outcome, argument, claim, model, scenarios)
            if evidence is not None:
                _add_evidence(graph, claim, evidence)
    for name, text in scenarios.items():
        if f"scenario:{name}" not in graph.nodes:
            found = next((each.told for each in report.observed if each.name == name), "")
            scenario = graph.add("scenario", f"scenario:{name}", text[0], digest=text[1],
                                 state="target", told=found)  # fmt: skip
            graph.link("not_yet_required", f"argument:{_SCENARIOS}", scenario)
    if lineage is not None:
        _add_origins(graph, model, lineage.origins(lineage.find(report.candidate)))
    return Trace(
        report=report.digest, candidate=report.candidate, reference=report.reference,
        policy=report.policy, suite=report.suite, passes=report.passes,
        nodes=tuple(graph.nodes.values()), links=tuple(graph.links),
        gaps=tuple(_gaps(report, suite, lineage, evidence)),
    )  # fmt: skip


class _Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.links: list[Link] = []

    def add(self, kind: NodeKind, name: str, text: str, *, state: str = "", told: str = "",
            digest: str | None = None) -> str:  # fmt: skip
        """A node's id; one that is there already stays."""
        node = Node(id=name, kind=kind, text=text, state=state, told=told, digest=digest)
        self.nodes.setdefault(name, node)
        return name

    def link(self, kind: LinkKind, above: str, below: str) -> None:
        link = Link(kind=kind, above=above, below=below)
        if link not in self.links:
            self.links.append(link)


def _add_claim(
    graph: _Graph, outcome: GateOutcome, argument: str, claim: Claim, model: str,
    scenarios: dict[str, tuple[str, str | None]],
) -> None:  # fmt: skip
    name = f"claim:{outcome.gate}/{claim.name}"
    if name in graph.nodes:
        raise InputError(f"{claim.name} is claimed twice", outcome.gate)
    digest = canonical_digest({"gate": outcome.gate, "requirement": claim.requirement})
    requirement = graph.add("requirement", f"requirement:{digest[:_DIGITS]}", claim.requirement)
    graph.link("needs", argument, requirement)
    graph.nodes[name] = Node(
        id=name, kind="claim", text=f"{claim.name}: {claim.requirement}"[:1000],
        state=claim.verdict, told=claim.told, value=claim.value, limit=claim.limit,
    )  # fmt: skip
    asked = requirement
    if outcome.gate == _SCENARIOS and claim.name != _SUITE_CLAIM:
        text, content = scenarios[claim.name]
        asked = graph.add("scenario", f"scenario:{claim.name}", text, state="must", digest=content)
        graph.link("exercised_by", requirement, asked)
    graph.link("judged_by", asked, name)
    shown = graph.add("evidence", f"evidence:{claim.evidence.digest}", claim.evidence.kind,
                      digest=claim.evidence.digest)  # fmt: skip
    graph.link("rests_on", name, shown)
    graph.link("about", shown, model)


def _add_evidence(graph: _Graph, claim: Claim, evidence: Evidences) -> None:
    digest = claim.evidence.digest
    held = evidence.get(digest)
    if held is None or held.kind != claim.evidence.kind:
        raise InputError(f"the evidence of {claim.name} is not at hand: {claim.evidence.kind}"
                         f" {digest[:_DIGITS]}", "evidence")  # fmt: skip
    name = f"evidence:{digest}"
    graph.nodes[name] = graph.nodes[name].model_copy(update={"told": told(held)})


def _scenarios(
    report: GateReport, suite: FrozenSuite | None
) -> dict[str, tuple[str, str | None]]:  # fmt: skip
    """Text and digest of every scenario that the report may speak of, once both agree."""
    ran = next(gate for gate in report.gates if gate.gate == _SCENARIOS)
    claimed = {claim.name for claim in ran.claims} - {_SUITE_CLAIM}
    observed = {each.name: each for each in report.observed}
    if suite is None:
        slices = {name: one.safety_slice for name, one in observed.items()}
        return {name: (slices.get(name, name), None) for name in [*observed, *claimed]}
    if suite.digest != report.suite:
        raise InputError(f"the report speaks of the suite {report.suite[:12]}, not of this one",
                         f"{suite.name} version {suite.version}")  # fmt: skip
    known = {each.scenario.name: each for each in suite.scenarios}
    for name in sorted({*claimed, *observed} - set(known)):
        raise InputError(f"the scenario {name} is judged and is not in the suite", suite.name)
    musts = {name for name, each in known.items() if each.standing == "must"}
    if ran.verdict != "not_run":
        for name in sorted(musts ^ claimed):
            raise InputError(f"the scenario {name} must be passed and judged, or neither",
                             suite.name)  # fmt: skip
    return {name: (_asked(each), each.digest) for name, each in known.items()}


def _asked(frozen: FrozenScenario) -> str:
    scenario = frozen.scenario
    return f"{scenario.safety_slice}: " + "; ".join(_words(ask) for ask in scenario.asks)


def _words(ask: Ask) -> str:
    match ask:
        case Told():
            beside = "" if ask.beside_m is None else f", {ask.beside_m:g} m beside its path"
            moving = (
                "" if ask.velocity_mps is None else f", velocity within {ask.velocity_mps:g} m/s"
            )
            return f"{ask.share:.0%} of {ask.who} within {ask.within_m:g} m{beside} told{moving}"
        case Clear():
            return f"nothing told ahead up to {ask.ahead_m:g} m but in {ask.frames} frames"
        case Light():
            return f"the light right in {ask.share:.0%} of the frames"


def _add_origins(graph: _Graph, above: str, branch: Branch) -> None:
    for each in branch.beyond:
        name = f"origin:{each.thing.kind}/{each.thing.name}"
        if each.missing:
            raise InputError(f"{above} comes from the {each.thing.kind} {each.thing.name}, which is"
                             " named and not at hand", "lineage")  # fmt: skip
        here = name in graph.nodes
        graph.add("origin", name, f"{each.thing.kind} {each.thing.name}", told=each.told)
        graph.link("comes_from", above, name)
        if not here:
            _add_origins(graph, name, each)


def _verdict(report: GateReport) -> str:
    if report.passes:
        return "pass"
    return "not_run" if report.waits_for_the_fleet else "fail"


def _gaps(
    report: GateReport, suite: FrozenSuite | None, lineage: Lineage | None,
    evidence: Evidences | None,
) -> Iterator[str]:  # fmt: skip
    if suite is None:
        yield "no suite is given: scenarios are told by name, and not by what they hold"
    if lineage is None:
        yield "no lineage is given: where the model comes from is not told"
    if evidence is None:
        yield "no evidence is given: it is told by its digest alone"
    for outcome in report.gates:
        if outcome.verdict == "not_run":
            yield f"the gate {outcome.gate} was not run: {outcome.reason}"
