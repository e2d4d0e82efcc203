"""How long to wait before a device is asked again."""

from __future__ import annotations

FIRST_S = 0.5
LONGEST_S = 30.0


class Backoff:
    """Doubling pauses, from `first_s`, half a second, to half a minute."""

    def __init__(self, first_s: float | None = None) -> None:
        self._first_s = FIRST_S if first_s is None else first_s
        self._next_s = self._first_s

    def next_s(self) -> float:
        pause_s, self._next_s = self._next_s, min(LONGEST_S, 2 * self._next_s)
        return pause_s

    def reset(self) -> None:
        self._next_s = self._first_s
