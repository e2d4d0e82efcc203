"""What the fleet's half needs of others."""

from __future__ import annotations

from typing import Protocol

from contracts.ota import SignedTime


class TimeAttestor(Protocol):
    """Signs the time, from which vehicles without a trusted clock learn it."""

    async def signed_time(self, vehicle_id: str, nonce: str) -> SignedTime | None:
        """The time for one vehicle's one question; None when there is no director's key."""
        ...
