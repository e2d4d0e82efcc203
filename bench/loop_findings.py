"""What a study of the loop shows, each with its interval and, where it has one, its goal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.loop_change import COUNTS, Mean, Reduction, gain, mean_of, reduction, table
from bench.loop_records import LoopStudy, Measures, Turn, Way, drives_of
from contracts.samples import Float64s

ERRORS, DISENGAGEMENTS = "errors", "disengagements"
_SAID = {
    "errors": "critical false negatives and positives", "negatives": "critical false negatives",
    "positives": "critical false positives",
    "whatever_named": "critical errors, wrong names not counted",
    "disengagements": "disengagements",
}  # fmt: skip
_GOALS = {"errors": ">= 25", "disengagements": ">= 20"}
_KEPT_GOAL = ">= 98"


@dataclass(frozen=True, slots=True)
class Finding:
    """`found` in shares where the unit is "%"; goals are on the value in its unit, and on the low
    end of its interval.
    """

    name: str
    found: Mean | Reduction
    unit: str = "%"
    goal: str = ""
    low_goal: str = ""


def findings_of(study: LoopStudy) -> list[Finding]:
    """Those that the turns which are there allow."""
    return [
        *_errors(study), *_disengagements(study), *_kept(study), *_further(study),
        *_against_chance(study), *_bought(study),
    ]  # fmt: skip


def counted(
    study: LoopStudy, way: Way, turn: int, what: str, of_slice: str | None = None
) -> tuple[Float64s, Float64s] | None:
    """Before and after a turn, [seeds, drives]; None where nothing like it was measured."""
    found = [each.measures for each in study.of(way, turn).values()]
    closed = what == DISENGAGEMENTS
    if not found or (closed and not _all_tried([study.before, *found])):
        return None
    after = table(drives_of(found, closed, of_slice), COUNTS[what])
    before = table(drives_of([study.before], closed, of_slice), COUNTS[what])
    return np.repeat(before, len(after), axis=0), after


def tried(study: LoopStudy, way: Way, turn: int) -> bool:
    found = study.of(way, turn)
    return bool(found) and _all_tried([each.measures for each in found.values()])


def _all_tried(measures: list[Measures]) -> bool:
    return all(each.trials is not None for each in measures)


def _errors(study: LoopStudy) -> Iterator[Finding]:
    for what in ("errors", "negatives", "positives", "whatever_named"):
        pair = counted(study, "selector", 1, what)
        if pair is not None and pair[0].sum() > 0:
            yield Finding(
                f"one turn: {_SAID[what]} on the target, fewer by", reduction(*pair),
                goal=_GOALS.get(what, ""),
            )  # fmt: skip
    for name in dict.fromkeys(drive.slice for drive in study.before.drives):
        for what in (ERRORS, "negatives"):
            pair = counted(study, "selector", 1, what, name)
            if pair is not None and pair[0].sum() > 0:
                yield Finding(f"one turn: {_SAID[what]}, {name}, fewer by", reduction(*pair))


def _disengagements(study: LoopStudy) -> Iterator[Finding]:
    pair = counted(study, "selector", 1, DISENGAGEMENTS)
    if pair is not None and pair[0].sum() > 0:
        yield Finding(
            "one turn: disengagements on the target, fewer by", reduction(*pair),
            goal=_GOALS[DISENGAGEMENTS],
        )  # fmt: skip


def _kept(study: LoopStudy) -> Iterator[Finding]:
    for turn in range(1, 1 + last_turn(study)):
        kept = list(study.kept("selector", turn).values())
        yield Finding(f"turn {turn}: AP on the old, of the best ever", mean_of(kept),
                      goal=_KEPT_GOAL)  # fmt: skip
        new = [each.measures.scores.new for each in study.of("selector", turn).values()]
        yield Finding(f"turn {turn}: AP on the target", mean_of(new), "AP")


def _further(study: LoopStudy) -> Iterator[Finding]:
    """Each further turn against the one before, on the seeds that have both."""
    for turn in range(2, 1 + last_turn(study)):
        before = list(study.of("selector", turn - 1).values())
        after = study.of("selector", turn)
        before = [each for each in before if each.seed in after]
        yield _between(f"turn {turn} after turn {turn - 1}", before, list(after.values()), ERRORS)
    last = last_turn(study)
    if last < 2:
        return
    yield from (
        Finding(f"{last} turns: {_SAID[what]} on the target, fewer by", reduction(*pair))
        for what in (ERRORS, DISENGAGEMENTS)
        if (pair := counted(study, "selector", last, what)) is not None
    )
    if tried(study, "selector", last) and tried(study, "selector", 1):
        after = study.of("selector", last)
        first = [each for each in study.of("selector", 1).values() if each.seed in after]
        yield _between(f"turn {last} after turn 1", first, list(after.values()), DISENGAGEMENTS)


def _between(called: str, before: list[Turn], after: list[Turn], what: str) -> Finding:
    closed = what == DISENGAGEMENTS
    one, two = (
        table(drives_of([each.measures for each in turns], closed), COUNTS[what])
        for turns in (before, after)
    )
    return Finding(f"{called}: {_SAID[what]} on the target, fewer by", reduction(one, two))


def _against_chance(study: LoopStudy) -> Iterator[Finding]:
    for what in (ERRORS, DISENGAGEMENTS):
        ours, chance = (counted(study, way, 1, what) for way in ("selector", "random"))
        if ours is None or chance is None or ours[1].shape != chance[1].shape:
            continue
        yield Finding(f"random: {_SAID[what]} on the target, fewer by", reduction(*chance))
        yield Finding(
            f"selector over random: {_SAID[what]}, of those before",
            gain(ours[0], ours[1], chance[1]), low_goal=">= 0.1",
        )  # fmt: skip
    pairs = _pairs(study)
    if pairs:
        apart = [ours.measures.scores.new - chance.measures.scores.new for ours, chance in pairs]
        yield Finding("selector over random: AP on the target", mean_of(apart), "AP")


def _bought(study: LoopStudy) -> Iterator[Finding]:
    pairs = _pairs(study)
    if not pairs:
        return
    for number, way in enumerate(("selector", "random")):
        bought = [pair[number].bought for pair in pairs]
        shares = [each.target_clips / len(each.clips) for each in bought]
        yield Finding(f"{way}: bought clips that are of the target", mean_of(shares))
        yield Finding(f"{way}: labeller-hours a turn",
                      mean_of([each.cost_s / 3600 for each in bought]), "h")  # fmt: skip


def _pairs(study: LoopStudy) -> list[tuple[Turn, Turn]]:
    ours, chance = study.of("selector", 1), study.of("random", 1)
    return [(ours[seed], chance[seed]) for seed in ours if seed in chance]


def last_turn(study: LoopStudy) -> int:
    """The last turn that any seed went."""
    return max((each.turn for each in study.turns if each.way == "selector"), default=0)
