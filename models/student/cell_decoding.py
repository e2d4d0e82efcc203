"""Heat at a frame's kept cells, decoded into boxes as the vehicle does.

What is not kept has no heat. Buffers are reused: an object serves one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float32s
from kernels.bev_decoding import BevDecoded, BevDecoder
from models.evaluation.adapters import decoder_of
from models.student.cells import Halves
from models.student.config import StudentConfig


@dataclass(frozen=True, slots=True)
class CellBoxes:
    """`found` in a frame, and `columns` int64 [p]: which of its kept cells each peak is."""

    found: BevDecoded
    columns: Int64s


class CellDecoder:
    """Decodes frames of one configuration."""

    def __init__(self, config: StudentConfig) -> None:
        decoder = decoder_of(config)
        self._decoder = BevDecoder(decoder, config.taxonomy.names)
        self._heat = np.zeros(self._decoder.heat_shape, dtype=np.float32)
        self._boxes = np.zeros(self._decoder.boxes_shape, dtype=np.float32)
        self._grid_columns = config.grid.columns

    def decode(self, cells: Int64s, heat: Float32s, boxes: Halves, threshold: float) -> CellBoxes:
        """Boxes of one frame.

        Args:
            cells: int64 [k] rising places in the flattened grid.
            heat: probabilities float32 [k, classes].
            boxes: channels float16 [k, 10 * groups].
            threshold: raw score from which on boxes are told.
        """
        maps = self._heat.reshape(self._heat.shape[1], -1)
        channels = self._boxes.reshape(self._boxes.shape[1], -1)
        maps[:, cells] = heat.T
        channels[:, cells] = boxes.T
        try:
            found = self._decoder.decode(self._heat, self._boxes, threshold)
        finally:
            maps[:, cells] = 0
            channels[:, cells] = 0
        places = found.cells[:, 0] * self._grid_columns + found.cells[:, 1]
        return CellBoxes(found, np.searchsorted(cells, places).astype(np.int64))
