"""Clips that may be chosen: in folders, and in the cloud. One is opened at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from contracts.clip import ClipManifest
from contracts.clip_search import ClipRow
from contracts.errors import InputError
from contracts.ids import digest_file
from kernels.clip.reader import read_manifest
from offline.acquisition.adapters.facts import ClipFacts, manifest_facts, row_facts
from offline.acquisition.adapters.scoring import ClipFile

_SUFFIX = ".mcap"


class ClipSource(Protocol):
    """One clip. `place` tells people where it is."""

    place: str

    def facts(self) -> ClipFacts:
        """Raises `CorruptError` or `InputError` for a clip that cannot be used."""
        ...

    def opened(self) -> AbstractContextManager[ClipFile]:
        """The clip, readable for as long as the context lasts."""
        ...


@dataclass
class FolderClip:
    """A clip file on this machine."""

    path: Path

    def __post_init__(self) -> None:
        self.place = str(self.path)

    @cached_property
    def manifest(self) -> ClipManifest:
        return read_manifest(self.path)

    def facts(self) -> ClipFacts:
        manifest = self.manifest
        return manifest_facts(digest_file(self.path).clip_id(), manifest)

    def opened(self) -> AbstractContextManager[ClipFile]:
        return nullcontext(self)


@dataclass
class CloudClip:
    """A clip of the catalog, fetched only when it is looked into.

    Args:
        tell: the clip's manifest, None when it cannot be read.
        fetch: brings the clip into a folder; the file.
    """

    row: ClipRow
    tell: Callable[[str], ClipManifest | None]
    fetch: Callable[[str, Path], Path]
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.place = f"clip {self.row.clip_id}"

    @cached_property
    def manifest(self) -> ClipManifest:
        found = self.tell(self.row.clip_id)
        if found is None:
            raise InputError("its manifest cannot be read", self.place)
        return found

    @property
    def path(self) -> Path:
        if self.folder is None:
            raise InputError("is read only while it is open", self.place)
        return self.fetch(self.row.clip_id, self.folder)

    def facts(self) -> ClipFacts:
        return row_facts(self.row)

    @contextmanager
    def opened(self) -> Iterator[ClipFile]:
        with tempfile.TemporaryDirectory(prefix="longtail-clip-") as folder:
            yield CloudClip(self.row, self.tell, self.fetch, Path(folder))


def folder_clips(roots: Sequence[Path]) -> list[FolderClip]:
    """All clips under the roots, in the order of their paths; a root may be a clip itself.

    Raises `InputError` for a root without any.
    """
    found: dict[Path, FolderClip] = {}
    for root in roots:
        here = [root] if root.is_file() else sorted(root.rglob(f"*{_SUFFIX}"))
        here = [path for path in here if not path.name.startswith(".")]
        if not here:
            raise InputError(f"no clip: no *{_SUFFIX} anywhere below", str(root))
        found |= {path.resolve(): FolderClip(path) for path in here}
    return list(found.values())


def cloud_clips(
    rows: Iterable[ClipRow],
    tell: Callable[[str], ClipManifest | None],
    fetch: Callable[[str, Path], Path],
) -> Iterator[CloudClip]:
    """Clips of the catalog, page by page as they are read."""
    return (CloudClip(row, tell, fetch) for row in rows)
