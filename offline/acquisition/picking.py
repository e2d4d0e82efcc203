"""One choice after the other: what is still allowed, what it would gain, and the books.

Rows are the clips held in memory, by id; ties go to the lower row. Costs are whole thousandths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.acquisition.coverage import Cover
from offline.acquisition.dedup import too_close_in_time
from offline.acquisition.lattice import lattice_of
from offline.acquisition.records import (
    Labelled,
    Quota,
    Reason,
    Selection,
    SelectorConfig,
    Stream,
)
from offline.acquisition.shortlist import THOUSANDTHS, Entry


class Picking:
    """The state of one selection."""

    def __init__(
        self, entries: Sequence[Entry], config: SelectorConfig, labelled: Labelled
    ) -> None:
        self.entries, self.config = entries, config
        self.left = int(config.budget * THOUSANDTHS)
        self.cost: Int64s = np.array([entry.cost for entry in entries], dtype=np.int64)
        self._price = (self.cost / THOUSANDTHS) ** config.cost_exponent
        self.uncertainty: Float64s = np.array([entry.uncertainty for entry in entries])
        self.members: list[Bools] = [self._members(quota) for quota in config.quotas]
        self.chosen: Bools = np.zeros(len(entries), dtype=np.bool_)
        self.selections: list[Selection] = []
        self._too_close = np.zeros(len(entries), dtype=np.bool_)
        self._start = np.array([e.candidate.start_ns for e in entries], dtype=np.int64)
        self._end = np.array([e.candidate.end_ns for e in entries], dtype=np.int64)
        self._drives: dict[str, list[int]] = {}
        for row, entry in enumerate(entries):
            self._drives.setdefault(entry.candidate.drive_id, []).append(row)
        vectors = np.stack([entry.embedding for entry in entries])
        told = [labelled.embeddings] if len(labelled.embeddings) else []
        self._cover = Cover([vectors], lattice_of([vectors, *told]))
        for centres in told:
            self._cover.add_vectors(centres)

    def count(self, quota: int) -> int:
        """Chosen clips of a quota, by its number."""
        return int((self.members[quota] & self.chosen).sum())

    def allowed(self) -> Bools:
        """Rows that a directed stream may take, the budget apart."""
        allowed = ~self.chosen & ~self._too_close
        if self.config.min_distance > 0:
            allowed &= self._cover.distances() >= self.config.min_distance
        for number, quota in enumerate(self.config.quotas):
            if quota.at_most is not None and self.count(number) >= quota.at_most:
                allowed &= ~self.members[number]
        return allowed

    def gain_of_score(self) -> Float64s:
        """Gain of each row by its uncertainty: cheap ones gain more, and novel ones on wish."""
        novelty = self._cover.near_distances_steps() ** self.config.novelty_exponent
        return np.asarray(self.uncertainty * novelty / self._price)

    def gain_of_coverage(self) -> Float64s:
        """Gain of each row by its distance to all that was chosen: cheap ones gain more."""
        return np.asarray(self._cover.near_distances_steps() / self._price)

    def take(
        self, row: int, stream: Stream, *reasons: Reason, probability: float | None = None
    ) -> None:
        """Choose a row. What it costs must be left."""
        candidate = self.entries[row].candidate
        self.left -= int(self.cost[row])
        self.chosen[row] = True
        self.selections.append(
            Selection(
                clip_id=candidate.clip_id, stream=stream, reasons=reasons,
                inclusion_probability=probability,
                fleet_probability=candidate.fleet_probability,
                expected_cost=int(self.cost[row]) / THOUSANDTHS,
                causes=candidate.causes, slices=candidate.slices,
            )
        )  # fmt: skip
        if self.config.min_gap_s > 0:
            same = np.array(self._drives[candidate.drive_id])
            self._too_close[same] |= too_close_in_time(
                candidate.start_ns, candidate.end_ns, self._start[same], self._end[same],
                self.config.min_gap_s,
            )  # fmt: skip
        self._cover.add_row(row)

    def score_reasons(self, row: int) -> tuple[Reason, ...]:
        """The weighted scores that spoke for a row, the strongest first."""
        scores, weights = self.entries[row].candidate.scores, self.config.score_weights
        names = sorted(weights, key=lambda name: (-weights[name] * scores[name], name))
        return tuple(Reason(kind="score", name=name, value=scores[name]) for name in names)

    def coverage_reason(self, row: int) -> Reason:
        """How far a row lies from all that was labelled or chosen before it."""
        distance = float(self._cover.distances()[row])
        value = round(distance, 6) if np.isfinite(distance) else None
        return Reason(kind="coverage", name="distance", value=value)

    def _members(self, quota: Quota) -> Bools:
        return np.array([quota.holds(entry.candidate) for entry in self.entries], dtype=np.bool_)
