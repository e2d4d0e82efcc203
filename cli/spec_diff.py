"""What changed between two specs, in meaning and in the fires that they bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.spec_words import KEY_ORDER, fields_of, word
from contracts.trigger_spec import LoadedSpec
from kernels.backtest.figures import window_of
from kernels.backtest.replay import ReplayedDrive, ReplayedFire

ABSENT = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs; `before` and `after` in words, None where the kind has none."""

    path: str
    meaning: str
    before: str | None
    after: str | None

    def text(self) -> str:
        """One line for people."""
        meaning = f" ({self.meaning})" if self.meaning else ""
        if self.before is None:
            return f"{self.path}{meaning}: new, {self.after}"
        if self.after is None:
            return f"{self.path}{meaning}: gone, was {self.before}"
        return f"{self.path}{meaning}: {self.before} → {self.after}"


def changes(a: LoadedSpec, b: LoadedSpec) -> list[Change]:
    """Fields that differ in meaning: what is written and what is the default count alike."""
    before, after = fields_of(a.spec), fields_of(b.spec)
    found = []
    paths = dict.fromkeys([*before, *after])
    for path in sorted(paths, key=lambda path: KEY_ORDER.index(path.split(".")[0])):
        old, old_meaning = before.get(path, (ABSENT, ""))
        new, new_meaning = after.get(path, (ABSENT, ""))
        if old != new:
            found.append(
                Change(
                    path,
                    new_meaning or old_meaning,
                    None if old is ABSENT else word(old, path),
                    None if new is ABSENT else word(new, path),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class FireChange:
    """A fire of one side with none of the other in its window. Seconds from the drive's start."""

    drive_id: str
    at_s: float
    fire: ReplayedFire


def lone_fires(
    of: LoadedSpec, on: Sequence[ReplayedDrive], other: Sequence[ReplayedDrive]
) -> list[FireChange]:
    """Fires of `of` in whose capture window the other side, on the same drive, has none."""
    found = []
    for mine, theirs in zip(on, other, strict=True):
        times = [f.cause.fired_mono_ns for f in theirs.fires if f.outcome == "fire"]
        for fire in mine.fires:
            start, end = window_of(of.spec, fire.cause)
            if fire.outcome == "fire" and not any(start <= at <= end for at in times):
                at_ns = fire.cause.fired_mono_ns - mine.header.drive_start_mono_ns
                found.append(FireChange(mine.header.drive_id, round(at_ns / 1e9, 3), fire))
    return found
