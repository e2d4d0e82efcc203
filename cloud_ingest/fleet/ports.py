"""What the fleet's half needs of others."""

from __future__ import annotations

from typing import Protocol

from contracts.ota import SignedTime


class TimeAttestor(Protocol):
    """Signs the time, from which vehicles without a trusted clock learn it."""

    async def signed_time(
        self, vehicle_id: str, nonce: str, fleet_scenes: str | None = None
    ) -> SignedTime | None:
        """The time for one vehicle's one question; None when there is no director's key.

        `fleet_scenes` is the digest of the newest list of common scenes, signed with it.
        """
        ...


class SceneLists(Protocol):
    """The newest list of scenes that the fleet has enough of."""

    async def newest(self) -> str | None:
        """Its digest; None when there is none."""
        ...
