"""What is told of a frame besides its boxes, as JSON: for formats that have no words for it."""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import BevGrid, Frozen
from contracts.labels import (
    GROUND_LAYERS,
    EgoPose,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    LightState,
    Provenance,
)
from offline.labels.formats.files import reason


class FrameHead(Frozen):
    """A `FrameRecord` without its boxes; `ground` is the raster, row by row, zlib in base64."""

    schema_version: int = 1
    taxonomy_version: int = 1
    drive_id: str
    mono_ns: int
    light: LightState | None = None
    ground_grid: BevGrid | None = None
    ground: str | None = Field(None, max_length=64 * 1024**2)
    ego_pose: EgoPose | None = None
    provenance: Provenance
    tags: dict[str, str] = Field(default_factory=dict)


def head_of(labels: FrameLabels) -> FrameHead:
    """All of a frame but its boxes."""
    record = labels.record.model_dump(exclude={"boxes"})
    ground = None
    if labels.ground is not None:
        packed = zlib.compress(np.ascontiguousarray(labels.ground).tobytes(), 9)
        ground = base64.b64encode(packed).decode("ascii")
    return FrameHead(**record, ground=ground)


def frame_of(head: FrameHead, boxes: tuple[LabelledBox, ...], place: str) -> FrameLabels:
    """The frame again. Raises `InputError` when head and boxes do not make one."""
    fields = head.model_dump(exclude={"ground"})
    try:
        return FrameLabels(FrameRecord.model_validate(fields | {"boxes": boxes}), _raster(head))
    except (InputError, ValidationError) as error:
        why, where = reason(error)
        raise InputError(why, f"{place}: {where}" if where else place) from None


def _raster(head: FrameHead) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    if head.ground is None or head.ground_grid is None:
        if head.ground is not None:
            raise InputError("a raster needs its grid", "ground")
        return None
    shape = (len(GROUND_LAYERS), head.ground_grid.rows, head.ground_grid.columns)
    wanted = int(np.prod(shape))
    try:
        packed = base64.b64decode(head.ground, validate=True)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, wanted + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InputError(f"no packed raster: {error}", "ground") from None
    if len(content) != wanted:
        raise InputError(f"unpacks to other than {wanted} bytes", "ground")
    return np.frombuffer(content, np.uint8).reshape(shape)
