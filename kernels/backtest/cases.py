"""Run a spec's own tests: made-up drives, ticked as the vehicle ticks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contracts.clock import NS_PER_S
from contracts.signals import SIGNAL_INDEX
from contracts.spec_cases import ExpectedFire, SpecCase
from contracts.trigger_spec import LoadedSpec
from kernels.backtest.replay import Cooldowns
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine, absent_values
from kernels.triggers.likeness import references_of, score_names

TICK_NS = 20_000_000
"""The vehicle's tick."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case against its expectation; it passes when nothing is missing and nothing too many."""

    case: SpecCase
    fires: tuple[Fire, ...]
    missing: tuple[ExpectedFire, ...]
    extra: tuple[Fire, ...]

    @property
    def passed(self) -> bool:
        return not self.missing and not self.extra


def run_case(loaded: LoadedSpec, case: SpecCase) -> CaseResult:
    """Drive one case; fires within the spec's cooldown do not count, as on the vehicle."""
    classes = tuple(case.frames.classes) if case.frames is not None else ()
    references = references_of([loaded])
    engine = TriggerEngine([loaded], case.drive, score_names(classes, references))
    cooldowns = Cooldowns()
    # Day 0: a test does not end with its spec's expiry.
    fires = [
        fire
        for inputs in _ticks(case, len(references))
        for fire in engine.step(inputs)
        if cooldowns.outcome(loaded.spec, "", "", fire.fired_mono_ns, 0) == "fire"
    ]
    extra = list(fires)
    missing = []
    for expected in case.fires:
        found = next((fire for fire in extra if _meets(fire, expected)), None)
        if found is None:
            missing.append(expected)
        else:
            extra.remove(found)
    return CaseResult(case, tuple(fires), tuple(missing), tuple(extra))


def _ticks(case: SpecCase, references: int) -> Iterator[TickInputs]:
    signals = [(SIGNAL_INDEX[name], series) for name, series in case.signals.items()]
    frames = case.frames
    told = list(frames.classes.values()) if frames is not None else []
    scores = np.zeros(max(1, len(told) + references))
    if frames is not None and frames.similarity is not None:
        told += [frames.similarity] * references
    frame = 0
    for now_ns in range(0, case.duration, TICK_NS):
        values = absent_values()
        for row, series in signals:
            values[row] = series.at(now_ns)
        if frames is not None and frame <= now_ns // frames.every:
            frame = now_ns // frames.every + 1
            for i, series in enumerate(told):
                scores[i] = np.nan_to_num(series.at(now_ns))
        yield TickInputs(now_ns, values, scores, frame, case.horizon / NS_PER_S)


def _meets(fire: Fire, expected: ExpectedFire) -> bool:
    near = abs(fire.fired_mono_ns - expected.at) <= expected.within
    return near and expected.text in (None, fire.text)
