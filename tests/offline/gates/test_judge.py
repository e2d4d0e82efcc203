"""The gates in their order: what passes, what stops, and why it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.errors import InputError
from contracts.gate_report import GATES, GateName, GateReport
from models.evaluation.comparison import Difference
from offline.gates.judge import judge, with_shadow
from offline.gates.policy import Policy, read_policy
from tests.offline.gates.evidences import (
    NEW,
    OLD,
    Given,
    comparison,
    difference,
    manifest,
    scenarios,
    subjects,
)

POLICY = read_policy()


def judged(given: Given) -> GateReport:
    return judge(subjects(), given, POLICY)


def stopped_at(report: GateReport, gate: GateName) -> dict[str, str]:
    """What the failed claims of the gate told, once it is sure that it stopped the rest."""
    assert not report.passes
    stopped = report.stopped_by
    assert stopped is not None and stopped.gate == gate
    behind = report.gates[GATES.index(gate) + 1 :]
    assert {outcome.verdict for outcome in behind} <= {"not_run"}
    return {claim.name: claim.told for claim in report.failures()}


def test_a_candidate_that_loses_nothing_passes_every_gate() -> None:
    given = Given()
    report = judged(given)
    assert report.passes, report.stopped_by
    assert given.asked == ["manifest", "budget", "scenarios", "tails", "aggregate", "shadow"]
    assert report.indicators["drives: recall/vulnerable"] == 0.8
    assert report.digest == judged(Given()).digest


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        ({"file_sha256": "9" * 64}, "file", "999999999999"),
        ({"file_bytes": 7}, "file", "7 bytes"),
        ({"reference_sha256": "9" * 64}, "reference", "999999999999"),
        ({"reference_sha256": None}, "reference", "nobody looked"),
        ({"self_test": "output 3 is 0.1, not 0.9"}, "self-test", "output 3 is 0.1"),
        ({"candidate": manifest(classes=("car",))}, "taxonomy", "version"),
        ({"candidate": manifest(lineage={"dataset_sha256": ""})}, "lineage", ""),
        ({"candidate": manifest(embedding_tensor=None)}, "embedding", "has none"),
        (
            {"reference": manifest(sha256=OLD, lineage={"embedding_space": "two"})},
            "embedding", "both in space two, median cosine 0.2000",
        ),
        (
            {
                "reference": manifest(sha256=OLD, lineage={"embedding_space": "two"}),
                "embedding_cosine": None,
            },
            "embedding", "both in space two, and nothing of both can be compared",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_says_stops_at_once(
    change: dict[str, Any], name: str, told: str
) -> None:
    given = Given()
    given.manifest_evidence = given.manifest_evidence.model_copy(update=change)
    failures = stopped_at(judged(given), "manifest")
    assert set(failures) == {name}
    assert told in failures[name]
    assert given.asked == ["manifest"]


def test_embeddings_of_another_length_pass_as_a_space_of_their_own() -> None:
    given = Given()
    given.manifest_evidence = given.manifest_evidence.model_copy(update={"embedding_cosine": None})
    assert judged(given).passes


@pytest.mark.parametrize(
    ("change", "name"),
    [({"candidate_cpu_ms": 39.0}, "cpu_ratio"), ({"candidate_bytes": 9_000_000}, "size")],
)
def test_what_the_vehicle_cannot_carry_stops(change: dict[str, Any], name: str) -> None:
    given = Given()
    given.budget_evidence = given.budget_evidence.model_copy(update=change)
    assert set(stopped_at(judged(given), "budget")) == {name}


def test_one_scenario_outweighs_any_mean() -> None:
    given = Given(scenario_evidence=scenarios("deer-at-dusk"))
    given.aggregate_comparison = comparison({"mean_ap": difference("mean_ap", 0.6, 0.9)})
    failures = stopped_at(judged(given), "scenarios")
    assert failures == {"deer-at-dusk": "not seen within 30 m"}
    assert "tails" not in given.asked


def test_a_scenario_without_a_result_is_no_pass() -> None:
    given = Given(scenario_evidence=scenarios(left_out=("deer-at-dusk",)))
    assert stopped_at(judged(given), "scenarios") == {"suite": "2 of 3: not deer-at-dusk"}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (difference("recall/vulnerable", 0.8, 0.78), "not by chance"),
        (difference("recall/vulnerable", 0.8, 0.74, spread=0.2), "over 0.05"),
        (difference("recall/vulnerable", 0.8, None), "the candidate has no such figure"),
        (difference("recall/vulnerable", 0.8, 0.8, truths=3), "at least 30"),
    ],
)
def test_a_tail_that_is_lost_stops(found: Difference, words: str) -> None:
    given = Given(tails_comparison=comparison({"recall/vulnerable": found}))
    failures = stopped_at(judged(given), "tails")
    assert words in failures["recall/vulnerable"]


@pytest.mark.parametrize(
    "found",
    [
        difference("recall/vulnerable", 0.8, 0.795),  # within the margin, though sure
        difference("recall/vulnerable", 0.8, 0.78, spread=0.05),  # beyond it, perhaps by chance
        difference("recall/vulnerable", 0.8, 0.95),
    ],
)
def test_what_may_be_lost_passes(found: Difference) -> None:
    assert judged(Given(tails_comparison=comparison({"recall/vulnerable": found}))).passes


def test_a_slice_with_too_few_objects_is_not_judged_but_a_required_one_is() -> None:
    name = "recall/vulnerable@tod=night"
    thin = comparison({name: difference(name, 0.8, 0.1, truths=5)})
    assert judged(Given(tails_comparison=thin)).passes
    figures = {k: v for k, v in comparison().figures.items() if k != "recall/vulnerable"}
    lacking = comparison().model_copy(update={"figures": figures})
    failures = stopped_at(judged(Given(tails_comparison=lacking)), "tails")
    assert failures == {"recall/vulnerable": "the evaluation holds no such figure"}


@pytest.mark.parametrize(
    ("gate", "name", "before", "after"),
    [
        ("aggregate", "mean_ap", 0.6, 0.57),
        ("heads", "light_accuracy", 0.9, 0.85),
        ("heads", "ade_m", 0.5, 0.9),
        ("calibration", "calibration_error", 0.03, 0.07),
        ("calibration", "calibration_error", 0.12, 0.11),  # better, and still not fit
    ],
)
def test_a_rising_mean_does_not_excuse_the_rest(
    gate: GateName, name: str, before: float, after: float
) -> None:
    changes = {"vehicle_ap_2m": difference("vehicle_ap_2m", 0.9, 0.95)}
    changes[name] = difference(name, before, after)
    failures = stopped_at(judged(Given(aggregate_comparison=comparison(changes))), gate)
    assert set(failures) == {name}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"frames": 1000}, "seen"), ({"vehicles": 1}, "seen"), ({"crashes": 1}, "crashes"),
        ({"agreed": 600, "only_active": 99, "only_candidate": 9}, "objects"),
        ({"only_active": 16_000}, "lost"), ({"only_candidate": 1_000_000}, "extra"),
        ({"confirmed": 10, "refuted": 90}, "human"),
        ({"confirmed": 3, "refuted": 2}, "human"),  # too few to tell
    ],
)  # fmt: skip
def test_the_fleet_has_the_last_word(change: dict[str, Any], name: str) -> None:
    given = Given()
    given.shadow_evidence = given.shadow_evidence.model_copy(update=change)
    assert set(stopped_at(judged(given), "shadow")) == {name}


def test_a_shadow_in_which_nothing_was_told_says_nothing() -> None:
    given = Given()
    given.shadow_evidence = given.shadow_evidence.model_copy(
        update={"agreed": 0, "class_differs": 0, "only_active": 0, "only_candidate": 0}
    )
    failures = stopped_at(judged(given), "shadow")
    assert failures == {"objects": "0 objects", "lost": "0 of 0", "extra": "0 of 0"}


@pytest.mark.parametrize("undecided", ["fail", "not_asked"])
def test_where_nobody_has_decided_the_policy_says_what_follows(undecided: str) -> None:
    given = Given()
    given.shadow_evidence = given.shadow_evidence.model_copy(update={"confirmed": 0, "refuted": 0})
    rule = POLICY.shadow.model_copy(update={"undecided": undecided})
    report = judge(subjects(), given, POLICY.model_copy(update={"shadow": rule}))
    human = next(claim for claim in report.gates[-1].claims if claim.name == "human")
    assert human.told == "nobody has decided any of 300 disagreements"
    assert (human.value, human.limit) == (None, None)
    assert human.requirement.startswith("not asked") == (undecided == "not_asked")
    assert report.passes == (undecided == "not_asked")


@pytest.mark.parametrize("who", ["candidate", "active"])
def test_a_shadow_of_other_models_is_refused(who: str) -> None:
    given = Given()
    given.shadow_evidence = given.shadow_evidence.model_copy(update={who: "9" * 64})
    with pytest.raises(InputError, match="shadow"):
        judged(given)
    waiting = judge(subjects(), Given(shadow_evidence=None), POLICY)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="shadow"):
        with_shadow(waiting, given.shadow_evidence, subjects(), POLICY)


def test_one_report_has_one_policy() -> None:
    waiting = judge(subjects(), Given(shadow_evidence=None), POLICY)  # type: ignore[arg-type]
    evidence = Given().shadow_evidence
    assert with_shadow(waiting, evidence, subjects(), POLICY).policy == POLICY.digest
    shadow = POLICY.shadow.model_copy(update={"min_frames": 1})
    with pytest.raises(InputError, match="another policy"):
        with_shadow(waiting, evidence, subjects(), POLICY.model_copy(update={"shadow": shadow}))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            Given(scenario_evidence=scenarios().model_copy(update={"model": OLD})),
            "run with another model",
        ),
        (Given(scenario_evidence=scenarios().model_copy(update={"suite": OLD})), "another suite"),
    ],
)
def test_evidence_of_something_else_is_refused(given: Given, words: str) -> None:
    with pytest.raises(InputError, match=words):
        judged(given)


def test_an_aggregate_that_nobody_knows_how_to_weigh_is_no_pass() -> None:
    given = Given(aggregate_comparison=comparison(weighted=False))
    failures = stopped_at(judged(given), "aggregate")
    assert failures == {"weights": "nobody says how the frames were drawn"}


def test_a_comparison_of_another_model_is_refused() -> None:
    identity = comparison().candidate.model_copy(update={"digest": OLD})
    other = comparison().model_copy(update={"candidate": identity})
    with pytest.raises(InputError, match="of another candidate"):
        judged(Given(tails_comparison=other))


def test_a_report_cannot_claim_what_its_claims_do_not_bear() -> None:
    report = judged(Given(scenario_evidence=scenarios("deer-at-dusk")))
    told = report.model_dump(mode="json")
    told["gates"][2]["verdict"] = "pass"
    with pytest.raises(ValidationError, match="does not follow from the claims"):
        GateReport.model_validate(told)
    told = judged(Given()).model_dump(mode="json")
    del told["gates"][3]
    with pytest.raises(ValidationError, match="gates: must be"):
        GateReport.model_validate(told)


def test_a_policy_says_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    text = "schema_version: 1\nfigures:\n  - {gate: tails, figures: [a], margin: 2, most: 1}\n"
    path.write_text(text)
    with pytest.raises(InputError, match=r"policy\.yaml:"):
        read_policy(path)
    with pytest.raises(ValidationError, match="most 1 is below margin 2"):
        Policy.model_validate(
            POLICY.model_dump()
            | {"figures": [{"gate": "tails", "figures": ["a"], "margin": 2, "most": 1}]}
        )


def test_the_same_evidence_gives_the_same_report_whoever_asks() -> None:
    given = Given()
    outcomes: list[str] = []
    report = judge(subjects(), given, POLICY, lambda outcome: outcomes.append(outcome.gate))
    assert tuple(outcomes) == GATES
    other = replace(Given(), asked=["before"])
    assert judged(other).digest == report.digest
    assert report.candidate == NEW
