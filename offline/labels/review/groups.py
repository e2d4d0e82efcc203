"""Classes and ranges, and from which confidence on their boxes are accepted.

Either a calibrator's groups, whose thresholds keep their precision with a stated risk, or one
confidence for all, with which nothing is kept but what the confidence itself promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.geometry import Box3D, Finite, Frozen, Taxonomy
from contracts.review import Tier
from offline.labels.calibration.calibrator import Calibrator
from offline.labels.clips.tracks import group_classes
from offline.labels.qa.audit import AuditPlan, thresholds_at
from offline.labels.qa.auto_labels import key_of, thresholds_of
from offline.labels.qa.misses import Group
from offline.labels.qa.tracks import Thresholds

RANGES_M: tuple[tuple[float, float | None], ...] = ((0.0, 20.0), (20.0, 40.0), (40.0, None))
FAR_M = 1000.0
"""The end of a range without an end, where a number is needed."""


class AcceptedFrom(Frozen):
    """A class of the tracker within a range, and from which confidence on its boxes are accepted;
    None: never.
    """

    class_name: str
    low_m: Finite
    high_m: Finite | None
    accept_from: Finite | None


@dataclass(frozen=True, slots=True)
class Rule:
    """Which boxes are accepted without people. `told` says for people what it rests on; `level`
    is that of the audits, 0 the loosest (`offline.labels.qa.audit`).
    """

    groups: tuple[AcceptedFrom, ...]
    told: str
    guaranteed: bool
    precision: float
    level: int = 0

    @property
    def thresholds(self) -> Thresholds:
        """Before audits."""
        return thresholds_of(self.groups)

    def digest(self) -> str:
        """Of the thresholds before audits: what audits are about."""
        return canonical_digest({"thresholds": dict(self.thresholds)})

    def in_force(self, plan: AuditPlan) -> Thresholds:
        """At the audits' level."""
        return thresholds_at(self.thresholds, self.level, plan)

    def group_of(self, box: Box3D, taxonomy: Taxonomy) -> AcceptedFrom | None:
        """That a box belongs to, None where no group is for it."""
        name, away = _tracker_class(box.class_name, taxonomy), distance_m(box)
        for group in self.groups:
            far = group.high_m is not None and away >= group.high_m
            if group.class_name == name and away >= group.low_m and not far:
                return group
        return None

    def strictest(
        self, boxes: Sequence[tuple[Box3D, float]], plan: AuditPlan, taxonomy: Taxonomy
    ) -> int | None:
        """The strictest level that accepts all boxes, told with their confidence; None if none."""
        for level in range(plan.levels - 1, -1, -1):
            least = thresholds_at(self.thresholds, level, plan)
            limits = [least.get(self.key_of(box, taxonomy)) for box, _ in boxes]
            if all(
                limit is not None and sure >= limit
                for limit, (_, sure) in zip(limits, boxes, strict=True)
            ):
                return level
        return None

    def key_of(self, box: Box3D, taxonomy: Taxonomy) -> str:
        """The group's key, empty where there is none."""
        group = self.group_of(box, taxonomy)
        return "" if group is None else key_of(group)


def rule_of(calibrator: Calibrator) -> Rule:
    """A calibrator's thresholds, where it vouches for any."""
    origin, vouched = (
        calibrator.origin,
        sum(g.accept_from is not None for g in calibrator.acceptance),
    )
    told = (
        f"calibrator {calibrator.digest[:12]}: precision {origin.precision:g} kept with a risk of "
        f"{origin.risk:g}, in {vouched} of {len(calibrator.acceptance)} groups; none in the others"
    )
    groups = tuple(
        AcceptedFrom(
            class_name=one.class_name, low_m=one.low_m, high_m=one.high_m,
            accept_from=one.accept_from,
        )
        for one in calibrator.acceptance
    )  # fmt: skip
    return Rule(groups, told, bool(vouched), origin.precision)


def one_for_all(accept: float, precision: float, taxonomy: Taxonomy) -> Rule:
    """One confidence for every class and range. Raises `InputError` for one out of range."""
    if not 0 < accept <= 1:
        raise InputError(f"lies over 0 and at most at 1, not {accept:g}", "--accept")
    groups = tuple(
        AcceptedFrom(class_name=name, low_m=low, high_m=high, accept_from=accept)
        for name in group_classes(taxonomy) for low, high in RANGES_M
    )  # fmt: skip
    told = f"no calibrator: one confidence of {accept:g} for everything, no precision is guaranteed"
    return Rule(groups, told, False, precision)


def range_group(box: Box3D) -> Group:
    """A class at a range, for what reports, misses and findings tell."""
    away = distance_m(box)
    low, high = next((a, b) for a, b in RANGES_M if b is None or away < b)
    return Group(box.class_name, low, FAR_M if high is None else high)


def group_name(group: Group) -> str:
    end = "" if group.to_m >= FAR_M else f"{group.to_m:g}"
    return f"{group.class_name} {group.from_m:g}-{end} m"


def distance_m(box: Box3D) -> float:
    """From the ego, on the ground."""
    return float(np.hypot(box.centre_m[0], box.centre_m[1]))


def _tracker_class(class_name: str, taxonomy: Taxonomy) -> str:
    groups, names = taxonomy.groups, group_classes(taxonomy)
    return next(name for name, group in zip(names, groups, strict=True) if class_name in group)


FATES: Sequence[str] = ("stands", "accepted", *(t.value for t in (Tier.CONSENSUS, Tier.EXPERT)),
                        "waits", "rejected")  # fmt: skip
"""What becomes of a box: it was no auto-label; nobody is asked; people are; it is ignored until
the budget allows, or for good; it is no object.
"""
