"""A walk through the lineage as rows of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from offline.datasets.lineage import Branch
from offline.loop_report.facts import LineageRow


def lineage_rows(branch: Branch, way: Literal["origins", "uses"]) -> tuple[LineageRow, ...]:
    """The walk depth first, as `Lineage.origins` or `Lineage.uses` gave it."""
    return tuple(_rows(branch, way, 0))


def _rows(branch: Branch, way: Literal["origins", "uses"], depth: int) -> Iterator[LineageRow]:
    yield LineageRow(
        way=way, depth=depth, kind=branch.thing.kind, name=branch.thing.name, told=branch.told,
        missing=branch.missing,
    )  # fmt: skip
    for each in branch.beyond:
        yield from _rows(each, way, depth + 1)
