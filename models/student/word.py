"""What a network says of a frame, as something to be learned: its word.

Kept on disk, a word is an npz without pickle: `heat` float16 [classes, r, c] of probabilities,
`cells`, `values`, `weight` of the boxes where it is sure, `embedding` where there is one.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contracts.errors import CorruptError
from contracts.samples import Float32s
from kernels.bev_decoding import BOX_CHANNELS
from models.student.config import StudentConfig
from models.student.losses import TeacherFrame
from models.student.targets import BoxRows

SURE = 0.1
"""Least belief at which a word's box is worth learning."""


def word_from(
    config: StudentConfig, heat: Float32s, boxes: Float32s, embedding: Float32s | None
) -> TeacherFrame:
    """What is to be learned of maps: `heat` [classes, r, c] probabilities, `boxes`
    [10 * groups, r, c] where the network is sure, `embedding` [256].
    """
    groups = class_rows(config)
    by_group = np.stack([heat[rows].max(axis=0) for rows in groups])
    group, row, column = np.nonzero(by_group > SURE)
    values = boxes.reshape(len(groups), len(BOX_CHANNELS), *by_group.shape[1:])[
        group, :, row, column
    ]
    weight = np.repeat(by_group[group, row, column][:, None], len(BOX_CHANNELS), axis=1)
    cells = np.column_stack([group, row, column]).astype(np.int64)
    return TeacherFrame(heat.astype(np.float16), BoxRows(cells, values, weight), embedding)


def class_rows(config: StudentConfig) -> Sequence[Sequence[int]]:
    """The classes of each group of box channels, by their rows in a heat map."""
    names = config.taxonomy.names
    return [[names.index(name) for name in group] for group in config.taxonomy.groups]


def write_word(path: Path, word: TeacherFrame) -> None:
    """Write a word; the file is there whole or not at all."""
    partial = path.with_name(f".{path.name}")
    arrays = {} if word.embedding is None else {"embedding": word.embedding}
    with partial.open("wb") as stream:
        np.savez_compressed(
            stream, allow_pickle=False, heat=word.heat, cells=word.boxes.cells,
            values=word.boxes.values, weight=word.boxes.weight, **arrays,
        )  # fmt: skip
    partial.replace(path)


def read_word(path: Path) -> TeacherFrame:
    """Raises `CorruptError` for anything but a whole word."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            boxes = BoxRows(archive["cells"], archive["values"], archive["weight"])
            embedding = archive["embedding"] if "embedding" in archive.files else None
            return TeacherFrame(archive["heat"], boxes, embedding)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(f"this is no word: {error}", str(path)) from error
