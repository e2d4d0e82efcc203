"""S3 multipart uploads of clips: verified parts, and a completion that is conditional.

The clip's id is what S3 calls a composite SHA-256: the digest of the parts' digests, in 8 MiB
parts. So the store checks each part against the digest that was sent with it, and what it says
of the whole object proves the clip, without reading it.

Outcomes of a completion (`If-None-Match: *`):

| the store says                     | what is done                                            |
|------------------------------------|---------------------------------------------------------|
| 200                                | its composite checksum must be the clip's: done         |
| 200 with an error inside           | the client tries again, then as any failure: look later |
| 412, an object is there            | verified: a success (`exists`); damaged: replaced       |
| 409, something else is at this key | verified: a success; otherwise again, a few times       |
| 404, no such multipart upload      | the object is there and verified: a success; else lost  |
| 400, a part is another than named  | lost: the parts are asked for again                     |
| nothing                            | transient: the next attempt finds out                   |

An object is verified by its composite checksum; one that has none is read through.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import structlog

from cloud_ingest.ports import Completion, LostPiecesError
from cloud_ingest.stores.s3_client import Bucket, code_of, s3_errors
from contracts.errors import CorruptError, TransientError
from contracts.ids import PartHasher

_TRIES = 5
_GONE = {"NoSuchUpload", "NotFound", "NoSuchKey"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_OTHER_PARTS = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest"}
_READ_BYTES = 1024 * 1024
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MultipartPart:
    """A part as the store names it; `number` counts from 1."""

    number: int
    etag: str
    sha256: bytes
    size_bytes: int


def composite(clip_id: str, parts: int) -> str:
    """S3's word for the checksum of an object in so many parts."""
    return f"{base64.b64encode(bytes.fromhex(clip_id)).decode()}-{parts}"


class S3Multipart:
    """Multipart uploads in one bucket. Keys are whole, with the bucket's prefix. Blocks."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._client = bucket.client

    def create(self, key: str) -> str:
        with s3_errors(key):
            answer = self._client.create_multipart_upload(
                Bucket=self.bucket.name, Key=key, ChecksumAlgorithm="SHA256"
            )
        return str(answer["UploadId"])

    def put(self, key: str, upload: str, number: int, body: bytes, sha256: bytes) -> str:
        """Store a part; its ETag. Raises `LostPiecesError` when there is no such upload."""
        from botocore.exceptions import ClientError

        with s3_errors(key):
            try:
                answer = self._client.upload_part(
                    Bucket=self.bucket.name,
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    Body=body,
                    ChecksumSHA256=base64.b64encode(sha256).decode(),
                )
            except ClientError as error:
                if code_of(error) in _GONE:
                    raise LostPiecesError("the store has lost this upload", key) from error
                raise
        return str(answer["ETag"])

    def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]] | None:
        """Number, ETag and size of all parts held; None when there is no such upload."""
        from botocore.exceptions import ClientError

        found: dict[int, tuple[str, int]] = {}
        with s3_errors(key):
            try:
                pages = self._client.get_paginator("list_parts").paginate(
                    Bucket=self.bucket.name, Key=key, UploadId=upload
                )
                for page in pages:
                    for part in page.get("Parts", []):
                        found[int(part["PartNumber"])] = (str(part["ETag"]), int(part["Size"]))
            except ClientError as error:
                if code_of(error) in _GONE:
                    return None
                raise
        return found

    def abort(self, key: str, upload: str) -> None:
        from botocore.exceptions import ClientError

        with s3_errors(key):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self.bucket.name, Key=key, UploadId=upload
                )
            except ClientError as error:
                if code_of(error) not in _GONE:
                    raise

    def open_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Key and id of every upload under way."""
        with s3_errors(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket.name, Prefix=prefix
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    yield str(upload["Key"]), str(upload["UploadId"])

    def complete(
        self, key: str, upload: str, parts: Sequence[MultipartPart], clip_id: str
    ) -> Completion:
        """Make the object, unless it is there. See the table above.

        Raises `LostPiecesError`, `CorruptError`, `TransientError`.
        """
        size = sum(part.size_bytes for part in parts)
        condition = {"IfNoneMatch": "*"}
        for _ in range(_TRIES):
            code, checksum = self._complete_once(key, upload, parts, condition)
            if code == "" and checksum == composite(clip_id, len(parts)):
                return "done"
            if code == "" and checksum:
                raise CorruptError(f"the object store says its checksum is {checksum}", clip_id)
            is_there = self.verified(key, clip_id, size, len(parts))
            match code:
                case "":
                    if not is_there:
                        raise CorruptError("the object is not what was completed", clip_id)
                    return "done"
                case "PreconditionFailed" if is_there is False:
                    _log.error("a stored object was damaged; replacing it", clip_id=clip_id)
                    condition = {"IfMatch": self._etag(key)}
                case code if is_there:
                    if code not in _GONE:
                        self.abort(key, upload)
                    return "exists"
                case code if code in _GONE or code in _OTHER_PARTS:
                    raise LostPiecesError(f"the store has lost parts ({code})", clip_id)
        raise TransientError("the completion meets others again and again", key, retry_after_s=2)

    def _complete_once(
        self, key: str, upload: str, parts: Sequence[MultipartPart], condition: dict[str, str]
    ) -> tuple[str, str]:
        """What the store says: its word for an error or '', and the checksum if it told."""
        from botocore.exceptions import ClientError

        named = [
            {
                "PartNumber": part.number,
                "ETag": part.etag,
                "ChecksumSHA256": base64.b64encode(part.sha256).decode(),
            }
            for part in parts
        ]
        with s3_errors(key):
            try:
                answer = self._client.complete_multipart_upload(
                    Bucket=self.bucket.name,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": named},
                    **condition,
                )
            except ClientError as error:
                code = code_of(error)
                known = _GONE | _CONFLICT | _OTHER_PARTS | {"PreconditionFailed"}
                if code not in known:
                    raise
                return code, ""
        return "", str(answer.get("ChecksumSHA256", ""))

    def verified(self, key: str, clip_id: str, size_bytes: int, parts: int) -> bool | None:
        """Whether the object is the clip; None when there is no object."""
        from botocore.exceptions import ClientError

        with s3_errors(key):
            try:
                head = self._client.head_object(
                    Bucket=self.bucket.name, Key=key, ChecksumMode="ENABLED"
                )
            except ClientError as error:
                if code_of(error) in _GONE:
                    return None
                raise
        if int(head["ContentLength"]) != size_bytes:
            return False
        checksum = str(head.get("ChecksumSHA256", ""))
        if checksum.endswith(f"-{parts}"):
            return checksum == composite(clip_id, parts)
        hasher = PartHasher()
        for piece in self.read(key, 0, size_bytes):
            hasher.update(piece)
        return hasher.clip_id() == clip_id

    def read(self, key: str, start: int, length: int) -> Iterator[bytes]:
        """An object's bytes. Raises `LostPiecesError` when it is not there."""
        from botocore.exceptions import ClientError

        with s3_errors(key):
            try:
                answer = self._client.get_object(
                    Bucket=self.bucket.name, Key=key, Range=f"bytes={start}-{start + length - 1}"
                )
            except ClientError as error:
                if code_of(error) in _GONE:
                    raise LostPiecesError("the store has lost this upload", key) from error
                raise
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(_READ_BYTES)

    def _etag(self, key: str) -> str:
        with s3_errors(key):
            return str(self._client.head_object(Bucket=self.bucket.name, Key=key)["ETag"])
