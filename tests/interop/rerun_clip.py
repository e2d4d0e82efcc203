"""A clip as Rerun's own MCAP importer sees it: entities, times and columns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from rerun.chunk import Chunk, McapReader

LOG_TIME = "message_log_time"
_CHANNEL_ROWS = ("McapChannel:", "McapSchema:")


@dataclass
class Entity:
    """Rows of one entity in file order: Arrow columns of what Rerun made of each message."""

    batches: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def times_ns(self) -> list[int]:
        """Log times, whole nanoseconds since 1970."""
        columns = [batch.column(LOG_TIME).cast(pa.int64()) for batch in self.batches]
        return [int(time) for column in columns for time in column.to_pylist()]

    @property
    def components(self) -> set[str]:
        return {
            column.name
            for batch in self.batches
            for column in batch.schema
            if pa.types.is_list(column.type)
        }

    def column(self, component: str) -> list[Any]:
        """The component's single value in each row; None where the row has none."""
        cells = [cell for b in self.batches for cell in b.column(component).to_pylist()]
        return [None if cell is None else _only(cell) for cell in cells]

    def blobs(self, component: str) -> list[bytes]:
        """As `column`, for lists of bytes, which Arrow would hand out number by number."""
        return [
            _only(cell.values).values.to_numpy().tobytes()
            for batch in self.batches
            for cell in batch.column(component)
        ]

    def array(self, component: str) -> NDArray[np.float64]:
        """As `column`, for numbers."""
        return np.array(self.column(component), np.float64)


def _only(cell: Any) -> Any:
    if len(cell) != 1:
        raise ValueError(f"expected one value in a row, found {len(cell)}")
    return cell[0]


def entities_of(chunks: list[Chunk]) -> dict[str, Entity]:
    """Entities with rows on the time line."""
    found: dict[str, Entity] = defaultdict(Entity)
    for chunk in chunks:
        if not chunk.is_static:
            found[chunk.entity_path].batches.append(chunk.to_record_batch())
    return dict(found)


def static_of(chunks: list[Chunk], entity: str) -> dict[str, Any]:
    """Values without time of one entity: the file's metadata, attachments, statistics."""
    found: dict[str, Any] = {}
    for chunk in chunks:
        if chunk.is_static and chunk.entity_path == entity:
            batch = chunk.to_record_batch()
            for column in batch.schema:
                if pa.types.is_list(column.type) and not column.name.startswith(_CHANNEL_ROWS):
                    found[column.name] = batch.column(column.name).to_pylist()[0]
    return found


def read_chunks(clip: Path) -> list[Chunk]:
    """All chunks that Rerun makes of the file with its default decoders."""
    return list(McapReader(clip).stream().to_chunks())
