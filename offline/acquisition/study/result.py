"""A study as a file: every curve, what each strategy saves, and what it was run on.

Each loop is kept in a file of its own under the digest of all that settles it, so that a study
that was stopped goes on, and one with another plan never takes an old loop for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from contracts.errors import CorruptError, InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex, sha256_hex
from offline.acquisition.study.run import Curve, Plan
from offline.acquisition.study.savings import Saving, saving

RANDOM, OURS = "random", "selector"


class PoolFacts(Frozen):
    """What was chosen from and measured on: counts, and digests of the cells."""

    clips: int
    boxes: int
    rare_clips: int
    pool: Sha256Hex
    test: Sha256Hex
    test_frames: int


class StudyResult(Frozen):
    """Curves by strategy, then by seed; `settings` of learner and strategies, as they were."""

    schema_version: Literal[1] = 1
    plan: Plan
    data: PoolFacts
    settings: dict[str, str]
    curves: tuple[Curve, ...]
    savings: tuple[Saving, ...]

    def of(self, strategy: str) -> list[Curve]:
        return [curve for curve in self.curves if curve.strategy == strategy]

    def saving_of(self, strategy: str, figure: str) -> Saving:
        """What a strategy saves against chance. Raises `InputError` for one that was not run."""
        for one in self.savings:
            if (one.strategy, one.figure) == (strategy, figure):
                return one
        raise InputError(f"holds no saving of {strategy!r} in {figure!r}", "study")


def savings_of(curves: Sequence[Curve], figures: Sequence[str]) -> tuple[Saving, ...]:
    """Every strategy against chance, in each figure."""
    by_name: dict[str, list[Curve]] = {}
    for curve in curves:
        by_name.setdefault(curve.strategy, []).append(curve)
    return tuple(
        saving(own, by_name[RANDOM], figure)
        for figure in figures
        for name, own in by_name.items()
        if name != RANDOM
    )


def loop_key(*settled_by: str) -> str:
    """A name for all that settles a study's loops but strategy and seed."""
    return sha256_hex("\0".join(settled_by).encode())[:16]


def kept_or_run(
    folder: Path, key: str, strategy: str, seed: int, run: Callable[[], Curve]
) -> Curve:
    """The loop from its file, or run and kept. Raises `CorruptError` for a damaged file."""
    path = folder / f"{key}-{strategy}-{seed}.json"
    if path.exists():
        try:
            return Curve.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise CorruptError(f"this is no loop: {error.errors()[0]['msg']}", str(path)) from error
    curve = run()
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(curve.model_dump_json(), "utf-8")
    partial.replace(path)
    return curve
