"""Views in a local folder or behind a URL that obstore knows, as `views/ab/<clip_id>/<name>`.

Guarantees: a view appears whole or not at all. Views can be made again from their clip, so a local
one is synced but its folder's name is not: power loss costs a view, never shows half of one.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from cloud_ingest.settings import Settings
from cloud_ingest.steps.ports import ViewStore
from cloud_ingest.stores.files import disk_errors
from cloud_ingest.stores.opening import obstore_options
from contracts.errors import InputError, TransientError
from contracts.ids import parse_sha256_hex

VIEW_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,63}\.(jpg|mp4)$")
MEDIA_TYPES = {"jpg": "image/jpeg", "mp4": "video/mp4"}


def media_type(name: str) -> str:
    """The content type of a view. Raises `InputError` for what is no view's name."""
    if VIEW_NAME.match(name) is None:
        raise InputError("is no name of a view", "name")
    return MEDIA_TYPES[name.rpartition(".")[2]]


def open_views(settings: Settings) -> ViewStore:
    """The views beside the clips that the settings name."""
    url = settings.object_store_url
    if url is None:
        return LocalViews(settings.folder / "views")
    if url.startswith("file://"):
        return LocalViews(Path(unquote(urlsplit(url).path)) / "views")
    return ObstoreViews(url, options=obstore_options(settings))


class LocalViews:
    """Views on a local or shared POSIX folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, clip_id: str, name: str, content: bytes) -> None:
        media_type(name)
        folder = self._of(clip_id)
        with disk_errors("views"):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, fresh = tempfile.mkstemp(dir=folder, prefix=".")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(fresh).replace(folder / name)
            except OSError:
                Path(fresh).unlink(missing_ok=True)
                raise

    def read(self, clip_id: str, name: str) -> bytes | None:
        media_type(name)
        with disk_errors("views"):
            try:
                return (self._of(clip_id) / name).read_bytes()
            except FileNotFoundError:
                return None

    def names(self, clip_id: str) -> list[str]:
        with disk_errors("views"):
            try:
                found = [path.name for path in self._of(clip_id).iterdir()]
            except FileNotFoundError:
                return []
        return sorted(name for name in found if VIEW_NAME.match(name))

    def remove_all(self, clip_id: str) -> None:
        with disk_errors("views"):
            try:
                shutil.rmtree(self._of(clip_id))
            except FileNotFoundError:
                return

    def _of(self, clip_id: str) -> Path:
        parse_sha256_hex(clip_id, "clip_id")
        return self._folder / clip_id[:2] / clip_id


class ObstoreViews:
    """Views in S3, GCS, Azure or memory."""

    def __init__(
        self, url: str, prefix: str = "views/", options: Mapping[str, Any] | None = None
    ) -> None:
        self._store: Any = from_url(url, **(options or {}))
        self._prefix = prefix

    def put(self, clip_id: str, name: str, content: bytes) -> None:
        media_type(name)
        try:
            obstore.put(self._store, self._of(clip_id) + name, content)
        except BaseError as error:
            raise _failed(error) from error

    def read(self, clip_id: str, name: str) -> bytes | None:
        media_type(name)
        try:
            return bytes(obstore.get(self._store, self._of(clip_id) + name).bytes())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _failed(error) from error

    def names(self, clip_id: str) -> list[str]:
        return sorted(path.rpartition("/")[2] for path in self._paths(clip_id))

    def remove_all(self, clip_id: str) -> None:
        paths = self._paths(clip_id)
        if not paths:
            return
        try:
            obstore.delete(self._store, paths)
        except FileNotFoundError:
            return  # another replica was first
        except BaseError as error:
            raise _failed(error) from error

    def _paths(self, clip_id: str) -> list[str]:
        try:
            pages = obstore.list(self._store, self._of(clip_id))
            return [str(entry["path"]) for page in pages for entry in page]
        except BaseError as error:
            raise _failed(error) from error

    def _of(self, clip_id: str) -> str:
        parse_sha256_hex(clip_id, "clip_id")
        return f"{self._prefix}{clip_id[:2]}/{clip_id}/"


def _failed(error: Exception) -> TransientError:
    return TransientError(f"the view store failed: {type(error).__name__}", "views")
