"""What to label next, within a budget: chance first, then quotas, uncertainty and coverage.

1. Random: a simple random sample with logged probabilities, blind to the scores (`draw`).
2. Quotas in their order: the best of each, while what it still lacks stays payable.
3. Uncertainty: the largest gain = uncertainty / cost (and * novelty, on wish), until only
   coverage's share is left or nothing gains.
4. Coverage: the largest gain = novelty / cost (k-centre, weighed by cost), until the budget is
   spent.

Every choice becomes a centre, so later ones keep away from it. The sum of expected costs never
exceeds the budget. The same pool, configuration and labelled set give the same selection.

Does not do: choose the best set of all. Each step is greedy, and quotas that share clips are
filled one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from contracts.geometry import Bools
from contracts.samples import Float64s
from offline.acquisition.cost import CostModel
from offline.acquisition.draw import sample_size
from offline.acquisition.picking import Picking
from offline.acquisition.records import (
    STREAMS,
    Labelled,
    QuotaOutcome,
    Reason,
    Selection,
    SelectionReport,
    SelectorConfig,
    Shard,
    Total,
    Unmet,
)
from offline.acquisition.shortlist import THOUSANDTHS, Pool, read_pool


class Selector:
    """Chooses from pools by one configuration."""

    def __init__(self, config: SelectorConfig, cost_model: CostModel, labelled: Labelled) -> None:
        self.config, self.cost_model, self.labelled = config, cost_model, labelled

    def select(self, shards: Iterable[Shard]) -> SelectionReport:
        """Read the pool once and choose.

        Raises:
            InputError: the pool is empty or breaks a rule (`shortlist.read_pool`), or the budget
                does not pay for a random stream.
        """
        pool = read_pool(shards, self.config, self.cost_model, self.labelled)
        whole = int(self.config.budget * THOUSANDTHS)
        drawn = sample_size(
            pool.population, pool.population_cost, pool.largest_cost,
            int(whole * self.config.random_share), whole,
        )  # fmt: skip
        drawn = min(drawn, self.config.random_most)
        lots = pool.random.entries()[:drawn]
        found = {e.candidate.clip_id: e for e in [*pool.directed(), *lots]}
        picking = Picking([found[name] for name in sorted(found)], self.config, self.labelled)
        probability = drawn / pool.population
        row_of = {e.candidate.clip_id: row for row, e in enumerate(picking.entries)}
        for entry in lots:
            reason = Reason(kind="random", name=self.config.random_from, value=probability)
            picking.take(row_of[entry.candidate.clip_id], "random", reason, probability=probability)
        filled = [
            _fill_quota(picking, number, matching.offered)
            for number, matching in enumerate(pool.quota_best)
        ]
        _fill_by_uncertainty(picking, int(whole * self.config.coverage_share))
        _fill_by_coverage(picking)
        outcomes = tuple(_after_all(picking, k, first) for k, first in enumerate(filled))
        return self._report(pool, picking, probability, outcomes)

    def _report(
        self, pool: Pool, picking: Picking, probability: float, quotas: tuple[QuotaOutcome, ...]
    ) -> SelectionReport:
        chosen = picking.selections
        return SelectionReport(
            config=self.config, cost_model=self.cost_model, unit=self.cost_model.unit,
            pool=pool.seen, population=pool.population, already_labelled=pool.labelled,
            inclusion_probability=probability,
            spent=_cost(chosen), left=picking.left / THOUSANDTHS,
            by_stream={s: _total([c for c in chosen if c.stream == s]) for s in STREAMS},
            by_reason=_totals(chosen, [[_main(c)] for c in chosen]),
            by_cause=_totals(chosen, [c.causes for c in chosen]),
            by_slice=_totals(chosen, [c.slices for c in chosen]),
            quotas=quotas, selections=tuple(chosen),
        )  # fmt: skip


def _fill_quota(picking: Picking, number: int, in_pool: int) -> QuotaOutcome:
    """Fill one quota as far as it goes; `unmet` tells what stopped it."""
    quota, members = picking.config.quotas[number], picking.members[number]
    reason = Reason(kind="quota", name=quota.label)
    unmet: Unmet | None = None
    while (lacking := quota.at_least - picking.count(number)) > 0:
        allowed = picking.allowed() & members
        row = _best(picking.gain_of_score(), _payable(picking, allowed, lacking))
        if row is None:
            unmet = "budget" if allowed.any() else _missing(picking, number, in_pool)
            break
        scores, distance = picking.score_reasons(row), picking.coverage_reason(row)
        picking.take(row, "quota", reason, *scores, distance)
    chosen = picking.count(number)
    return QuotaOutcome(quota=quota, in_pool=in_pool, chosen=chosen, unmet=unmet)


def _missing(picking: Picking, number: int, in_pool: int) -> Unmet:
    """Why no clip of a quota may be taken, money apart."""
    if in_pool == picking.count(number):
        return "candidates"
    return "blocked" if in_pool == int(picking.members[number].sum()) else "shortlist"


def _payable(picking: Picking, allowed: Bools, lacking: int) -> Bools:
    """Rows after which what is lacking besides can still be paid for, by the cheapest others; of
    as many as the budget allows when it does not allow all.
    """
    rows = np.flatnonzero(allowed)
    by_cost = rows[np.argsort(picking.cost[rows], kind="stable")]
    sums = np.cumsum(picking.cost[by_cost])
    reach = min(lacking, int((sums <= picking.left).sum()))
    payable: Bools = np.zeros(len(picking.cost), dtype=np.bool_)
    if reach:
        # One of the `reach` cheapest leaves the others of them; any other row all but the last.
        others = sums[reach - 1] - picking.cost[by_cost[reach - 1]]
        dear = others + picking.cost[by_cost] <= picking.left
        dear[:reach] = True
        payable[by_cost[dear]] = True
    return payable


def _fill_by_uncertainty(picking: Picking, kept_back: int) -> None:
    while True:
        affordable = picking.allowed() & (picking.cost <= picking.left - kept_back)
        row = _best(picking.gain_of_score(), affordable & (picking.uncertainty > 0))
        if row is None:
            return
        scores, distance = picking.score_reasons(row), picking.coverage_reason(row)
        picking.take(row, "uncertainty", *scores, distance)


def _fill_by_coverage(picking: Picking) -> None:
    while True:
        affordable = picking.allowed() & (picking.cost <= picking.left)
        row = _best(picking.gain_of_coverage(), affordable)
        if row is None:
            return
        picking.take(row, "coverage", picking.coverage_reason(row))


def _best(gain: Float64s, rows: Bools) -> int | None:
    """The row of largest gain among `rows`, the first of equal ones."""
    if not rows.any():
        return None
    return int(np.where(rows, gain, -1.0).argmax())


def _after_all(picking: Picking, number: int, first: QuotaOutcome) -> QuotaOutcome:
    """The outcome after later streams, which may have added clips of the quota."""
    chosen = picking.count(number)
    unmet = None if chosen >= first.quota.at_least else first.unmet
    return first.model_copy(update={"chosen": chosen, "unmet": unmet})


def _main(selection: Selection) -> str:
    return f"{selection.reasons[0].kind}:{selection.reasons[0].name}"


def _totals(chosen: Sequence[Selection], keys: Sequence[Sequence[str]]) -> dict[str, Total]:
    by_key: dict[str, list[Selection]] = {}
    for selection, names in zip(chosen, keys, strict=True):
        for name in dict.fromkeys(names):
            by_key.setdefault(name, []).append(selection)
    return {name: _total(by_key[name]) for name in sorted(by_key)}


def _total(chosen: Sequence[Selection]) -> Total:
    return Total(clips=len(chosen), expected_cost=_cost(chosen))


def _cost(chosen: Sequence[Selection]) -> float:
    return sum(round(c.expected_cost * THOUSANDTHS) for c in chosen) / THOUSANDTHS
