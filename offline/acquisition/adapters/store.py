"""Scored clips on disk, one file each: what was scored once is read again.

`FOLDER/<scorer's digest, 16 digits>/<clip id>.npz` holds the embedding and, as JSON, the rest.
Files are replaced whole; one that is damaged or of something else is an error, not a miss.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from contracts.errors import CorruptError, InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from offline.acquisition.adapters.scoring import Scored
from offline.acquisition.cost import ClipFeatures
from offline.acquisition.records import Share

_DIGITS = 16


class _Record(Frozen):
    schema_version: Literal[1] = 1
    clip_id: Sha256Hex
    scorer: Sha256Hex
    space: Sha256Hex
    scores: dict[str, Share]
    features: ClipFeatures


class ScoreStore:
    """The clips that one scorer has scored."""

    def __init__(self, folder: Path, scorer: str) -> None:
        self._scorer = scorer
        self._folder = folder / scorer[:_DIGITS]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be made: {error.strerror}", str(self._folder)) from error

    def get(self, clip_id: str) -> Scored | None:
        """A clip's scores; None where it has not been scored. Raises `CorruptError`."""
        path = self._path(clip_id)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as held:
                record = _Record.model_validate_json(held["record"].tobytes())
                embedding = held["embedding"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            reason = "its record" if isinstance(error, ValidationError) else str(error)
            raise CorruptError(f"no scored clip: {reason}", str(path)) from error
        fits = embedding.dtype == np.float32 and embedding.ndim == 1
        if not fits or (record.clip_id, record.scorer) != (clip_id, self._scorer):
            raise CorruptError("the scores of another clip or scorer", str(path))
        return Scored(record.scores, record.features, embedding, record.space)

    def put(self, clip_id: str, scored: Scored) -> None:
        """Keep a clip's scores."""
        record = _Record(
            clip_id=clip_id, scorer=self._scorer, space=scored.space, scores=scored.scores,
            features=scored.features,
        )  # fmt: skip
        text = np.frombuffer(record.model_dump_json().encode(), dtype=np.uint8)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, record=text, embedding=scored.embedding)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(self._path(clip_id))

    def _path(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.npz"
