"""The trace of a gate report: a graph of claims, arguments and evidence, as a safety case has it
(UL 4600; goal structuring notation: goal, argument, requirement, claim with its verdict, evidence
as solution). What stands on nothing is told as a gap, never left out.

goal → argument (a gate) → requirement → [scenario →] claim → evidence → model → where it comes from

Ids are stable: the same requirement, scenario or claim has the same id in every report.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex

NodeKind = Literal[
    "goal", "argument", "requirement", "scenario", "claim", "evidence", "model", "origin"
]
LinkKind = Literal[
    "argued_by", "needs", "exercised_by", "not_yet_required", "judged_by", "rests_on", "about",
    "comes_from",
]  # fmt: skip


class Node(Frozen):
    """`state` is a verdict (goal, argument, claim), a standing (scenario), or empty; `digest` of
    what has one; `told` what was found.
    """

    id: str = Field(min_length=1, max_length=400)
    kind: NodeKind
    text: str = Field(min_length=1, max_length=1000)
    state: str = ""
    told: str = ""
    digest: Sha256Hex | None = None
    value: Finite | None = None
    limit: Finite | None = None


class Link(Frozen):
    """From a node to one that it stands on."""

    kind: LinkKind
    above: str
    below: str


class Trace(Frozen):
    """The whole graph. `gaps` tell what it cannot show, and why.

    A link that leads nowhere, an id that is there twice and a claim without exactly one reason to
    be asked and one evidence are errors.
    """

    schema_version: Literal["longtail/trace/v1"] = "longtail/trace/v1"
    report: Sha256Hex
    candidate: Sha256Hex
    reference: Sha256Hex
    policy: Sha256Hex
    suite: Sha256Hex
    passes: bool
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    gaps: tuple[str, ...] = ()
    _below: dict[str, list[str]] = PrivateAttr(default_factory=dict)
    _above: dict[str, list[str]] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _holds_together(self) -> Trace:
        twice = [name for name, count in Counter(n.id for n in self.nodes).items() if count > 1]
        if twice:
            raise ValueError(f"nodes: {twice[0]} is there twice")
        known = {node.id for node in self.nodes}
        for link in self.links:
            for end in (link.above, link.below):
                if end not in known:
                    raise ValueError(f"links: {end} is named and is not there")
            self._below.setdefault(link.above, []).append(link.below)
            self._above.setdefault(link.below, []).append(link.above)
        for node in self.of_kind("claim"):
            asked = [
                link for link in self.links if (link.kind, link.below) == ("judged_by", node.id)
            ]
            shown = [
                link for link in self.links if (link.kind, link.above) == ("rests_on", node.id)
            ]
            if len(asked) != 1 or len(shown) != 1:
                raise ValueError(
                    f"{node.id}: asked for {len(asked)} times, shown {len(shown)} times"
                )
        return self

    def of_kind(self, kind: NodeKind) -> list[Node]:
        return [node for node in self.nodes if node.kind == kind]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.id == name)

    def below(self, name: str) -> set[str]:
        """All that a node stands on."""
        return _reached(name, self._below)

    def above(self, name: str) -> set[str]:
        """All that stands on a node."""
        return _reached(name, self._above)


def _reached(start: str, way: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for each in way.get(waiting.pop(), []):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found
