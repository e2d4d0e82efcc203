"""Which clips are being sent, and so are not given up.

Guarantees: a clip is held or being given up, never both, whichever thread comes first; asking
takes no disk's time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Holds:
    """Clip ids that are held, or going. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._going: set[str] = set()

    def __contains__(self, clip_id: str) -> bool:
        with self._lock:
            return clip_id in self._held

    @contextmanager
    def hold(self, clip_id: str) -> Iterator[None]:
        """Keep a clip while the block runs. Raises `FileNotFoundError` for one that is going."""
        with self._lock:
            if clip_id in self._going:
                raise FileNotFoundError(f"clip {clip_id} is being given up")
            self._held.add(clip_id)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(clip_id)

    @contextmanager
    def unless_held(self, clip_id: str) -> Iterator[bool]:
        """Whether a clip may be given up; while the block runs nobody can hold it."""
        with self._lock:
            free = clip_id not in self._held
            if free:
                self._going.add(clip_id)
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._going.discard(clip_id)
