"""A dataset version as folders that models are trained on.

OUT/SPLIT/CLIP/clip.mcap, OUT/SPLIT/CLIP/labels/MONO_NS.npz    as `models.data.drives` reads them
OUT/dataset.json                                               the version's manifest
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cloud_ingest.stores.files import disk_errors
from contracts.canonical import canonical_json
from contracts.datasets import DatasetClip, DatasetVersion
from contracts.errors import ConflictError, CorruptError
from contracts.ids import digest_file
from offline.datasets.label_sets import CLIP_FILE, LABEL_FOLDER
from offline.datasets.store import DatasetStore
from offline.datasets.training import label_name

MANIFEST_FILE = "dataset.json"
_COPIED_BYTES = 1 << 20
Watcher = Callable[[int, int], None]


def export(
    version: DatasetVersion, store: DatasetStore, out: Path,
    watcher: Watcher = lambda done, of: None,
) -> None:  # fmt: skip
    """Write the folders; they are there whole or not at all. Clips without frames are left out.

    On the store's disk files are linked, not copied, and so read-only. Every file's content is
    verified. Nothing is done where this version was exported before.

    Raises `ConflictError` when anything else is there, `InputError` when the store lacks a file,
    `CorruptError` when one is damaged.
    """
    manifest = canonical_json(version)
    if out.exists():
        path = out / MANIFEST_FILE
        if path.is_file() and path.read_bytes() == manifest:
            return
        raise ConflictError("something else is there already", str(out))
    partial = out.with_name(f".{out.name}.partial")
    with disk_errors(str(out)):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        clips = [(g.split, each) for g in version.groups for each in g.clips if each.frames]
        for name, _ in version.rule.parts:
            (partial / name).mkdir()
        for number, (split, clip) in enumerate(clips, start=1):
            _write(partial / split / clip.clip.clip_id, clip, store)
            watcher(number, len(clips))
        (partial / MANIFEST_FILE).write_bytes(manifest)
        partial.rename(out)


def _write(folder: Path, clip: DatasetClip, store: DatasetStore) -> None:
    (folder / LABEL_FOLDER).mkdir(parents=True)
    clip_id = clip.clip.clip_id
    path = store.clip_path(clip_id)
    if digest_file(path).clip_id() != clip_id:
        raise CorruptError("the clip is not what its name says", str(path))
    place_file(path, folder / CLIP_FILE)
    for frame in clip.frames:
        store.objects.get(frame.labels)  # Raises for a file that is damaged.
        labels = folder / LABEL_FOLDER / label_name(frame.mono_ns)
        place_file(store.objects.path(frame.labels), labels)


def place_file(source: Path, target: Path) -> None:
    """Link a file to a new place, or copy it where that is not possible: under its name it is there
    whole or not at all.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        _copied(source, target)


def _copied(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    with source.open("rb") as read, partial.open("wb") as written:
        shutil.copyfileobj(read, written, _COPIED_BYTES)
        written.flush()
        os.fsync(written.fileno())
    partial.replace(target)
