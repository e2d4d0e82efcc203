"""The heads-only half of the forgetting study: class heads over a frozen student's cells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.forgetting_arms import JOINT, START, Arm, Scores, Told, scores_of
from contracts.geometry import Int64s
from models.evaluation.matching import FrameResult
from models.evaluation.slices import Tags
from models.student.cell_decoding import CellDecoder
from models.student.cells import CellFrames
from models.student.config import StudentConfig
from models.student.head_retraining import retrain_heads
from models.student.heads import CellHeads, HeadRecipe, scale_of, train_heads
from offline.acquisition.study.clips import Clips
from offline.retrain.replay import replayed

FIRST = HeadRecipe(members=1, steps=600)
AGAIN = HeadRecipe(members=1, steps=200, max_rate=5e-3)
PART = 0.5
"""Of each step's cells, so many are replayed where anything is."""
_TOLD_FROM = 0.02


@dataclass(frozen=True, slots=True)
class HeadWorld:
    """Cells of all four sets; `old_tags` of each frame of the old test set, `old_slices` the
    slice of each old frame to train on.
    """

    config: StudentConfig
    old: Clips
    new: Clips
    old_test: CellFrames
    new_test: CellFrames
    old_tags: Sequence[Tags]
    old_slices: Sequence[str]


class HeadStudy:
    """Arms on seeds; a seed settles first weights, the draw of old drives, order and draws."""

    def __init__(self, world: HeadWorld) -> None:
        self._world = world
        self._scale = scale_of(world.old.frames.features)
        self._decoder = CellDecoder(world.config)
        self._before: dict[int, CellHeads] = {}

    def told(self, arm: Arm | None, seed: int) -> Told:
        """Of an arm; of the heads of before, where there is none."""
        began = time.process_time()
        heads = self._start(seed) if arm is None else self._retrained(arm, seed)
        spent = time.process_time() - began
        return Told(
            way="heads", arm=START if arm is None else arm.name, seed=seed,
            scores=self._scores(heads), seconds=spent,
        )  # fmt: skip

    def _start(self, seed: int) -> CellHeads:
        if seed not in self._before:
            old = self._world.old
            every = np.arange(len(old.frames))
            self._before[seed] = train_heads(
                old.frames, every, old.clip_of_frame, FIRST, self._scale, seed
            )
        return self._before[seed]

    def _retrained(self, arm: Arm, seed: int) -> CellHeads:
        old, new = self._world.old.frames, self._world.new.frames
        rows = self._replayed(arm, seed)
        part = len(old) / (len(old) + len(new)) if arm.name == JOINT else PART * (arm.share > 0)
        # Joint training sees the new as often as the others do.
        steps = AGAIN.steps if part == 0 else round(AGAIN.steps / (1 - part))
        return retrain_heads(
            self._start(seed), (new, np.arange(len(new))), (old, rows),
            replace(AGAIN, steps=steps), arm.restraint, part, seed,
        )  # fmt: skip

    def _replayed(self, arm: Arm, seed: int) -> Int64s:
        """Old frames that come along; for the pull alone those that tell what matters."""
        old = self._world.old.frames
        if arm.restraint.elastic:
            return np.sort(np.random.default_rng(seed).permutation(len(old))[:200])
        if arm.share == 1:
            return np.arange(len(old))
        return replayed(self._world.old_slices, old.embedding, arm.share)

    def _scores(self, heads: CellHeads) -> Scores:
        old, new = (self._results(heads, s) for s in (self._world.old_test, self._world.new_test))
        return scores_of(old, new, self._world.old_tags)

    def _results(self, heads: CellHeads, frames: CellFrames) -> list[FrameResult]:
        flat = heads.heat(frames.features.reshape(-1, frames.features.shape[-1])).mean(axis=0)
        heat = flat.reshape(*frames.cells.shape, -1)
        results = []
        for frame in range(len(frames)):
            found = self._decoder.decode(
                frames.cells[frame], heat[frame], frames.boxes[frame], _TOLD_FROM
            ).found
            truth, ignored = frames.truth_of(frame)
            scores = found.scores.astype(np.float64)
            results.append(FrameResult(found.boxes, scores, truth, ignored))
        return results
