"""The service's ports: what it needs of stores and readers, as tiny protocols.

Their methods block unless they are `async`; callers run them in threads. Durable truth is
observed: how much of an upload has arrived is what the part store holds.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from contracts.clip import ClipManifest
from contracts.errors import ConflictError, CorruptError
from contracts.ids import PART_BYTES
from contracts.upload import UploadRequest

UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
"""An upload's id: what part stores name its bytes by, and the only names that a sweep clears."""

OWNED = ".owned-by-"
"""What the name of a mark begins with that tells whose unfinished uploads lie in a place."""

Chunks = Sequence[bytes | memoryview]
"""Consecutive bytes in pieces as they came from the socket, so that nothing is copied."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an upload that a part store has acknowledged.

    `sha256` is the digest of a whole part of the clip, None for bytes of one that is not full
    yet. `token` is what the store calls the bytes: an ETag, a file, a key.
    """

    start_bytes: int
    length_bytes: int
    token: str
    sha256: bytes | None = None

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.length_bytes


def pieces_from(pieces: Sequence[Piece], from_bytes: int) -> Iterator[Piece]:
    """What is left of the pieces behind an offset. Not for tokens that begin where they do."""
    for piece in pieces:
        if piece.end_bytes > from_bytes:
            start = max(piece.start_bytes, from_bytes)
            yield Piece(start, piece.end_bytes - start, piece.token)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one upload go. `name` is the store's own word; who asked keeps it."""

    upload_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Remains:
    """Bytes that a part store holds, and what they are held for: an upload or a clip.

    They may go when there is no open upload of that id, or of that clip, nor a move of the clip
    between the tiers.
    """

    kind: Literal["upload", "clip"]
    owner: str
    name: str


class LostPiecesError(ConflictError):
    """The store does not hold what it had acknowledged."""


class DamagedPieceError(CorruptError):
    """Stored bytes are not those that were acknowledged, from `start_bytes` on."""

    def __init__(self, start_bytes: int) -> None:
        number = start_bytes // PART_BYTES
        super().__init__("stored bytes do not match their digest", f"part {number}")
        self.start_bytes = start_bytes


Completion = Literal["done", "exists"]
"""How an object came to be there: by this call, or it was there already and is verified."""


class PartStore(Protocol):
    """Bytes of unfinished uploads, written by any number of processes at once.

    A store only keeps bytes and names them; which of them count, the upload's row decides
    (`piece_book`). So every `put` may be repeated, may lose, and harms no other: it never
    changes bytes that another call has named.
    """

    def begin(self, upload_id: str, clip_id: str | None) -> str:
        """A new place's name. `clip_id` is the declared one; None when it is not known yet."""
        ...

    def disown(self, place: Place) -> None:
        """Forget a place that was begun and is not used: another request had begun one."""
        ...

    def put_part(
        self, place: Place, start_bytes: int, chunks: Chunks, sha256: bytes, tail: Sequence[Piece]
    ) -> str:
        """Keep a whole part, verified by the caller, durably; returns the token.

        `tail` names pieces that hold the beginning of `chunks` already. Raises
        `LostPiecesError` when the place is gone, `ExhaustedError`, `TransientError`.
        """
        ...

    def put_tail(self, place: Place, start_bytes: int, chunks: Chunks) -> str:
        """Keep bytes of a part that is not full yet, durably; returns the token."""
        ...

    def read_tail(self, place: Place, tail: Sequence[Piece]) -> list[bytes]:
        """The bytes of such pieces. Raises `LostPiecesError`."""
        ...

    def drop_tail(self, place: Place, tail: Sequence[Piece]) -> None:
        """These pieces count no more."""
        ...

    def held_bytes(self, place: Place, pieces: Sequence[Piece]) -> int:
        """How far the store really holds consecutive pieces, from the start."""
        ...

    def read(self, place: Place, pieces: Sequence[Piece], from_bytes: int) -> Iterator[memoryview]:
        """The bytes of a full upload, in views that are valid until the next one."""
        ...

    async def complete(self, place: Place, pieces: Sequence[Piece], clip_id: str) -> Completion:
        """Make the whole parts the clip's object: atomically, durably, verified.

        Raises `LostPiecesError`, `DamagedPieceError`, `TransientError`.
        """
        ...

    def abort(self, place: Place, *, is_complete: bool = False) -> None:
        """Forget the bytes; nothing to do when none are there."""
        ...

    def own(self, service_id: str) -> None:
        """Take the place for one service, that is: one database.

        Another's uploads would look like nobody's. Raises `ConflictError` when it is another's.
        """
        ...

    def remains(self) -> list[Remains]:
        """All that is held now, under names of the store's own form."""
        ...

    def clear(self, remains: Remains) -> None:
        """Forget bytes that are held for nobody."""
        ...

    def free_bytes(self) -> int:
        """Room for more, less what is to be kept free."""
        ...


class Wanted(Protocol):
    """Whether the fleet has enough of what a clip shows."""

    async def refusal(self, vehicle_id: str, request: UploadRequest) -> str | None:
        """Why this clip is not wanted; None when it is.

        Asked at the declaration, for triggered clips that are no matter of safety only.
        """
        ...


class EverythingWanted:
    """Refuses nothing."""

    async def refusal(self, vehicle_id: str, request: UploadRequest) -> str | None:
        return None


class ObjectStore(Protocol):
    """Whole clips under their content address."""

    async def size_bytes(self, clip_id: str) -> int | None:
        """Size of the object; None when there is none."""
        ...

    async def publish(self, clip_id: str, source: Path) -> Completion:
        """Make the object from a whole, verified file, atomically and durably.

        An object that is there already is verified and kept; a damaged one is replaced.
        """
        ...

    def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Bytes `start` to `start + length` in pieces."""
        ...

    def open(self, clip_id: str) -> IO[bytes]:
        """A seekable stream over the object. Blocks."""
        ...

    async def remove(self, clip_id: str) -> None:
        """Forget the object; nothing to do when there is none."""
        ...


class ManifestReader(Protocol):
    """Reads what a clip file says about itself.

    Raises `CorruptError` or `InputError` for a file that is not a clip. Blocks.
    """

    def __call__(self, source: Path | IO[bytes]) -> ClipManifest: ...
