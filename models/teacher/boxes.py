"""What a teacher tells as boxes: fused, or each member's own, for how far members are apart.

Scores are as the heat maps have them, not calibrated.
"""

from __future__ import annotations

import numpy as np

from contracts.model_manifest import BevCenter, Decoder
from contracts.samples import Float32s
from kernels.bev_decoding import BOX_CHANNELS, BevDecoded, BevDecoder
from models.student.config import StudentConfig
from models.teacher.predict import Opinions, TeacherMaps

THRESHOLD = 0.05
"""Raw score from which on boxes are told."""
_NO_WEIGHT = 1e-6


class TeacherBoxes:
    """Decodes what teachers of one configuration say.

    Args:
        config: of the teacher.
        threshold: raw score from which on boxes are told.
    """

    def __init__(self, config: StudentConfig, threshold: float = THRESHOLD) -> None:
        names = config.taxonomy.names
        self._groups = [[names.index(name) for name in group] for group in config.taxonomy.groups]
        self._threshold = threshold
        bev = BevCenter(
            grid=config.grid, groups=config.taxonomy.groups, suppress_m=config.suppress_m,
            boxes_tensor="boxes", ground_tensor="ground", light_tensor="light",
        )  # fmt: skip
        self._decoder = BevDecoder(Decoder(name="bev_center", tensor="heat", bev=bev), names)

    def fused(self, maps: TeacherMaps) -> BevDecoded:
        """Boxes of the fused maps."""
        return self._decoded(maps.heat, maps.boxes)

    def by_member(self, opinions: Opinions) -> list[BevDecoded]:
        """Each member's boxes, its views fused: heat as their mean, box channels by belief."""
        return [
            self._decoded(heat.mean(axis=0), self._over_views(heat, boxes))
            for heat, boxes in zip(opinions.heat, opinions.boxes, strict=True)
        ]

    def by_view(self, opinions: Opinions) -> list[list[BevDecoded]]:
        """Boxes of each member in each view: [members][views]."""
        return [
            [self._decoded(*view) for view in zip(heat, boxes, strict=True)]
            for heat, boxes in zip(opinions.heat, opinions.boxes, strict=True)
        ]

    def _over_views(self, heat: Float32s, boxes: Float32s) -> Float32s:
        """[v, 10 * groups, r, c] weighed by belief [v, classes, r, c]: [10 * groups, r, c]."""
        belief = np.stack([heat[:, rows].max(axis=1) for rows in self._groups], axis=1)
        weight = (belief + np.float32(_NO_WEIGHT)).repeat(len(BOX_CHANNELS), axis=1)
        return np.asarray((boxes * weight).sum(axis=0) / weight.sum(axis=0))

    def _decoded(self, heat: Float32s, boxes: Float32s) -> BevDecoded:
        return self._decoder.decode(
            np.ascontiguousarray(heat[None]), np.ascontiguousarray(boxes[None]), self._threshold
        )
