"""Full scenes that a replica remembers, so that the crowd passing them costs no database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_ingest.scenes.places import cell_of, near
from contracts.clock import NS_PER_S
from contracts.scenes import Scene

REMEMBERED_S = 60
MOST_REMEMBERED = 2000


@dataclass(frozen=True, slots=True)
class Counted:
    """A scene of the fleet, how much is known of it now, the newest clips that count, and the day
    of the newest as `contracts.scenes.Known` counts it.
    """

    scene_id: int
    scene: Scene
    weight: float
    newest_day: int = 0
    holders: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Full:
    counted: Counted
    until_ns: int


class FullScenes:
    """The newest `MOST_REMEMBERED`, each for `REMEMBERED_S`."""

    def __init__(self) -> None:
        self._full: OrderedDict[tuple[str, str], list[_Full]] = OrderedDict()

    def remember(self, counted: Counted, now_ns: int) -> None:
        """A scene of which there is enough now."""
        cell = cell_of(counted.scene)
        if cell is None:
            return
        key = (cell, counted.scene.trigger_id)
        others = [
            each
            for each in self._full.get(key, [])
            if each.counted.scene_id != counted.scene_id and each.until_ns > now_ns
        ]
        self._full[key] = [*others, _Full(counted, now_ns + REMEMBERED_S * NS_PER_S)]
        self._full.move_to_end(key)
        while len(self._full) > MOST_REMEMBERED:
            self._full.popitem(last=False)

    def all_of(
        self, clip_id: str, placed: Sequence[tuple[Scene, str]], now_ns: int
    ) -> set[int] | None:
        """Ids of full scenes that are all of a clip's; None unless every one is, or where the clip
        itself counts towards one.
        """
        found: set[int] = set()
        for scene, cell in placed:
            matching = self._one(scene, cell, now_ns)
            if matching is None or clip_id in matching.holders:
                return None
            found.add(matching.scene_id)
        return found

    def _one(self, scene: Scene, cell: str, now_ns: int) -> Counted | None:
        for each_cell in near(cell):
            for each in self._full.get((each_cell, scene.trigger_id), ()):
                if each.until_ns > now_ns and scene.is_known_from(each.counted.scene):
                    return each.counted
        return None
