"""Every fuzz target by its name: all decoders and parsers of bytes from a disk or a network."""

from __future__ import annotations

from tests.fuzz import clips, pictures, selection, sources, vehicle, wire, words
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for part in (clips, pictures, sources, words, wire, vehicle, selection)
    for target in part.TARGETS
}
