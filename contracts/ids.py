"""Identity: content digests, clip ids and event keys.

`clip_id` is the hex SHA-256 over the concatenated SHA-256 digests of the payload's fixed
8 MiB parts: parts verify independently and in parallel, and the id is a function of the
bytes alone. It lives outside the file that it names. A clip's *event key* (vehicle, boot,
trigger interval) lives inside, and is unique per vehicle in the catalog.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from contracts.errors import InputError

PART_BYTES = 8 * 1024 * 1024
"""Size of every part but the last; fixed forever, since ids depend on it."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest as 64 lower-case hex digits."""


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "must be 1 to 128 of letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    return text


Name = Annotated[str, AfterValidator(_check_name)]
"""A vehicle, trigger or model name: safe in a path, a URL and a log line."""


def parse_name(text: str, place: str | None = None) -> str:
    """`text` when it is a `Name`. Raises `InputError`."""
    try:
        return _check_name(text)
    except ValueError as error:
        raise InputError(f"{text[:80]!r} is no name: it {error}", place) from error


def parse_sha256_hex(text: str, place: str | None = None) -> bytes:
    """The 32 bytes of a hex digest. Raises `InputError` for any other text."""
    if not _SHA256_HEX.fullmatch(text):
        raise InputError(f"{text[:80]!r} is not a SHA-256 digest (64 lower-case hex digits)", place)
    return bytes.fromhex(text)


def clip_id_of(part_digests: Iterable[bytes]) -> str:
    """Fold the raw 32-byte digests of the parts, in order, into the clip's id."""
    outer = hashlib.sha256()
    for digest in part_digests:
        if len(digest) != 32:
            raise InputError(f"a part digest has 32 bytes, not {len(digest)}")
        outer.update(digest)
    return outer.hexdigest()


def part_count(size_bytes: int) -> int:
    """How many parts a payload of `size_bytes` has; an empty payload has none."""
    return -(-size_bytes // PART_BYTES)


def part_length(size_bytes: int, index: int) -> int:
    """Length in bytes of part `index` of a payload of `size_bytes`."""
    return min(PART_BYTES, size_bytes - index * PART_BYTES)


class PartHasher:
    """Digests a stream of any chunking into its fixed parts, in one pass."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._current = hashlib.sha256()
        self._filled = 0
        self.size_bytes = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the payload."""
        view = memoryview(chunk).cast("B")
        self.size_bytes += len(view)
        while len(view):
            take = min(PART_BYTES - self._filled, len(view))
            self._current.update(view[:take])
            self._filled += take
            view = view[take:]
            if self._filled == PART_BYTES:
                self._done.append(self._current.digest())
                self._current = hashlib.sha256()
                self._filled = 0

    def part_digests(self) -> list[bytes]:
        """Raw digests of all parts so far, the unfinished last one included."""
        return [*self._done, self._current.digest()] if self._filled else list(self._done)

    def clip_id(self) -> str:
        return clip_id_of(self.part_digests())


def digest_file(path: Path) -> PartHasher:
    """Digest a file in part-sized reads, never whole in memory."""
    hasher = PartHasher()
    buffer = bytearray(1024 * 1024)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
    return hasher


def sha256_hex(content: bytes | memoryview) -> str:
    """Content address of a small document (spec, manifest, model)."""
    return hashlib.sha256(content).hexdigest()


class EventKey(BaseModel):
    """What happened, where and when: one per event, unique per vehicle.

    Times are the vehicle's monotonic clock on boot `boot_id`.
    """

    model_config = ConfigDict(frozen=True)

    vehicle_id: Name
    boot_id: Name
    start_mono_ns: int
    end_mono_ns: int

    def text(self) -> str:
        """Stable one-line form, the catalog's unique key and a log's word for the event."""
        return f"{self.vehicle_id}/{self.boot_id}/{self.start_mono_ns}-{self.end_mono_ns}"
