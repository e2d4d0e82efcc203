"""The spool's index: what its folder holds, in memory, in the order of commit.

Guarantees: it holds nothing that the folder does not, and is filled from the folder each time
the spool opens. It was a file once; a file can be full, torn or stale, and saved no work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from edge_agent.spool.entry import Entry, State


class Index:
    """Entries by clip id. Safe to share between threads."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._lock = threading.Lock()
        self._entries = {
            entry.clip_id: entry for entry in sorted(entries, key=lambda entry: entry.sequence)
        }

    def put(self, entry: Entry) -> None:
        """Add an entry after all others, or replace the one of this clip in its place."""
        with self._lock:
            self._entries[entry.clip_id] = entry

    def drop(self, clip_id: str) -> None:
        with self._lock:
            self._entries.pop(clip_id, None)

    def get(self, clip_id: str) -> Entry | None:
        with self._lock:
            return self._entries.get(clip_id)

    def entries(self, state: State | None = None) -> tuple[Entry, ...]:
        """All entries of a state, or all, in the order of commit."""
        with self._lock:
            return tuple(
                entry for entry in self._entries.values() if state is None or entry.state == state
            )
