"""Drift of what the fleet meets: a period against the random stream of a reference period.

Only the random stream speaks of the fleet, each clip with the inverse of its probability.
Triggered clips are compared spec by spec with what the same trigger brought before: a change
there is one of the roads, or of the spec's new version.

Each cohort is tested by its embeddings and by its figures; p-values are adjusted over all of
them. That holds within one report: whoever makes one each day meets the level each day anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.health.discoveries import adjusted
from offline.health.energy import Pooled, apart, least_p, p_value, pooled
from offline.health.observed import (
    Observation,
    Unit,
    apart_or_refused,
    embeddings_of,
    of_stream,
    units_of,
    weights_of,
)
from offline.health.records import EMBEDDING, DriftReport, NotTested, Tested

LEVEL, ROUNDS = 0.05, 1_999
ALL = "all"
_LEAST_DRIVES = 2


@dataclass(frozen=True, slots=True)
class Watch:
    """How to test: `level` of false discoveries, `rounds` of each test at least, what is dealt
    whole, and the seed of the deals.
    """

    level: float = LEVEL
    rounds: int = ROUNDS
    unit: Unit = "drive"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.rounds < 1:
            raise InputError("a level lies between 0 and 1, and takes a round at least")


def drift(
    now: Sequence[Observation], reference: Sequence[Observation], space: str,
    watch: Watch | None = None,
) -> DriftReport:  # fmt: skip
    """Every cohort of both streams.

    Args:
        space: the model whose embeddings these are.

    Raises `InputError` where a clip is in both periods.
    """
    watch = watch or Watch()
    apart_or_refused(now, reference)
    tests: list[tuple[Tested, Pooled]] = []
    untested: list[NotTested] = []
    for cohort, new, old in _cohorts(now, reference):
        reason = _reason(new, old, watch.unit)
        if reason:
            untested.append(NotTested(cohort=cohort, reason=reason))
        else:
            tests += _tests(cohort, new, old, watch)
    judged = _judged(tests, watch)
    return DriftReport(
        space=space, level=watch.level, rounds=_rounds(len(tests), watch),
        clips=len(of_stream(now, "random")), reference_clips=len(of_stream(reference, "random")),
        tests=tuple(judged), not_tested=tuple(untested),
    )  # fmt: skip


_Cohort = tuple[str, list[Observation], list[Observation]]


def _cohorts(now: Sequence[Observation], reference: Sequence[Observation]) -> Iterator[_Cohort]:
    new, old = of_stream(now, "random"), of_stream(reference, "random")
    yield ALL, new, old
    for tag in sorted({tag for clip in [*new, *old] for tag in clip.tags}):
        yield tag, [c for c in new if tag in c.tags], [c for c in old if tag in c.tags]
    new, old = of_stream(now, "triggered"), of_stream(reference, "triggered")
    for spec in sorted({spec for clip in new for spec in clip.specs}):
        asked = [clip for clip in new if spec in clip.specs]
        before = [clip for clip in old if any(name == spec[0] for name, _ in clip.specs)]
        yield f"spec={spec[0]} v{spec[1]}", asked, before


def _reason(new: Sequence[Observation], old: Sequence[Observation], unit: Unit) -> str:
    """Why it cannot be tested; empty where it can."""
    for clips, what in ((new, "this period"), (old, "the reference")):
        count = np.unique(units_of(clips, unit)).size if clips else 0
        if count < _LEAST_DRIVES:
            return f"{what} holds {len(clips)} clips of {count} {unit}s"
    return ""


def _tests(
    cohort: str, new: Sequence[Observation], old: Sequence[Observation], watch: Watch
) -> Iterator[tuple[Tested, Pooled]]:
    yield _test(cohort, EMBEDDING, (new, embeddings_of(new)), (old, embeddings_of(old)), watch)
    names = {name for clip in new for name in clip.figures}
    for name in sorted(names & {name for clip in old for name in clip.figures}):
        held_new = [clip for clip in new if name in clip.figures]
        held_old = [clip for clip in old if name in clip.figures]
        if not _reason(held_new, held_old, watch.unit):
            values = [
                np.array([[clip.figures[name]] for clip in clips], dtype=np.float64)
                for clips in (held_new, held_old)
            ]
            if np.ptp(np.concatenate(values)) == 0:
                # What is the same in every clip, such as a class that nobody met, tells nothing.
                continue
            yield _test(cohort, name, (held_new, values[0]), (held_old, values[1]), watch)


_Sample = tuple[Sequence[Observation], Float64s]


def _test(
    cohort: str, measure: str, new: _Sample, old: _Sample, watch: Watch
) -> tuple[Tested, Pooled]:
    """Not yet judged."""
    weights = [weights_of(clips) for clips, _ in (old, new)]
    units = [units_of(clips, watch.unit) for clips, _ in (old, new)]
    held = pooled((old[1], weights[0], units[0]), (new[1], weights[1], units[1]))
    found = apart(held)
    means = [float(np.average(v[:, 0], weights=w)) for (_, v), w in zip((old, new), weights,
                                                                       strict=True)]  # fmt: skip
    told = measure != EMBEDDING
    return Tested(
        cohort=cohort, measure=measure, clips=len(new[0]), drives=np.unique(units[1]).size,
        reference_clips=len(old[0]), reference_drives=np.unique(units[0]).size,
        distance=max(found.distance, 0.0), size=found.size,
        before=means[0] if told else None, now=means[1] if told else None, p_value=None,
    ), held  # fmt: skip


def _judged(tests: Sequence[tuple[Tested, Pooled]], watch: Watch) -> Iterator[Tested]:
    rounds = _rounds(len(tests), watch)
    p_values = [
        p_value(held, rounds, watch.seed + number) if least_p(held) <= watch.level else None
        for number, (_, held) in enumerate(tests)
    ]
    known = iter(adjusted([value for value in p_values if value is not None]))
    for (test, _), value in zip(tests, p_values, strict=True):
        sure = None if value is None else next(known)
        yield test.model_copy(update={
            "p_value": value, "adjusted": sure,
            "drifted": sure is not None and sure <= watch.level,
        })  # fmt: skip


def _rounds(tests: int, watch: Watch) -> int:
    """So many that one test alone among all can be believed."""
    return max(watch.rounds, math.ceil(2 * tests / watch.level))
