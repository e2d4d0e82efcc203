"""Tiers, pins and erasures of clips, as operators ask for them and read them.

| call                              | body → answer                     |
|-----------------------------------|-----------------------------------|
| GET    /v1/tiers                  | → `TierReport`                    |
| GET    /v1/tiers/lifecycle        | → a bucket's lifecycle policy     |
| GET    /v1/pins                   | → `PinPage`                       |
| PUT    /v1/pins/{kind}/{name}     | `PinRequest` → `Pin`              |
| DELETE /v1/pins/{kind}/{name}     | → `Pin`, as it was                |
| POST   /v1/erasures               | `ErasureRequest` → `Erasure`      |
| GET    /v1/erasures               | → `ErasurePage`                   |
| GET    /v1/erasures/{request_id}  | → `Erasure`                       |
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.clip import Wire
from contracts.ids import Name, Sha256Hex

Tier = Literal["hot", "cold"]
PinKind = Literal["label_set", "dataset_version"]
MOST_PINNED = 10_000
"""Clips in one request; a larger set is pinned in several."""


class TierUse(Wire):
    """What lies in one tier. `price` is per GB (10^9 bytes) and month, as the settings say."""

    tier: Tier
    clips: int
    size_bytes: int
    pinned_clips: int
    pinned_bytes: int
    moving_clips: int
    price: float
    cost_per_month: float


class TierReport(Wire):
    """All tiers. `all_hot_per_month` is what the same clips would cost without a cold one."""

    tiers: tuple[TierUse, ...]
    cost_per_month: float
    all_hot_per_month: float
    currency: str


class PinRequest(Wire):
    """Clips of a label set or dataset version: they stay, or become, hot."""

    clip_ids: tuple[Sha256Hex, ...] = Field(max_length=MOST_PINNED)


class Pin(Wire):
    """A label set or dataset version as the store knows it. `erased_clips` were in it once."""

    kind: PinKind
    name: str
    clips: int
    erased_clips: int = 0


class PinPage(Wire):
    pins: tuple[Pin, ...]


class ErasureRequest(Wire):
    """Erase a clip, or all clips, events and signal logs of a vehicle, for good.

    Asking again with the same `request_id` asks nothing new.
    """

    request_id: Name
    kind: Literal["clip", "vehicle"]
    subject: str = Field(max_length=200, description="clip id, or vehicle id")
    actor: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=1000)


class ErasureFlag(Wire):
    """A label set or dataset version that held erased clips, and how many."""

    kind: PinKind
    name: str
    clips: int


class Erasure(Wire):
    """How far an erasure has come. `left` counts clips of which something may still lie."""

    request_id: str
    kind: Literal["clip", "vehicle"]
    subject: str
    actor: str
    reason: str
    clips: int
    left: int
    created_utc_ns: int
    ended_utc_ns: int | None
    flags: tuple[ErasureFlag, ...] = ()


class ErasurePage(Wire):
    erasures: tuple[Erasure, ...]
