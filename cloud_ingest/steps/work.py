"""What one step is given, and how it ends. A step is a coroutine from `Work` to an `Ending`.

A step may be cut off at any moment and is then done again from its start: all that it writes goes
under a name or key that follows from the clip. It raises

- `UnreadableError` when the clip's bytes are not what a clip is: the clip is quarantined;
- any other `LongtailError`, or what else goes wrong: see `runner`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.steps.answering import Product
from cloud_ingest.steps.computing import Computing
from cloud_ingest.steps.ports import Captioner, Encoder, ViewStore
from contracts.clip import ClipManifest
from contracts.clock import Clock
from contracts.errors import CorruptError


class UnreadableError(CorruptError):
    """The clip cannot be read to its end: it is set aside."""


@dataclass(frozen=True, slots=True)
class Done:
    """The step's product is there."""

    product: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """There was nothing to do, or nothing to do it with."""

    reason: str


Ending = Done | Skipped


@dataclass(frozen=True, slots=True)
class Means:
    """What steps may use, whatever the clip."""

    engine: AsyncEngine
    views: ViewStore
    clock: Clock
    computing: Computing
    encoder: Encoder | None = None
    captioner: Captioner | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One clip, and the means."""

    clip_id: str
    vehicle_id: str
    manifest: ClipManifest
    means: Means

    async def compute(self, name: str) -> Product:
        """What a step's computation makes of the clip (`computing.computations`)."""
        return await self.means.computing(name, self.clip_id, self.manifest)


Perform = Callable[[Work], Awaitable[Ending]]
