"""What the fleet meets, as its random stream tells it: the reference that a mix is weighed by.

Best told by the stream's clips, labelled or not. Of labelled frames alone those that somebody chose
for what they show are there too, and bend it towards themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.samples import Float64s
from kernels.clip.reader import read_manifest
from offline.retrain.mix import Tags
from offline.retrain.sources import Source, Told, read_source

if TYPE_CHECKING:
    from models.student.config import StudentConfig

_CLIPS = "*.mcap"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a random stream drew: tags, and inclusion probabilities float64 [n]."""

    tags: tuple[Tags, ...]
    inclusion: Float64s
    digest: str


def read_reference(
    folder: Path, config: StudentConfig, told: Told = lambda done, of: None
) -> Drawn:
    """What the random stream drew of a folder: of clips, whose windows count one each, or of a
    dataset, by frames.

    Raises `InputError` for a random clip that does not tell by which probability it was drawn, and
    as `read_source` and `read_manifest` do.
    """
    clips = sorted(path for path in folder.glob(_CLIPS) if not path.name.startswith("."))
    return _drawn_clips(clips) if clips else drawn_frames(read_source(folder, config, told))


def drawn_frames(source: Source) -> Drawn:
    """The random stream's among a dataset's frames."""
    rows = np.flatnonzero(~np.isnan(source.inclusion))
    return Drawn(
        tuple(source.tags[row] for row in rows.tolist()), source.inclusion[rows], source.digest
    )


def joined(drawn: Sequence[Drawn]) -> tuple[list[Tags], Float64s]:
    """Tags and inclusion probabilities of all."""
    tags = [each for one in drawn for each in one.tags]
    return tags, np.concatenate([np.empty(0), *(one.inclusion for one in drawn)])


def _drawn_clips(clips: Sequence[Path]) -> Drawn:
    tags: list[Tags] = []
    inclusion: list[float] = []
    told: list[JsonValue] = []
    for path in clips:
        manifest = read_manifest(path)
        if manifest.stream != "random":
            continue
        if manifest.inclusion_probability is None:
            raise InputError("a random clip that tells no probability", str(path))
        tags.append(manifest.summary.tags())
        inclusion.append(manifest.inclusion_probability)
        told.append([inclusion[-1], *sorted(f"{name}={value}" for name, value in tags[-1].items())])
    return Drawn(tuple(tags), np.array(inclusion, dtype=np.float64), canonical_digest(told))
