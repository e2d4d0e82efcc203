"""Run a set of trigger specs over ticks: the Python face of the step kernel.

The same engine runs on the vehicle and in a backtest, so both fire at the same ticks. When the
set of specs changes during a drive, the new engine takes over the old one's state
(`TriggerEngine.take_over`), in a backtest at the same tick as on the vehicle.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.ids import sha256_hex
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from contracts.trigger_spec import LoadedSpec
from kernels.rules import MAX_STACK
from kernels.triggers import layout as at
from kernels.triggers.adapt import NO_THRESHOLDS, Adaptation, Threshold, Thresholds
from kernels.triggers.step import step_table
from kernels.triggers.table import TriggerTable, build_table


@dataclass(frozen=True, slots=True)
class Fire:
    """One spec's condition became true. Times are monotonic nanoseconds.

    The event spans `start_mono_ns` (the condition's first tick, or a plan's beginning) to
    `end_mono_ns`; `evidence` holds the values that made it fire.
    """

    loaded: LoadedSpec
    fired_mono_ns: int
    start_mono_ns: int
    end_mono_ns: int
    score: float
    evidence: dict[str, float]
    text: str


@dataclass(slots=True)
class TickInputs:
    """What one evaluation sees.

    `values` float64 [catalogue], NaN where absent; `class_scores` float64 [classes];
    `frame_number` rises with each new perception frame; `horizon_s` is the span over which
    the planner's divergence was measured.
    """

    now_ns: int
    values: NDArray[np.float64]
    class_scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    frame_number: int = 0
    horizon_s: float = 0.0


class TriggerEngine:
    """A compiled set of specs with its running state. Not thread-safe.

    `drive` (vehicle and boot) seeds the random baseline; `thresholds` is where those of adaptive
    specs stand at the start. Raises `InputError` for a rule that does not compile.
    """

    def __init__(
        self,
        specs: Sequence[LoadedSpec],
        drive: str,
        class_names: Sequence[str] = (),
        thresholds: Thresholds = NO_THRESHOLDS,
    ) -> None:
        self.specs = tuple(specs)
        self.class_names = tuple(class_names)
        # Of each adaptive spec a twin that stays at the reference; its fires are only counted.
        self._rows = (*specs, *(loaded for loaded in specs if loaded.spec.rate is not None))
        self._table: TriggerTable = build_table(self._rows, class_names)
        self._adaptation = Adaptation(self.specs, self._table.rows, thresholds)
        self._drive_key = np.uint64(int(sha256_hex(drive.encode())[:16], 16))
        self._stack = np.empty(MAX_STACK)
        self._fires = np.zeros(len(self._rows), np.int32)
        self._start_ns: int | None = None
        self._last_ns = 0
        self._last_frame = 0

    def take_over(self, old: TriggerEngine, *, anew: Collection[str] = ()) -> None:
        """Go on where `old` is, before the first step: its time, and the state of each spec
        whose digest both have. Such a spec neither fires again nor forgets how long it held.

        Specs of the digests in `anew` begin without state, as all that `old` does not have.
        """
        self._start_ns, self._last_ns = old._start_ns, old._last_ns
        self._last_frame = old._last_frame
        rows = _by_digest(old)
        for (digest, twin), row in _by_digest(self).items():
            loaded = self._rows[row]
            before = rows.get((digest, twin))
            if before is None or digest in anew:
                continue
            here, there = self._table.rows, old._table.rows
            state = there["state"][before].copy()
            if loaded.spec.kind == "rare_class" and not self._rename_class(state, old.class_names):
                continue
            here["state"][row] = state
            for name in ("since_ns", "fired_ns"):
                here[name][row] = there[name][before]
        stay = [loaded.digest for loaded in self.specs if loaded.digest not in anew]
        self._adaptation.take_over(old._adaptation, stay)

    def thresholds(self) -> dict[str, Threshold]:
        """Where the thresholds of adaptive specs stand, by digest."""
        return self._adaptation.thresholds()

    def _rename_class(self, state: NDArray[np.float64], names: tuple[str, ...]) -> bool:
        """Point a rare class's state to the class's place here. False: it has none here."""
        which = state[at.RARE_CLASS_STATE]
        if not which >= 0:  # NaN: it has seen none yet
            return True
        name = names[int(which)]
        if name not in self.class_names:
            return False
        state[at.RARE_CLASS_STATE] = float(self.class_names.index(name))
        return True

    def step(self, inputs: TickInputs) -> list[Fire]:
        """Evaluate all specs at `inputs.now_ns`, which must not go back. Fires, in row order."""
        if self._start_ns is None:
            self._start_ns = self._last_ns = inputs.now_ns
        table, program = self._table, self._table.program
        dt_s = (inputs.now_ns - self._last_ns) / NS_PER_S
        count = step_table(
            table.rows, table.members, program.codes, program.signals, program.constants,
            program.starts, self._stack, inputs.values, inputs.class_scores, inputs.now_ns,
            (inputs.now_ns - self._start_ns) / NS_PER_S, dt_s, inputs.horizon_s,
            inputs.frame_number != self._last_frame, self._drive_key, self._fires,
        )  # fmt: skip
        fired = self._fires[:count].tolist() if count else []
        found = [self._fire(row, inputs) for row in fired if row < len(self.specs)]
        if len(self._adaptation):
            self._adaptation.step(self._fires[:count], dt_s, inputs.now_ns)
        self._last_ns = inputs.now_ns
        self._last_frame = inputs.frame_number
        return found

    def _fire(self, row: int, inputs: TickInputs) -> Fire:
        loaded = self.specs[row]
        kind = loaded.spec.kind
        state = self._table.rows[row]
        raw = dict(zip(at.EVIDENCE_NAMES[kind], state["evidence"].tolist(), strict=False))
        text = ""
        start_ns = int(state["since_ns"])
        if kind == "expression":
            names = self._table.rule_signals[row]
            raw = {name: float(inputs.values[SIGNAL_INDEX[name]]) for name in names}
        elif kind == "disengagement":
            text = at.CAUSES[int(raw["cause"])]
        elif kind == "rare_class":
            text = self.class_names[int(raw["class_index"])]
        elif kind == "planner_divergence":
            # Both paths are known only after the horizon: the event lies in the past.
            start_ns = inputs.now_ns - round(inputs.horizon_s * NS_PER_S)
        elif kind == "operator_bookmark":
            text = getattr(loaded.spec.when, "source", "")
        score = float(state["score"])
        factor = self._adaptation.factor(row)
        if factor is not None:
            # Ranked by the reference, so that fires of all times and vehicles compare.
            raw["threshold"] = factor
            score *= self._adaptation.bound_ratio(row)
        evidence = {name: value for name, value in raw.items() if isfinite(value)}
        return Fire(loaded, inputs.now_ns, start_ns, inputs.now_ns, score, evidence, text)


def _by_digest(engine: TriggerEngine) -> dict[tuple[str, bool], int]:
    """Row of each spec and of its twin."""
    specs = len(engine.specs)
    return {(loaded.digest, row >= specs): row for row, loaded in enumerate(engine._rows)}


def absent_values() -> NDArray[np.float64]:
    """A value vector in which every signal is absent."""
    return np.full(len(CATALOGUE), np.nan)
