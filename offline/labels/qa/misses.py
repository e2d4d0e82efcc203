"""How many objects a clip's labels may lack, and where nothing is to be learnt from emptiness.

Gold tells recall: of n known objects of a group (class and range) k were found. If each object
of a clip is found with that probability, independently, then of F found ones follow how many
there were: expected F / recall; at most the largest N under which as few as F found are not
unlikely (binomial), with recall at its lower bound (Clopper and Pearson 1934, exact). Both bounds
may fail, so each gets half of the risk, and each group its part (Bonferroni): over all groups of
the clip the bound holds with the confidence asked for.

Where gold says nothing, nothing bounds what is missed. A group of which too large a share may be
missed is a region to be ignored in the loss where it holds no label, not taught as background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import beta, binom

from contracts.errors import InputError


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """A class at a range, lower bound in, upper one out, in metres."""

    class_name: str
    from_m: float
    to_m: float


@dataclass(frozen=True, slots=True)
class Recall:
    """How many gold objects there were, and how many were found."""

    planted: int
    found: int

    def __post_init__(self) -> None:
        if not 0 <= self.found <= self.planted:
            raise InputError(f"{self.found} found of {self.planted}")


@dataclass(frozen=True, slots=True)
class Missed:
    """Objects that the labels lack: `expected`, and `most` with the confidence asked for; None
    where gold tells nothing, so that there is no bound.
    """

    expected: float | None
    most: int | None


@dataclass(frozen=True, slots=True)
class ClipMisses:
    """By group, over all, and the groups to be ignored where they hold no label."""

    by_group: Mapping[Group, Missed]
    total: Missed
    ignored: tuple[Group, ...]


def clopper_pearson(found: int, tried: int, risk: float) -> tuple[float, float]:
    """Exact bounds of a probability, each wrong with probability `risk` / 2 at most."""
    low = float(beta.ppf(risk / 2, found, tried - found + 1)) if found else 0.0
    high = float(beta.ppf(1 - risk / 2, found + 1, tried - found)) if found < tried else 1.0
    return low, high


def clip_misses(
    found: Mapping[Group, int], recall: Mapping[Group, Recall], *, confidence: float = 0.95,
    most_missed: float = 0.1,
) -> ClipMisses:  # fmt: skip
    """Of one clip.

    Args:
        found: labelled objects (tracks) of each group, none left out: a group without any object
            is told as 0.
        recall: from gold, by group; groups without an entry have none.
        confidence: of all bounds together.
        most_missed: share of a group's objects that may be missing, at recall's lower bound,
            before its emptiness is ignored.
    """
    if not (0 < confidence < 1 and 0 <= most_missed <= 1):
        raise InputError("confidence lies between 0 and 1, the share in 0..1")
    risk = (1 - confidence) / max(1, len(found)) / 2
    by_group, ignored = {}, []
    for group, count in sorted(found.items()):
        gold = recall.get(group, Recall(0, 0))
        # One-sided: only too high a recall would hide misses.
        least = clopper_pearson(gold.found, gold.planted, 2 * risk)[0]
        by_group[group] = _missed(count, gold, least, risk)
        if 1 - least > most_missed:
            ignored.append(group)
    return ClipMisses(by_group, _total(list(by_group.values())), tuple(ignored))


def _missed(count: int, gold: Recall, least: float, risk: float) -> Missed:
    expected = count * (gold.planted - gold.found) / gold.found if gold.found else None
    if least <= 0:
        return Missed(expected, None)
    return Missed(expected, _most(count, least, risk) - count)


def _most(count: int, probability: float, risk: float) -> int:
    """The largest number of objects of which `count` or fewer are found with more than `risk`."""
    low, high = count, max(1, 2 * count)
    while binom.cdf(count, high, probability) > risk:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if binom.cdf(count, middle, probability) > risk:
            low = middle
        else:
            high = middle
    return low


def _total(parts: list[Missed]) -> Missed:
    expected, most = [p.expected for p in parts], [p.most for p in parts]
    return Missed(
        None if None in expected else sum(e for e in expected if e is not None),
        None if None in most else sum(m for m in most if m is not None),
    )
