"""What people's work on a track takes, in labeller-seconds.

A judgement opens the clip at the track and goes over its key frames, between which boxes are
interpolated: each is looked at, and moved where it is wrong, or drawn where there is none. Several
judgements cost several times as much; an expert's second costs more than an annotator's.

Drawing and opening a clip are the acquisition's cost model (114 s: Meng et al. 2020). Moving a
proposed box takes 114 / 6.5 = 18 s: proposals made annotation 6.5 times as fast for Zhang et al.
2023 (PALF). Looking at a box for 3 s, a key frame every 5, ten tracks that share the opening of a
clip, a tenth of right boxes moved all the same, and an expert at twice an annotator's rate are
assumptions; what reviews really took (`Judgement.seconds`) is what to replace them by.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from contracts.geometry import Finite, Frozen
from contracts.samples import Float64s
from offline.acquisition.cost import DEFAULTS

_PER_CLIP, _PER_BOX = DEFAULTS["labeller_s"].per_clip, DEFAULTS["labeller_s"].per_box


class Effort(Frozen):
    """Seconds for a key frame's box by what has to be done, and what a tier multiplies them by."""

    verify_s: Finite = Field(3.0, gt=0)
    adjust_s: Finite = Field(18.0, gt=0)
    draw_s: Finite = Field(_PER_BOX, gt=0)
    open_s: Finite = Field(_PER_CLIP / 10, ge=0)
    key_every: int = Field(5, ge=1)
    consensus_annotators: int = Field(3, ge=2)
    expert_rate: Finite = Field(2.0, gt=0)
    needless: Finite = Field(0.1, ge=0, le=1)

    def judgement_s(
        self, boxes: Float64s, right: Float64s, stretches: Float64s | float = 1.0
    ) -> Float64s:
        """One annotator's expected time for tracks with a proposal, float64 [n].

        Args:
            boxes: of each track, those to be judged, [n].
            right: expected share of them that need no change, [n] in 0..1.
            stretches: how many runs of neighbouring frames they make, [n].
        """
        moved = 1 - right * (1 - self.needless)
        each_s = self.verify_s + moved * self.adjust_s
        return self.open_s + self._keys(boxes, stretches) * each_s

    def consensus_s(
        self, boxes: Float64s, right: Float64s, stretches: Float64s | float = 1.0
    ) -> Float64s:
        """All annotators of a consensus."""
        return self.consensus_annotators * self.judgement_s(boxes, right, stretches)

    def expert_s(
        self, boxes: Float64s, right: Float64s, stretches: Float64s | float = 1.0
    ) -> Float64s:
        """One expert, in an annotator's seconds."""
        return self.expert_rate * self.judgement_s(boxes, right, stretches)

    def drawing_s(self, boxes: Float64s) -> Float64s:
        """One annotator, without a proposal."""
        return self.open_s + self._keys(boxes, 1.0) * self.draw_s

    def _keys(self, boxes: Float64s, stretches: Float64s | float) -> Float64s:
        """Key frames: of each stretch the first, each `key_every`-th from it, and the last."""
        rest = np.maximum(boxes - stretches, 0)
        return np.asarray(stretches + np.ceil(rest / self.key_every), dtype=np.float64)
