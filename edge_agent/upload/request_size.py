"""How many parts one request brings, on a link that is free: more the faster they go.

A request costs the vehicle and the receiver the same whether it brings one part or eight, and on a
long way a round trip in which nothing is sent. But what is more urgent waits for its end: so there
are never more parts in it than went within `LONGEST_S` before.
"""

from __future__ import annotations

MOST_PARTS = 8
LONGEST_S = 1.0


class RequestSize:
    """Learns from the requests of all clips; one for a connection's owner."""

    def __init__(self) -> None:
        self.parts = 1
        self._most = MOST_PARTS

    def took(self, parts: int, seconds: float) -> None:
        """A request of so many parts has come to its end after so long."""
        if 2 * seconds <= LONGEST_S:
            self.parts = min(self._most, max(self.parts, 2 * parts))
        elif seconds > LONGEST_S:
            self.parts = max(1, min(self.parts, parts // 2))

    def was_too_large(self) -> None:
        """Somebody on the way takes no body of several parts: from now on there is one in each."""
        self.parts = self._most = 1
