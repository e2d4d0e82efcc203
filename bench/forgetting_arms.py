"""The arms of the forgetting study, what is measured of each, and the table of it.

AP is the mean over classes of AP at 0.5, 1, 2 and 4 m (nuScenes' rule), over the classes of
which a test set judges at least `LEAST_TRUTHS` boxes: a class of three boxes would be a coin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from contracts.errors import CorruptError
from contracts.geometry import TAXONOMY, Frozen
from contracts.ids import sha256_hex
from models.evaluation.detection import average_precision
from models.evaluation.matching import DISTANCES_M, FrameResult, Matcher
from models.evaluation.slices import Tags, tag_values
from models.student.retrain import Restraint

LEAST_TRUTHS = 50
FREE = Restraint()
START, NAIVE, JOINT = "before", "naive", "joint"
RECIPE, LITTLE = "the recipe", "the recipe, replay 1 %"
Way = Literal["full", "heads"]


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to retrain: `share` of the old frames that are replayed (1: all of them), and what
    holds the network to the old.
    """

    name: str
    share: float = 0.0
    restraint: Restraint = FREE


def arms(anchor: float, elastic: float, blend: float) -> tuple[Arm, ...]:
    """All arms, with the weights of the anchor and of the pull where an arm has them, and how far
    the recipe goes from the weights of before; where it goes all the way, the anchored arms are
    the recipe.
    """
    anchored = Restraint(anchor=anchor)
    recipe = replace(anchored, blend=blend)
    found = [
        Arm(NAIVE),
        Arm("EWC", restraint=Restraint(elastic=elastic)),
        Arm("distillation", restraint=anchored),
        Arm("replay 1 %", 0.01),
        Arm("replay 5 %", 0.05),
    ]
    if recipe != anchored:
        found += [Arm("replay 1 % + anchor", 0.01, anchored),
                  Arm("replay 5 % + anchor", 0.05, anchored)]  # fmt: skip
    return (*found, Arm(LITTLE, 0.01, recipe), Arm(RECIPE, 0.05, recipe), Arm(JOINT, 1.0))


class Scores(Frozen):
    """AP in 0..1 on the old and on the new test set, by class and by slice of the old."""

    old: float
    new: float
    old_classes: dict[str, float]
    new_classes: dict[str, float]
    old_slices: dict[str, float] = Field(default_factory=dict)


class Told(Frozen):
    """What one arm came to on one seed; `seconds` of CPU since its training was last started."""

    way: Way
    arm: str
    seed: int
    scores: Scores
    seconds: float = Field(ge=0)


class Study(Frozen):
    """All of it; `settings` by name, `data` digests and sizes by name."""

    schema_version: Literal[1] = 1
    settings: dict[str, str]
    data: dict[str, str]
    told: tuple[Told, ...]

    def scores(self, way: Way, arm: str) -> list[Scores]:
        """Of all seeds, by seed."""
        found = [each for each in self.told if (each.way, each.arm) == (way, arm)]
        return [each.scores for each in sorted(found, key=lambda each: each.seed)]

    def ways(self) -> list[Way]:
        return [way for way in ("full", "heads") if self.scores(way, START)]

    def kept(self, way: Way, arm: str) -> list[float]:
        """AP on the old over that of before, by seed."""
        pairs = zip(self.scores(way, arm), self.scores(way, START), strict=True)
        return [ours.old / before.old for ours, before in pairs]

    def learned(self, way: Way, arm: str) -> list[float]:
        """AP on the new over that of joint training, by seed."""
        pairs = zip(self.scores(way, arm), self.scores(way, JOINT), strict=True)
        return [ours.new / joint.new for ours, joint in pairs]

    def worst_slice(self, way: Way, arm: str) -> float:
        """The least that is kept of any slice of the old, on the mean over the seeds."""
        ours, before = (
            {
                name: float(np.mean([each.old_slices[name] for each in scores]))
                for name in scores[0].old_slices
            }
            for scores in (self.scores(way, arm), self.scores(way, START))
        )
        return min((ours[name] / before[name] for name in ours), default=float("nan"))


def scores_of(
    old: Sequence[FrameResult], new: Sequence[FrameResult], old_tags: Sequence[Tags],
    slice_tag: str = "region",
) -> Scores:  # fmt: skip
    """The figures of one network's answers; slices without a class to measure are left out."""
    by_class = [class_aps(old), class_aps(new)]
    slices = {}
    for value in tag_values(old_tags, slice_tag):
        pairs = zip(old, old_tags, strict=True)
        found = class_aps([result for result, tag in pairs if tag.get(slice_tag) == value])
        if found:
            slices[f"{slice_tag}={value}"] = _mean(found)
    return Scores(
        old=_mean(by_class[0]), new=_mean(by_class[1]), old_classes=by_class[0],
        new_classes=by_class[1], old_slices=slices,
    )  # fmt: skip


def class_aps(results: Sequence[FrameResult]) -> dict[str, float]:
    """AP by class, the mean over all distances; classes with few true boxes are left out."""
    matcher, found = Matcher(results), {}
    for kind, name in enumerate(TAXONOMY.names):
        if matcher.truths_by_frame((kind,)).sum() >= LEAST_TRUTHS:
            aps = [average_precision(matcher.match((kind,), reach)) for reach in DISTANCES_M]
            found[name] = float(np.mean(aps))
    return found


def kept_or_made(folder: Path, key: str, way: Way, arm: str, seed: int, make: Callable[[], Told]
                 ) -> Told:  # fmt: skip
    """What was told of an arm before, or now; raises `CorruptError` for a damaged file."""
    name = sha256_hex(f"{key} {way} {arm} {seed}".encode())[:24]
    path = folder / f"{name}.json"
    if path.exists():
        try:
            return Told.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise CorruptError("these are no scores of an arm", str(path)) from error
    told = make()
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(told.model_dump_json(indent=1), "utf-8")
    partial.replace(path)
    return told


def _mean(aps: dict[str, float]) -> float:
    return float(np.mean(list(aps.values()))) if aps else float("nan")
