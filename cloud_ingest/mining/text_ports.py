"""What the mining index needs of a text model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contracts.samples import Float32s


class TextEncoder(Protocol):
    """Turns sentences into vectors of one space.

    Attributes:
        space: 64 hex digits: the digest of all that its vectors depend on.
        name: for people.
    """

    @property
    def space(self) -> str: ...

    @property
    def name(self) -> str: ...

    def encode(self, sentences: Sequence[str]) -> Float32s:
        """Unit vectors float32 [m, d]. Blocks."""
        ...
