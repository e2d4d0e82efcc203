"""Whole clips in S3: read through obstore, published part for part with their digests.

Guarantees those of `s3_multipart`: each part is checked by the store, the object appears whole
and only where none is, and one that is there already is verified.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloud_ingest.ports import Completion
from cloud_ingest.stores.obstore_objects import ObstoreObjects
from cloud_ingest.stores.s3_client import Bucket
from cloud_ingest.stores.s3_multipart import MultipartPart, S3Multipart
from contracts.errors import LongtailError
from contracts.ids import PART_BYTES, part_count


class S3Objects(ObstoreObjects):
    """Object store on S3; names are `<prefix>ab/<id><suffix>` under the URL's own prefix."""

    def __init__(
        self, url: str, bucket: Bucket, prefix: str, suffix: str, options: dict[str, Any]
    ) -> None:
        super().__init__(url, prefix, suffix, options)
        self._multipart = S3Multipart(bucket)

    async def publish(self, clip_id: str, source: Path) -> Completion:
        return await asyncio.to_thread(self._publish, clip_id, source)

    def _publish(self, clip_id: str, source: Path) -> Completion:
        key = self._multipart.bucket.prefix + self._name(clip_id)
        size = source.stat().st_size
        if self._multipart.verified(key, clip_id, size, part_count(size)):
            return "exists"
        upload = self._multipart.create(key)
        parts: list[MultipartPart] = []
        try:
            with source.open("rb", buffering=0) as file:
                while body := file.read(PART_BYTES):
                    digest = hashlib.sha256(body).digest()
                    number = len(parts) + 1
                    etag = self._multipart.put(key, upload, number, body, digest)
                    parts.append(MultipartPart(number, etag, digest, len(body)))
            return self._multipart.complete(key, upload, parts, clip_id)
        except LongtailError:
            with suppress(LongtailError):
                self._multipart.abort(key, upload)
            raise
