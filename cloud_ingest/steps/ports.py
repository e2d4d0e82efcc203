"""What the steps need of the world outside: a store for views, a captioner, an encoder.

Captioner and encoder are optional; without them their steps are *skipped* and say so. Both know
the version of what they do by their `name`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contracts.clip import ClipManifest


class ViewStore(Protocol):
    """Small objects that derive from a clip: `views/<clip_id>/<name>`. Its methods block.

    Clip ids are 64 hex digits; names are the service's own and match `VIEW_NAME`.
    """

    def put(self, clip_id: str, name: str, content: bytes) -> None:
        """Make the view, whole or not at all; one that is there is replaced."""
        ...

    def read(self, clip_id: str, name: str) -> bytes | None:
        """The view, or None."""
        ...

    def names(self, clip_id: str) -> list[str]:
        """The views of a clip, sorted."""
        ...

    def remove_all(self, clip_id: str) -> None:
        """Forget all views of a clip; nothing to do when there are none."""
        ...


class Encoder(Protocol):
    """Makes an embedding of key frames, and keeps it where searches find it."""

    @property
    def name(self) -> str:
        """What does it, and its version."""
        ...

    async def embed(self, clip_id: str, frames: Sequence[bytes]) -> str:
        """Make and keep one vector for the clip, of JPEG pictures in the order of time; again is as
        good as once. Returns its model's digest.
        """
        ...


class Captioner(Protocol):
    """Says in a sentence what a clip shows, and keeps it where searches find it."""

    @property
    def name(self) -> str:
        """What does it, and its version."""
        ...

    async def caption(self, clip_id: str, manifest: ClipManifest) -> str:
        """Make and keep the caption; again is as good as once. Returns it."""
        ...
