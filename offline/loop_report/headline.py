"""What happened, in one sentence, and how it is to be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.gate_report import GateOutcome, GateReport
from offline.loop_report.facts import Change, LoopFacts, RolloutStage
from offline.loop_report.words import metric_words, plural, signed_percent

Mood = Literal["good", "bad", "open"]
_MOST_CHANGES, _MOST_IN_TITLE = 3, 2
_CANARY, _ALL = "canary", "100"


@dataclass(frozen=True, slots=True)
class Headline:
    """`told` is the title; `why` what stands under it."""

    mood: Mood
    told: str
    why: str = ""


def headline(facts: LoopFacts) -> Headline:
    """Of the first that applies: a stage that failed, the gates, what is still to come."""
    failed = next((each for each in facts.stages if each.state == "failed"), None)
    gates = facts.gates
    stopped = None if gates is None or gates.waits_for_the_fleet else gates.stopped_by
    if gates is not None and stopped is not None:
        return _nothing_shipped(gates, stopped)
    if failed is not None:
        return Headline("bad", f"Nothing was shipped: the stage {failed.name} failed",
                        failed.reason)  # fmt: skip
    if gates is None:
        waiting = next((each for each in facts.stages if each.state == "waiting"), None)
        where = f": {waiting.name} waits" if waiting is not None else ""
        return Headline("open", f"No candidate has been judged yet{where}",
                        "" if waiting is None else waiting.reason)  # fmt: skip
    if gates.waits_for_the_fleet:
        return Headline("open", "Every gate but the shadow passes; the fleet has not been asked",
                        _changes(facts))  # fmt: skip
    return _passed(facts)


def _nothing_shipped(gates: GateReport, stopped: GateOutcome) -> Headline:
    failures = [claim for claim in stopped.claims if claim.verdict == "fail"]
    if not failures:
        return Headline("bad", f"Nothing was shipped: the gate {stopped.gate} could not judge",
                        stopped.reason)  # fmt: skip
    first = failures[0]
    what = "scenario" if stopped.gate == "scenarios" else "claim"
    more = f" and {plural(len(failures) - 1, what)} more" if len(failures) > 1 else ""
    title = f"Nothing was shipped: {what} {first.name} failed{more}"
    asked = f"Asked: {first.requirement}. Found: {first.told or 'no more is told'}."
    if stopped.gate != "scenarios":
        asked += f" Gate: {stopped.gate}."
    return Headline("bad", title, asked)


def _passed(facts: LoopFacts) -> Headline:
    now = _now(facts.rollout)
    changes = _changes(facts)
    if now is None:
        return Headline("good", "The candidate passes all gates; it is not rolled out yet", changes)
    if now.state in ("aborted", "rolled_back"):
        word = "was rolled back" if now.state == "rolled_back" else "was stopped"
        return Headline("bad", f"The candidate passed all gates, and its rollout {word} at"
                        f" {now.name}", now.reason or changes)  # fmt: skip
    where = {_CANARY: "is on the canary"}.get(now.name.lower(), f"is at {now.name}")
    if now.state == "done" and all(each.state == "done" for each in facts.rollout):
        where = "is on the whole fleet" if _ALL in now.name else f"has finished {now.name}"
    short = ", ".join(_short(each) for each in _chosen(facts)[:_MOST_IN_TITLE])
    title = f"The candidate passes all gates and {where}" + (f": {short}" if short else "")
    return Headline("good", title, changes)


def _now(rollout: tuple[RolloutStage, ...]) -> RolloutStage | None:
    """The stage that the rollout is in, or where it ended."""
    begun = [each for each in rollout if each.state != "waiting"]
    ended = [each for each in begun if each.state in ("aborted", "rolled_back")]
    return (ended or begun)[-1] if begun else None


def _changes(facts: LoopFacts) -> str:
    """The changes that matter, with what is sure of them."""
    text = ", ".join(_change(each) for each in _chosen(facts)[:_MOST_CHANGES])
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _chosen(facts: LoopFacts) -> list[Change]:
    return [each for each in facts.trials if each.headline] or list(facts.trials)


def _short(change: Change) -> str:
    where = "" if change.slice == "all" else f" ({change.slice})"
    name = f"{metric_words(change.metric)}{where}"
    if change.relative is None:
        return f"{name} {change.before:g} → {change.after:g}"
    return f"{name} {signed_percent(change.relative)}"


def _change(change: Change) -> str:
    told = _short(change)
    bounds = change.after_bounds
    if bounds is None or not change.before:
        return told
    low, high = (
        signed_percent((end - change.before) / abs(change.before)) for end in sorted(bounds)
    )
    unsure = ", may be chance" if change.verdict == "unsure" else ""
    return f"{told} (95 %: {low} … {high}{unsure})"
