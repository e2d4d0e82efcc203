"""Unfinished uploads as S3 multipart uploads; any replica may go on with any of them.

Keys, under the bucket's prefix:

| key                             | what                                                        |
|---------------------------------|-------------------------------------------------------------|
| `raw/ab/<clip>.mcap`            | the clip; the multipart upload of a declared one, directly  |
| `parts/<upload>/whole`          | an upload whose clip is not known yet, or in a buffer       |
| `parts/<upload>/<start>-<name>` | bytes of a part that is not full (parts have at least 5 MiB) |
| `parts/.owned-by-<service>`     | whose unfinished uploads lie here: one database's           |

Guarantees: a part is stored with its SHA-256, which the store checks; nothing is kept in this
process; a token is an ETag, or a key that is used once. Two replicas that store the same part
store the same bytes; should they differ, the completion names ETags that the store no longer
has, fails, and the parts are asked for again.

*Staged*: with a buffer apart from the store (another bucket or endpoint), or a clip that was
not declared, the parts become an object of the buffer first, and that one is copied to the
store, part for part with the same digests.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

from cloud_ingest.ports import (
    OWNED,
    UPLOAD_ID,
    Chunks,
    Completion,
    LostPiecesError,
    Piece,
    Place,
    Remains,
    pieces_from,
)
from cloud_ingest.stores.s3_client import Bucket, code_of, s3_errors
from cloud_ingest.stores.s3_multipart import MultipartPart, S3Multipart
from contracts.errors import ConflictError, CorruptError, InputError, LongtailError
from contracts.ids import PART_BYTES, clip_id_of, parse_sha256_hex

_UNFINISHED = "parts/"
_CLIPS = "raw/"
_SUFFIX = ".mcap"
_WHOLE = "whole"
_DELETE_AT_ONCE = 1000


def clip_key(bucket: Bucket, clip_id: str) -> str:
    """Where a clip lies; the same as `ObstoreObjects` has."""
    parse_sha256_hex(clip_id, "clip_id")
    return f"{bucket.prefix}{_CLIPS}{clip_id[:2]}/{clip_id}{_SUFFIX}"


class S3Parts:
    """Part store on S3.

    Args:
        store: the bucket of the clips.
        buffer: where unfinished uploads lie; the store's own bucket when None.
    """

    def __init__(self, store: Bucket, buffer: Bucket | None = None) -> None:
        self._is_apart = buffer is not None
        self._store = S3Multipart(store)
        self._buffer = S3Multipart(buffer or store)
        self._root = self._buffer.bucket.prefix + _UNFINISHED

    def begin(self, upload_id: str, clip_id: str | None) -> str:
        if clip_id is None or self._is_apart:
            key = self._whole_key(upload_id)
        else:
            key = clip_key(self._store.bucket, clip_id)
        return f"{key} {self._buffer.create(key)}"

    def disown(self, place: Place) -> None:
        self._buffer.abort(*_named(place))

    def put_part(
        self, place: Place, start_bytes: int, chunks: Chunks, sha256: bytes, tail: Sequence[Piece]
    ) -> str:
        key, upload = _named(place)
        number = start_bytes // PART_BYTES + 1
        return self._buffer.put(key, upload, number, b"".join(chunks), sha256)

    def put_tail(self, place: Place, start_bytes: int, chunks: Chunks) -> str:
        key = f"{self._folder(place.upload_id)}{start_bytes:012d}-{secrets.token_hex(8)}"
        body = b"".join(chunks)
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        with s3_errors(key):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ChecksumSHA256=checksum
            )
        return key

    def read_tail(self, place: Place, tail: Sequence[Piece]) -> list[bytes]:
        found = []
        for piece in tail:
            content = b"".join(self._buffer.read(piece.token, 0, piece.length_bytes))
            if len(content) != piece.length_bytes:
                raise LostPiecesError("stored bytes end early", piece.token)
            found.append(content)
        return found

    def drop_tail(self, place: Place, tail: Sequence[Piece]) -> None:
        self._delete(piece.token for piece in tail)

    def held_bytes(self, place: Place, pieces: Sequence[Piece]) -> int:
        key, upload = _named(place)
        parts = self._buffer.parts(key, upload)
        if parts is None:
            # Complete already, or gone; the completion finds out which.
            return pieces[-1].end_bytes if pieces and self._is_whole(place, pieces) else 0
        held = 0
        for piece in pieces:
            if piece.sha256 is None:
                is_held = self._size_of(piece.token) == piece.length_bytes
            else:
                found = parts.get(piece.start_bytes // PART_BYTES + 1)
                is_held = found == (piece.token, piece.length_bytes)
            if not is_held:
                break
            held = piece.end_bytes
        return held

    def read(self, place: Place, pieces: Sequence[Piece], from_bytes: int) -> Iterator[memoryview]:
        key, _ = _named(place)
        self._seal(place, pieces)
        for piece in pieces_from(pieces, from_bytes):
            for content in self._buffer.read(key, piece.start_bytes, piece.length_bytes):
                yield memoryview(content)

    async def complete(self, place: Place, pieces: Sequence[Piece], clip_id: str) -> Completion:
        return await asyncio.to_thread(self._complete, place, pieces, clip_id)

    def abort(self, place: Place, *, is_complete: bool = False) -> None:
        key, upload = _named(place)
        is_direct = not key.startswith(self._root)
        if is_complete and is_direct:
            return  # the completion took all of it; the sweep looks for bytes of tails
        if not is_complete:
            self._buffer.abort(key, upload)
        self._delete(self._keys(self._folder(place.upload_id)))

    def own(self, service_id: str) -> None:
        _own(self._buffer.bucket, service_id)
        if self._is_apart:  # Unfinished copies lie in the store.
            _own(self._store.bucket, service_id)

    def remains(self) -> list[Remains]:
        found = [
            Remains("upload", upload_id, f"{self._folder(upload_id)} ")
            for upload_id in self._upload_ids()
        ]
        found += self._multiparts(self._buffer)
        if self._is_apart:
            found += self._multiparts(self._store)
        return found

    def clear(self, remains: Remains) -> None:
        key, _, upload = remains.name.partition(" ")
        if not upload:
            self._delete(self._keys(key))
            return
        is_target = remains.kind == "clip" and self._is_apart
        (self._store if is_target else self._buffer).abort(key, upload)

    def free_bytes(self) -> int:
        return sys.maxsize

    # The commit -------------------------------------------------------------------------------

    def _complete(self, place: Place, pieces: Sequence[Piece], clip_id: str) -> Completion:
        key, upload = _named(place)
        target = clip_key(self._store.bucket, clip_id)
        parts = _parts(pieces)
        if not self._is_apart and key == target:
            return self._store.complete(key, upload, parts, clip_id)
        size = pieces[-1].end_bytes
        if self._store.verified(target, clip_id, size, len(pieces)):
            self._buffer.abort(key, upload)
            return "exists"
        self._seal(place, pieces)
        return self._transfer(key, target, parts, clip_id)

    def _seal(self, place: Place, pieces: Sequence[Piece]) -> None:
        """Make an object of a staged upload's parts, so that they can be read."""
        key, upload = _named(place)
        folded = _folded(pieces)
        size = pieces[-1].end_bytes
        is_there = self._buffer.verified(key, folded, size, len(pieces))
        if not is_there:
            self._buffer.complete(key, upload, _parts(pieces), folded)

    def _is_whole(self, place: Place, pieces: Sequence[Piece]) -> bool:
        key, _ = _named(place)
        if any(piece.sha256 is None for piece in pieces):
            return False
        size = pieces[-1].end_bytes
        return bool(self._buffer.verified(key, _folded(pieces), size, len(pieces)))

    def _transfer(
        self, source: str, target: str, parts: Sequence[MultipartPart], clip_id: str
    ) -> Completion:
        """Copy an object of the buffer to the store, part for part.

        Of two replicas that copy at once one makes the object and the other finds it. What a
        crash leaves is cleared once the upload has ended.
        """
        upload = self._store.create(target)
        try:
            copied, at = [], 0
            for part in parts:
                body = b"".join(self._buffer.read(source, at, part.size_bytes))
                etag = self._store.put(target, upload, part.number, body, part.sha256)
                copied.append(replace(part, etag=etag))
                at += part.size_bytes
            return self._store.complete(target, upload, copied, clip_id)
        except LongtailError:
            with suppress(LongtailError):
                self._store.abort(target, upload)
            raise

    # Keys -------------------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        return self._buffer.bucket.client

    @property
    def _bucket(self) -> str:
        return self._buffer.bucket.name

    def _folder(self, upload_id: str) -> str:
        if not UPLOAD_ID.fullmatch(upload_id):
            raise InputError("an upload id is 32 hexadecimal digits", "upload_id")
        return f"{self._root}{upload_id}/"

    def _whole_key(self, upload_id: str) -> str:
        return f"{self._folder(upload_id)}{_WHOLE}"

    def _size_of(self, key: str) -> int | None:
        from botocore.exceptions import ClientError

        with s3_errors(key):
            try:
                return int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
            except ClientError as error:
                if code_of(error) in ("NotFound", "NoSuchKey"):
                    return None
                raise

    def _keys(self, prefix: str) -> Iterator[str]:
        return _keys(self._buffer.bucket, prefix)

    def _upload_ids(self) -> Iterator[str]:
        with s3_errors(self._root):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._root, Delimiter="/"
            )
            for page in pages:
                for found in page.get("CommonPrefixes", []):
                    upload_id = str(found["Prefix"])[len(self._root) :].rstrip("/")
                    if UPLOAD_ID.fullmatch(upload_id):
                        yield upload_id

    def _multiparts(self, uploads: S3Multipart) -> Iterator[Remains]:
        holds_clips = uploads is self._store or not self._is_apart
        for key, upload in uploads.open_uploads(uploads.bucket.prefix):
            name = f"{key} {upload}"
            clip_id = _clip_at(uploads.bucket, key) if holds_clips else None
            upload_id = self._upload_at(key) if uploads is self._buffer else None
            if clip_id is not None:
                yield Remains("clip", clip_id, name)
            elif upload_id is not None:
                yield Remains("upload", upload_id, name)

    def _upload_at(self, key: str) -> str | None:
        """The upload whose whole bytes lie at a key; None for any other key."""
        upload_id = key[len(self._root) :].partition("/")[0]
        is_own = UPLOAD_ID.fullmatch(upload_id) and key == self._whole_key(upload_id)
        return upload_id if is_own else None

    def _delete(self, keys: Iterable[str]) -> None:
        left = iter(keys)
        while batch := [{"Key": key} for key in islice(left, _DELETE_AT_ONCE)]:
            with s3_errors("parts"):
                self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": batch, "Quiet": True},
                    ChecksumAlgorithm="SHA256",
                )


def _own(bucket: Bucket, service_id: str) -> None:
    marks = f"{bucket.prefix}{_UNFINISHED}{OWNED}"
    mark = f"{marks}{service_id}"
    is_new = mark not in set(_keys(bucket, marks))
    if is_new:
        with s3_errors(mark):
            bucket.client.put_object(Bucket=bucket.name, Key=mark, Body=b"")
    # Of two that come at once each may see the other; neither goes on unseen.
    others = [key for key in _keys(bucket, marks) if key != mark]
    if others and is_new:
        with s3_errors(mark):
            bucket.client.delete_object(Bucket=bucket.name, Key=mark)
    if others:
        raise ConflictError(
            "unfinished uploads of a service with another database lie here; give each its own "
            f"bucket or prefix, or remove {others[0]} in it when that service is no more",
            f"s3://{bucket.name}/{bucket.prefix}",
        )


def _keys(bucket: Bucket, prefix: str) -> Iterator[str]:
    with s3_errors(prefix):
        pages = bucket.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket.name, Prefix=prefix
        )
        for page in pages:
            yield from (str(found["Key"]) for found in page.get("Contents", []))


def _clip_at(bucket: Bucket, key: str) -> str | None:
    """The clip that lies at a key; None for any other key."""
    clip_id = key.rpartition("/")[2].removesuffix(_SUFFIX)
    try:
        return clip_id if key == clip_key(bucket, clip_id) else None
    except InputError:
        return None


def _named(place: Place) -> tuple[str, str]:
    """Key and multipart upload of a place."""
    key, _, upload = place.name.partition(" ")
    return key, upload


def _folded(pieces: Sequence[Piece]) -> str:
    """The clip id of whole parts."""
    return clip_id_of(part.sha256 for part in _parts(pieces))


def _parts(pieces: Sequence[Piece]) -> list[MultipartPart]:
    found = []
    for number, piece in enumerate(pieces, 1):
        if piece.sha256 is None or piece.start_bytes != (number - 1) * PART_BYTES:
            raise CorruptError("not all of this upload is in whole parts", f"part {number - 1}")
        found.append(MultipartPart(number, piece.token, piece.sha256, piece.length_bytes))
    return found
