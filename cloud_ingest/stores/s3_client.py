"""S3 by URL: one client for all threads, and its errors in our words.

Credentials come from where boto3 looks for them (environment, files, instance role). Checksums
are the caller's: the client adds none of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from contracts.errors import ExhaustedError, InputError, TransientError

_FULL = {"QuotaExceeded", "StorageFull", "XMinioStorageFull", "EntityTooLarge"}
_FORBIDDEN = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and what all keys in it begin with (empty, or ending in a slash)."""

    client: Any
    name: str
    prefix: str = ""


def open_bucket(url: str, endpoint: str | None, connections: int) -> Bucket:
    """`s3://bucket/prefix` at an endpoint; AWS' own when None. Raises `InputError`."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError("must be s3://bucket or s3://bucket/prefix", url)
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise InputError("S3 needs the extra `cloud`", url) from error
    prefix = parts.path.strip("/")
    config = Config(
        max_pool_connections=connections,
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 3},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "auto" if endpoint is None else "path"},
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    client = boto3.session.Session().client(
        "s3", endpoint_url=endpoint, region_name=region, config=config
    )
    return Bucket(client, parts.netloc, f"{prefix}/" if prefix else "")


def code_of(error: Exception) -> str:
    """S3's word for an error that the store has answered; empty for any other."""
    answer = getattr(error, "response", {})
    code = str(answer.get("Error", {}).get("Code", ""))
    # HEAD has no body to name its error in.
    return {"404": "NotFound", "412": "PreconditionFailed"}.get(code, code)


@contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """Turn boto3's errors into ours; those that a caller knows it catches inside."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in _FULL:
            raise ExhaustedError("the object store is full", what) from error
        if code in _FORBIDDEN:
            raise TransientError(
                f"the object store does not let this service in ({code})", what, retry_after_s=60
            ) from error
        raise TransientError(f"the object store failed: {code}", what, retry_after_s=2) from error
    except HTTPClientError as error:
        raise TransientError(
            f"the object store does not answer: {type(error).__name__}", what, retry_after_s=2
        ) from error
    except BotoCoreError as error:
        raise TransientError(
            f"the object store cannot be used: {error}", what, retry_after_s=60
        ) from error
