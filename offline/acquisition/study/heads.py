"""The learner of the study: heads retrained over the cells of a frozen student.

It trains the members from scratch on what is labelled, measures their mean on the test clips
(AP at 2 m by class, nuScenes' rule), and says of each clip of the pool what the loop's scorer
says: `offline.acquisition.scores` of the boxes that the mean tells, from the members' opinions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from contracts.geometry import TAXONOMY, Int64s
from contracts.samples import Float32s, Float64s
from offline.acquisition.scores.clip import DEFAULT_AGGREGATION, Aggregation, FrameEvidence
from offline.acquisition.scores.clip import clip_scores as named_scores
from offline.acquisition.study.clips import Clips
from offline.acquisition.study.ports import Opinion

if TYPE_CHECKING:
    from models.student.cell_decoding import CellBoxes
    from models.student.cells import CellFrames, Halves
    from models.student.config import StudentConfig
    from models.student.heads import CellHeads, HeadRecipe

MATCH_M = 2.0
RARE, COMMON = "rare", "common"
_TOLD_FROM = 0.02
"""Score from which on boxes are told to be measured, and ..."""
_SCORED_FROM = 0.05
"""... to be asked about: faint ones too may be something new."""
_EXPECTED_FROM = 0.3
"""Score from which on a box is expected to be there and to be paid for."""


class HeadLearner:
    """Learns over the pool's clips, measured on the test's."""

    def __init__(
        self, pool: Clips, test: Clips, config: StudentConfig, recipe: HeadRecipe,
        aggregation: Aggregation = DEFAULT_AGGREGATION,
    ) -> None:  # fmt: skip
        from models.student.cell_decoding import CellDecoder
        from models.student.heads import scale_of

        self._pool, self._test, self._recipe = pool, test, recipe
        self._aggregation = aggregation
        self._decoder = CellDecoder(config)
        # Of all that drove by, labelled or not: the spread of features takes no label.
        self._scale = scale_of(pool.frames.features)
        self._answered: dict[tuple[tuple[int, ...], bytes, int], Opinion] = {}

    def learned(self, clips: Sequence[int], asked: Int64s, seed: int) -> Opinion:
        # All strategies start from the same question.
        question = tuple(clips), asked.tobytes(), seed
        if question not in self._answered:
            self._answered[question] = self._learned(clips, asked, seed)
        return self._answered[question]

    def _learned(self, clips: Sequence[int], asked: Int64s, seed: int) -> Opinion:
        from models.student.heads import train_heads

        rows = self._pool.rows_of(clips)
        heads = train_heads(
            self._pool.frames, rows, self._pool.clip_of_frame[rows], self._recipe, self._scale,
            seed,
        )  # fmt: skip

        figures = self._measured(heads)
        return self._opinion(heads, asked, figures)

    def _opinion(self, heads: CellHeads, asked: Int64s, figures: dict[str, float]) -> Opinion:
        frames, clips = self._pool.frames, len(self._pool.names)
        rows = self._pool.rows_of(asked.tolist())
        heat = _heat(heads, frames.features[rows])
        evidence: dict[int, list[FrameEvidence]] = {}
        boxes, rare = np.zeros(clips, np.int64), np.zeros(clips, np.int64)
        is_rare = np.array([one.rare for one in TAXONOMY.classes])
        for frame, seen in zip(rows.tolist(), np.moveaxis(heat, 1, 0), strict=True):
            clip = int(self._pool.clip_of_frame[frame])
            told = self._told(frames, seen.mean(axis=0), frame, _SCORED_FROM)
            members = seen[:, told.columns].astype(np.float64)
            members /= np.maximum(members.sum(axis=-1, keepdims=True), 1.0)
            evidence.setdefault(clip, []).append(FrameEvidence(members))
            expected = told.found.scores >= _EXPECTED_FROM
            boxes[clip] += int(expected.sum())
            rare[clip] += int(is_rare[told.found.boxes.class_index[expected]].sum())
        by_name: dict[str, Float64s] = {}
        for clip, seen_frames in evidence.items():
            for name, value in named_scores(seen_frames, aggregation=self._aggregation).items():
                by_name.setdefault(name, np.zeros(clips))[clip] = value
        return Opinion(by_name, boxes, rare, figures)

    def _measured(self, heads: CellHeads) -> dict[str, float]:
        """AP by class, and its means over rare and over common classes."""
        from models.evaluation.detection import average_precision
        from models.evaluation.matching import FrameResult, Matcher

        frames = self._test.frames
        mean = _heat(heads, frames.features).mean(axis=0)
        results = []
        for frame in range(len(frames)):
            found = self._told(frames, mean[frame], frame, _TOLD_FROM).found
            truth, ignored = frames.truth_of(frame)
            results.append(
                FrameResult(found.boxes, found.scores.astype(np.float64), truth, ignored)
            )
        matcher = Matcher(results, MATCH_M)
        ap = {
            one.name: average_precision(matcher.match((kind,), MATCH_M))
            for kind, one in enumerate(TAXONOMY.classes)
        }
        known = {name: value for name, value in ap.items() if not np.isnan(value)}
        rare = set(TAXONOMY.rare_names)
        means = {
            RARE: _mean([value for name, value in known.items() if name in rare]),
            COMMON: _mean([value for name, value in known.items() if name not in rare]),
        }
        return {**means, **known}

    def _told(self, frames: CellFrames, heat: Float32s, frame: int, threshold: float) -> CellBoxes:
        return self._decoder.decode(frames.cells[frame], heat, frames.boxes[frame], threshold)


def _heat(heads: CellHeads, features: Halves) -> Float32s:
    """Probabilities [members, n, k, classes] of features [n, k, d]."""
    told = heads.heat(features.reshape(-1, features.shape[-1]))
    return told.reshape(len(told), *features.shape[:2], told.shape[-1])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
