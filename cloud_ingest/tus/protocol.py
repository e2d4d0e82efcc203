"""tus 1.0, its headers as values: parsing and the rules that need no store.

From https://tus.io/protocols/resumable-upload: core, creation, creation-with-upload, checksum,
concatenation, expiration, termination. Not here: deferred length, checksum trailers,
concatenation of uploads that are not finished.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloud_ingest.ports import UPLOAD_ID
from cloud_ingest.problems import MediaTypeError, TooLargeError, TusVersionError
from contracts.errors import InputError
from contracts.upload import MAX_CHECKSUMMED_PATCH_BYTES

VERSION = "1.0.0"
CHECKSUM_ALGORITHMS = ("sha256", "sha1")
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "checksum",
    "concatenation",
    "expiration",
    "termination",
)
BODY_TYPE = "application/offset+octet-stream"
MAX_METADATA_CHARACTERS = 4096
MAX_JOINED = 1000

_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Checksum:
    """A body's digest as the client gives it."""

    algorithm: str
    digest: bytes

    def new(self) -> hashlib._Hash:
        return hashlib.new(self.algorithm, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class Body:
    """What the headers say of a body that is to be appended at `offset_bytes`.

    `length_bytes` is None for a chunked body.
    """

    offset_bytes: int
    length_bytes: int | None
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class Concat:
    """`Upload-Concat`: a partial upload, or a final one of these partial ones, in order."""

    partial_ids: tuple[str, ...] | None

    @property
    def is_partial(self) -> bool:
        return self.partial_ids is None


def check_version(headers: Mapping[str, str]) -> None:
    if headers.get("tus-resumable") != VERSION:
        raise TusVersionError(f"Tus-Resumable must be {VERSION}", "Tus-Resumable")


def parse_number(headers: Mapping[str, str], name: str) -> int:
    """A required header of digits. Raises `InputError` when it is missing or anything else."""
    text = headers.get(name.lower())
    if text is None:
        raise InputError(f"the header {name} is missing", name)
    if not _NUMBER.fullmatch(text):
        raise InputError(f"{text[:40]!r} is not a count of bytes", name)
    return int(text)


def parse_length(headers: Mapping[str, str], max_bytes: int) -> int:
    """`Upload-Length` of a creation."""
    if "upload-defer-length" in headers:
        raise InputError("this service needs Upload-Length at the creation", "Upload-Defer-Length")
    length = parse_number(headers, "Upload-Length")
    if length == 0:
        raise InputError("an empty payload is not a clip", "Upload-Length")
    if length > max_bytes:
        raise TooLargeError(f"at most {max_bytes} bytes are taken", "Upload-Length")
    return length


def parse_concat(text: str | None) -> Concat | None:
    """`Upload-Concat` of a creation: `partial`, or `final;` and URLs with spaces between.

    Of a URL, absolute or not, only the upload's id at its end counts. Raises `InputError`.
    """
    if text is None:
        return None
    kind, _, urls = text.strip().partition(";")
    if kind.strip() == "partial" and not urls:
        return Concat(None)
    if kind.strip() != "final":
        raise InputError("must be `partial` or `final;` and URLs", "Upload-Concat")
    found = tuple(url.rstrip("/").rpartition("/")[2] for url in urls.split())
    if not 1 <= len(found) <= MAX_JOINED:
        raise InputError(f"names 1 to {MAX_JOINED} partial uploads", "Upload-Concat")
    for upload_id in found:
        if not UPLOAD_ID.fullmatch(upload_id):
            raise InputError(f"{upload_id[:80]!r} is no upload's id", "Upload-Concat")
    return Concat(found)


def parse_metadata(text: str) -> dict[str, str]:
    """`Upload-Metadata`: comma-separated `key base64-of-utf8`. Raises `InputError`."""
    if len(text) > MAX_METADATA_CHARACTERS:
        raise InputError(f"more than {MAX_METADATA_CHARACTERS} characters", "Upload-Metadata")
    found: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, encoded = pair.partition(" ")
        try:
            value = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise InputError(
                f"the value of {key[:40]!r} is not base64 of UTF-8", "Upload-Metadata"
            ) from error
        if key in found:
            raise InputError(f"the key {key[:40]!r} is there twice", "Upload-Metadata")
        found[key] = value
    return found


def parse_start(metadata: Mapping[str, str]) -> int | None:
    """`start_bytes` of a span's metadata; None without one. Raises `InputError`."""
    text = metadata.get("start_bytes")
    if text is not None and not _NUMBER.fullmatch(text):
        raise InputError(f"{text[:40]!r} is not a count of bytes", "Upload-Metadata: start_bytes")
    return None if text is None else int(text)


def parse_checksum(text: str | None) -> Checksum | None:
    """`Upload-Checksum`: algorithm and base64 digest. Raises `InputError`."""
    if text is None:
        return None
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise InputError(f"algorithms: {', '.join(CHECKSUM_ALGORITHMS)}", "Upload-Checksum")
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the digest is not base64", "Upload-Checksum") from error
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise InputError(f"not the length of a {algorithm} digest", "Upload-Checksum")
    return Checksum(algorithm, digest)


def parse_body(headers: Mapping[str, str], offset_bytes: int) -> Body:
    """What a PATCH (or a creation with upload) brings. Raises by what is wrong with it."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != BODY_TYPE:
        raise MediaTypeError(f"Content-Type must be {BODY_TYPE}", "Content-Type")
    checksum = parse_checksum(headers.get("upload-checksum"))
    length = None
    if "transfer-encoding" not in headers:
        length = parse_number(headers, "Content-Length") if "content-length" in headers else 0
    if checksum and length is not None and length > MAX_CHECKSUMMED_PATCH_BYTES:
        raise TooLargeError(
            f"with a checksum a body has at most {MAX_CHECKSUMMED_PATCH_BYTES} bytes; "
            "send smaller chunks",
            "Content-Length",
        )
    return Body(offset_bytes, length, checksum)
