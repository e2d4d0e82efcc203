"""A folder that keeps datasets by content. What is there is never changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cloud_ingest.stores.files import disk_errors
from cloud_ingest.stores.local_objects import LocalObjects
from contracts.canonical import canonical_json
from contracts.datasets import DatasetVersion, LabelSet
from contracts.errors import CorruptError, InputError
from contracts.ids import parse_sha256_hex, sha256_hex
from offline.runs.files import write_durably
from offline.runs.objects import Objects

Manifest = TypeVar("Manifest", LabelSet, DatasetVersion)
_FOLDERS = {LabelSet: "label_sets", DatasetVersion: "dataset_versions"}
_LEAST_PREFIX = 6


class DatasetStore:
    """Label files, clips and manifests under one folder, made when first written to.

    Clips are also looked for in `more_clips`: folders of the same layout, such as the cloud
    service's objects.
    """

    def __init__(self, folder: Path, more_clips: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._clip_folders = (folder / "clips", *more_clips)
        self.objects = Objects(folder / "objects")

    def put_clip(self, clip_id: str, path: Path) -> None:
        """Keep a clip whose id was found from its bytes. On the same disk the file is linked,
        not copied, and becomes read-only.
        """
        asyncio.run(LocalObjects(self._clip_folders[0]).publish(clip_id, path))

    def clip_path(self, clip_id: str) -> Path:
        """Where a clip's bytes lie. Raises `InputError` when they are in no folder."""
        parse_sha256_hex(clip_id, "clip_id")
        for folder in self._clip_folders:
            path = folder / clip_id[:2] / f"{clip_id}.mcap"
            if path.is_file():
                return path
        places = ", ".join(str(folder) for folder in self._clip_folders)
        raise InputError(f"clip {clip_id} is not here", places)

    def put(self, manifest: LabelSet | DatasetVersion) -> str:
        """Keep a manifest durably and return its digest."""
        content = canonical_json(manifest)
        digest = sha256_hex(content)
        write_durably(self._path(type(manifest), digest), content, 0o444)
        return digest

    def get(self, kind: type[Manifest], digest: str) -> Manifest:
        """Raises `InputError` when it is not there, `CorruptError` when it is damaged."""
        path = self._path(kind, digest)
        with disk_errors(str(path)):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                raise InputError(f"no {_word(kind)} {digest} is here", str(self._folder)) from None
        if sha256_hex(content) != digest:
            raise CorruptError("the manifest is not what its name says", str(path))
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CorruptError(f"{where}: {first['msg']}", str(path)) from error

    def digests(self, kind: type[LabelSet] | type[DatasetVersion]) -> list[str]:
        """Of all that are here, sorted."""
        return sorted(path.stem for path in (self._folder / _FOLDERS[kind]).glob("[!.]*.json"))

    def every(self, kind: type[Manifest]) -> Iterator[tuple[str, Manifest]]:
        """All that are here, by digest."""
        return ((digest, self.get(kind, digest)) for digest in self.digests(kind))

    def whole_digest(self, kind: type[LabelSet] | type[DatasetVersion], text: str) -> str:
        """The digest that begins with `text`. Raises `InputError` unless there is just one."""
        found = [each for each in self.digests(kind) if each.startswith(text)]
        if len(text) < _LEAST_PREFIX or len(found) != 1:
            problem = f"begins {len(found)} digests" if found else "is not here"
            if len(text) < _LEAST_PREFIX:
                problem = f"is too short: {_LEAST_PREFIX} digits at least"
            raise InputError(f"{_word(kind)} {text!r} {problem}", str(self._folder))
        return found[0]

    def _path(self, kind: type[LabelSet] | type[DatasetVersion], digest: str) -> Path:
        parse_sha256_hex(digest, _word(kind))
        return self._folder / _FOLDERS[kind] / f"{digest}.json"


def _word(kind: type[LabelSet] | type[DatasetVersion]) -> str:
    return _FOLDERS[kind].replace("_", " ").removesuffix("s")
