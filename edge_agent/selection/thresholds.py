"""Where the thresholds of adaptive specs stand, over drives and restarts.

Guarantees: the file is replaced as a whole, so that a crash leaves the one before; what cannot be
read is told and begins anew, since a threshold finds its place by itself. A spec of another digest
begins at its own bound. The newest `KEPT` specs are remembered.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from threading import Lock

import structlog

from kernels.triggers.adapt import Threshold, Thresholds

KEPT = 500

log = structlog.get_logger(__name__)


class ThresholdBook:
    """All thresholds that this vehicle has had. `update` is the drive's, `save` anybody's.

    Args:
        path: where they are kept; None remembers for this process only.

    Attributes:
        known: by the spec's digest, the newest last.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = Lock()
        self._saved: dict[str, Threshold] = {}
        self.known: dict[str, Threshold] = {}
        if path is not None and path.is_file():
            self.known = _read(path)
            self._saved = dict(self.known)

    def update(self, thresholds: Thresholds) -> None:
        """These stand here now."""
        with self._lock:
            for digest, threshold in thresholds.items():
                self.known.pop(digest, None)
                self.known[digest] = threshold
            for digest in list(self.known)[: max(0, len(self.known) - KEPT)]:
                del self.known[digest]

    def save(self) -> None:
        """Write what has changed since. Raises `OSError` when it cannot be written."""
        with self._lock:
            held = dict(self.known)
        if self._path is None or held == self._saved:
            return
        replace_whole(self._path, {digest: asdict(each) for digest, each in held.items()})
        self._saved = held


def replace_whole(path: Path, document: object) -> None:
    """Write a JSON document in place of another, which stands until the new one is on disk."""
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> dict[str, Threshold]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {str(digest): Threshold(**values) for digest, values in document.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("thresholds begin anew", path=str(path), reason=str(error))
        return {}
