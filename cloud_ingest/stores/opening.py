"""Which adapters the settings name.

| OBJECT_STORE_URL | parts lie                                                  |
|------------------|------------------------------------------------------------|
| unset, file://   | in the service's folder                                    |
| s3://            | in multipart uploads of that bucket: nothing lies in the folder |
| gs://, az://, …  | in the service's folder                                    |

LONGTAIL_BUFFER_URL (s3:// before a store on S3, file:// before any) puts them elsewhere. A
folder must be shared by all replicas.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cloud_ingest.ports import ObjectStore, PartStore
from cloud_ingest.settings import Settings
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from cloud_ingest.stores.obstore_objects import ObstoreObjects
from contracts.errors import InputError


def open_objects(settings: Settings) -> ObjectStore:
    """The store of clips; a folder is always the durable local one."""
    return _objects(settings, "objects", "raw/", ".mcap")


def open_cold_objects(settings: Settings) -> ObjectStore:
    """The store of clips that went cold: beside the others, under a prefix of its own."""
    return _objects(settings, "cold", "cold/", ".mcap")


def open_log_objects(settings: Settings) -> ObjectStore:
    """Where signal logs lie: beside the clips, apart from them."""
    return _objects(settings, "signal-logs", "signal-logs/", ".ltsl")


def open_parts(settings: Settings, objects: ObjectStore) -> PartStore:
    """Where unfinished uploads lie, before they become `objects`. Raises `InputError`."""
    url, buffer = settings.object_store_url, settings.buffer_url
    if buffer is not None and buffer.startswith("s3://"):
        if url is None or not url.startswith("s3://"):
            raise InputError("a buffer on S3 needs a store on S3", "LONGTAIL_BUFFER_URL")
    elif buffer is not None and not buffer.startswith("file://"):
        raise InputError("must be s3://… or file:///…", "LONGTAIL_BUFFER_URL")
    if buffer is not None and buffer.startswith("file://"):
        folder = _path(buffer)
        _check_apart(folder, settings)
        return LocalParts(folder, objects, settings.free_bytes_kept, is_shared=True)
    if url is None or not url.startswith("s3://"):
        folder = settings.folder / "parts"
        _check_apart(folder, settings)
        return LocalParts(folder, objects, settings.free_bytes_kept)
    from cloud_ingest.stores.s3_client import open_bucket
    from cloud_ingest.stores.s3_parts import S3Parts

    store = open_bucket(url, settings.object_store_endpoint, settings.store_threads)
    if buffer is None:
        return S3Parts(store)
    return S3Parts(store, open_bucket(buffer, settings.buffer_endpoint, settings.store_threads))


def _check_apart(parts: Path, settings: Settings) -> None:
    """What is swept and what is kept lie apart, neither within the other. Raises `InputError`.

    Only the service's own `parts` may lie in a store's folder: no object has that name.
    """
    url, folder = settings.object_store_url, settings.folder
    if url is None:
        kept = [folder / name for name in ("objects", "cold", "signal-logs", "views")]
    else:
        kept = [_path(url)] if url.startswith("file://") else []
    swept = parts.resolve()
    for path in (each.resolve() for each in kept):
        is_within = settings.buffer_url is not None and swept.is_relative_to(path)
        if is_within or path.is_relative_to(swept):
            raise InputError(
                f"unfinished uploads in {swept} and stored objects in {path} lie within each "
                "other; give them folders apart",
                "LONGTAIL_BUFFER_URL",
            )


def _objects(settings: Settings, folder: str, prefix: str, suffix: str) -> ObjectStore:
    url = settings.object_store_url
    if url is None:
        return LocalObjects(settings.folder / folder, suffix)
    if url.startswith("file://"):
        path = _path(url)
        return LocalObjects(path if folder == "objects" else path / folder, suffix)
    if not url.startswith("s3://"):
        return ObstoreObjects(url, prefix, suffix)
    from cloud_ingest.stores.s3_client import open_bucket
    from cloud_ingest.stores.s3_objects import S3Objects

    bucket = open_bucket(url, settings.object_store_endpoint, settings.store_threads)
    return S3Objects(url, bucket, prefix, suffix, obstore_options(settings))


def obstore_options(settings: Settings) -> dict[str, Any]:
    """What obstore has to know beside `object_store_url`, of objects and of views alike."""
    url, endpoint = settings.object_store_url, settings.object_store_endpoint
    if url is None or not url.startswith("s3://") or endpoint is None:
        return {}
    plain = endpoint.startswith("http://")
    return {"endpoint": endpoint, "client_options": {"allow_http": plain}}


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))
