"""The scenes that a vehicle knows (`contracts.scenes` tells what a scene is). Pure.

With a weight of a trigger's `clips_per_scene` there are enough clips of a scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts.scenes import HALF_LIFE_DAYS, Known, Scene, SceneObject

__all__ = ["HALF_LIFE_DAYS", "MOST_SCENES", "Known", "Scene", "SceneBook", "SceneObject"]
MOST_SCENES = 1000


class SceneBook:
    """The scenes that are known: the vehicle's own, and those that the fleet tells of.

    Args:
        own: kept by this vehicle before, oldest first.
        fleet: kept by others.
    """

    def __init__(self, own: Iterable[Known] = (), fleet: Sequence[Known] = ()) -> None:
        self.own = list(own)
        self.fleet = tuple(fleet)

    def weight(self, scene: Scene, day: int) -> float:
        """How much is known of a scene."""
        return sum(
            known.weight_on(day)
            for known in (*self.own, *self.fleet)
            if scene.is_known_from(known.scene)
        )

    def is_enough(self, scene: Scene, day: int, clips_per_scene: int) -> bool:
        # Clips of some days ago weigh a little less than one each: half a clip is left for that.
        return self.weight(scene, day) >= clips_per_scene - 0.5

    def add(self, scene: Scene, day: int) -> None:
        """A clip of a scene was kept."""
        self.own.append(Known(scene=scene, day=day))
        del self.own[: max(0, len(self.own) - MOST_SCENES)]
