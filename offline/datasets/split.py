"""Which clips are never parted, and which split a group of them is dealt to.

Clips of one drive show the same road within seconds, and those that overlap the same instants:
parted, a model would be measured on what it was trained on.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable

from contracts.datasets import ClipSource, SplitRule

_Tie = tuple[int, str]
"""Something that clips share: cells come before drives, drives before boots; and its name."""


def groups_of(clips: Iterable[ClipSource], rule: SplitRule) -> dict[str, list[ClipSource]]:
    """Clips by their group's key, both sorted.

    Clips of one vehicle that share a drive or a boot are together, since instants of one boot are
    told apart by time alone; by place, so are drives that share a cell. The key is the first of
    all that the group shares, so a group that grows keeps its key unless an earlier one joins it.
    """
    ties = _Ties()
    by_tie: defaultdict[_Tie, list[ClipSource]] = defaultdict(list)
    for clip in clips:
        shared = _shared(clip, rule)
        for other in shared[1:]:
            ties.join(shared[0], other)
        by_tie[shared[0]].append(clip)
    groups: defaultdict[str, list[ClipSource]] = defaultdict(list)
    for tie, members in by_tie.items():
        groups[ties.first(tie)[1]] += members
    return {key: sorted(groups[key], key=lambda clip: clip.clip_id) for key in sorted(groups)}


def split_of(key: str, rule: SplitRule) -> str:
    """The split that a group's key is dealt to: uniform over keys, by the parts' shares."""
    total = sum(share for _, share in rule.parts)
    digest = hashlib.sha256(f"{rule.seed}\n{key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") * total >> 64
    for name, share in rule.parts:
        place -= share
        if place < 0:
            return name
    return rule.parts[-1][0]


def _shared(clip: ClipSource, rule: SplitRule) -> list[_Tie]:
    vehicle = clip.vehicle_id
    own = [(1, f"drive/{vehicle}/{clip.drive_id}"), (2, f"boot/{vehicle}/{clip.boot_id}")]
    if rule.by == "place" and clip.lat_deg is not None and clip.lon_deg is not None:
        row = math.floor(clip.lat_deg / rule.cell_deg)
        column = math.floor(clip.lon_deg / rule.cell_deg)
        own.append((0, f"cell/{row}/{column}"))
    return own


class _Ties:
    """Disjoint sets, each known by its first member."""

    def __init__(self) -> None:
        self._toward: dict[_Tie, _Tie] = {}

    def first(self, tie: _Tie) -> _Tie:
        root = tie
        while (above := self._toward.get(root, root)) != root:
            root = above
        while tie != root:
            self._toward[tie], tie = root, self._toward.get(tie, tie)
        return root

    def join(self, one: _Tie, other: _Tie) -> None:
        first, second = sorted((self.first(one), self.first(other)))
        self._toward[second] = first
