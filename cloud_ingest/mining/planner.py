"""Which road a search by likeness takes. Pure: estimates in, a road out. All roads are exact.

| road     | how                                                    | when                      |
|----------|--------------------------------------------------------|---------------------------|
| scan     | compare all vectors                                    | there is no condition     |
| rows     | SQL tells the rows that match; compare only those      | the condition is narrow   |
| check    | compare all, let SQL check the best; more when too few | the condition is wide, or |
|          | pass                                                   | costly for the database   |
| database | pgvector compares, without an index                    | the index is being built  |

An approximate index (pgvector's HNSW) is not among them: beside the exact roads it was slower
at equal recall or lost recall at every selectivity measured (`longtail bench mining`).

The costs are milliseconds on one machine, where only their ratios matter; they were read off
that benchmark's first runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Road = Literal["scan", "rows", "check"]

_MS_PER_COST = 0.005
"""Of PostgreSQL's planner: a scan of 14,000 pages and 200,000 rows is 17,360, and took 85 ms."""
_MS_PER_ROW = 0.00018
"""A row number from the database into an array."""
_MS_PER_GATHERED_VALUE = 1.0e-6
_MS_PER_SCANNED_VALUE = 0.75e-6
_MS_PER_CHECK = 0.01
"""One clip looked up by its number, its condition checked."""
_MARGIN = 1.3
_LEAST_MORE = 100


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the database's planner expects of a condition."""

    rows: float
    cost: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`candidates` is how many of the best the check road lets SQL look at."""

    road: Road
    candidates: int = 0


def choose(vectors: int, dimensions: int, k: int, estimate: Estimate | None) -> Plan:
    """The cheapest road to the `k` nearest of `vectors` under a condition; None: there is none."""
    if estimate is None:
        return Plan("scan")
    share = min(1.0, max(estimate.rows, 1.0) / max(vectors, 1))
    candidates = int(k / share * _MARGIN) + _LEAST_MORE
    rows_ms = (
        estimate.cost * _MS_PER_COST
        + estimate.rows * _MS_PER_ROW
        + min(estimate.rows * _MS_PER_GATHERED_VALUE, vectors * _MS_PER_SCANNED_VALUE) * dimensions
    )
    check_ms = vectors * dimensions * _MS_PER_SCANNED_VALUE + candidates * _MS_PER_CHECK
    if candidates >= vectors or rows_ms <= check_ms:
        return Plan("rows")
    return Plan("check", candidates)
