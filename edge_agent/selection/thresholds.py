"""Where the thresholds of adaptive specs stand, over drives and restarts.

Guarantees: the file is replaced as a whole, so that a crash leaves the one before; what cannot be
read is told and begins anew, since a threshold finds its place by itself. A spec of another digest
begins at its own bound. The newest `KEPT` specs are remembered.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from threading import Lock

import structlog

from contracts.errors import InputError
from edge_agent.disk import Disk, RealDisk, replace_file
from kernels.triggers.adapt import Threshold, Thresholds

KEPT = 500

log = structlog.get_logger(__name__)


class ThresholdBook:
    """All thresholds that this vehicle has had. `update` is the drive's, `save` anybody's.

    Args:
        path: where they are kept; None remembers for this process only.
        disk: where durable steps go.

    Attributes:
        known: by the spec's digest, the newest last.
    """

    def __init__(self, path: Path | None = None, disk: Disk | None = None) -> None:
        self._path = path
        self._disk = disk or RealDisk()
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
        """Write what has changed since. Raises `LongtailError` when it cannot be written."""
        with self._lock:
            held = dict(self.known)
        if self._path is None or held == self._saved:
            return
        document = {digest: asdict(each) for digest, each in held.items()}
        replace_file(self._disk, self._path, json.dumps(document).encode())
        self._saved = held


def _read(path: Path) -> dict[str, Threshold]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {str(digest): _threshold(**values) for digest, values in document.items()}
    except (
        OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError, InputError,
    ) as error:  # fmt: skip
        log.warning("thresholds begin anew", path=str(path), reason=str(error))
        return {}


def _threshold(log_factor: float, known_s: float, fires: int, reference_fires: int) -> Threshold:
    return Threshold(float(log_factor), float(known_s), int(fires), int(reference_fires))
