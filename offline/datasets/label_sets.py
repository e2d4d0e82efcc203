"""A label set from labelled drives: folders with `clip.mcap` and `labels/*.npz`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts.clip import ClipManifest
from contracts.datasets import (
    ClipSource,
    LabelFile,
    LabelledClip,
    LabelSet,
    LabelSource,
    Makers,
    TriggerRef,
)
from contracts.errors import InputError
from contracts.ids import digest_file
from contracts.labels import FrameLabels, labels_from
from kernels.clip.reader import read_manifest
from offline.datasets.store import DatasetStore

CLIP_FILE, LABEL_FOLDER = "clip.mcap", "labels"
Watcher = Callable[[int, int], None]


def label_set_of(
    folders: Sequence[Path], makers: Makers, store: DatasetStore,
    watcher: Watcher = lambda done, of: None,
) -> LabelSet:  # fmt: skip
    """Keep the clips and labels of the drives in the store, and the label set over them.

    Raises `InputError` with its place for a folder without labels, labels that lie outside of
    their clip or are of another taxonomy than the rest, and a clip that is there twice;
    `CorruptError` for damaged files.
    """
    clips: dict[str, tuple[Path, LabelledClip]] = {}
    taxonomies: dict[int, Path] = {}
    for number, folder in enumerate(folders, start=1):
        labelled = _labelled(folder, store, taxonomies)
        clip_id = labelled.clip.clip_id
        if clip_id in clips:
            raise InputError(f"the same clip as {clips[clip_id][0]}", str(folder))
        clips[clip_id] = folder, labelled
        watcher(number, len(folders))
    if not clips:
        raise InputError("there is no labelled drive")
    made = LabelSet(
        taxonomy_version=next(iter(taxonomies)), makers=makers,
        clips=tuple(clips[clip_id][1] for clip_id in sorted(clips)),
    )  # fmt: skip
    store.put(made)
    return made


def _labelled(folder: Path, store: DatasetStore, taxonomies: dict[int, Path]) -> LabelledClip:
    path = folder / CLIP_FILE
    if not path.is_file():
        raise InputError(f"no labelled drive: there is no {CLIP_FILE}", str(folder))
    clip_id, manifest = digest_file(path).clip_id(), read_manifest(path)
    frames = {}
    for file in sorted((folder / LABEL_FOLDER).glob("*.npz")):
        content = file.read_bytes()
        labels = labels_from(content, str(file))
        record = labels.record
        inside = manifest.actual.start_mono_ns <= record.mono_ns <= manifest.actual.end_mono_ns
        if not inside:
            raise InputError(f"mono_ns {record.mono_ns} lies outside of its clip", str(file))
        if record.mono_ns in frames:
            raise InputError(f"mono_ns {record.mono_ns} is labelled twice", str(file))
        other = next(iter(taxonomies.values()), file)
        if record.taxonomy_version not in taxonomies and taxonomies:
            raise InputError(
                f"taxonomy {record.taxonomy_version}, but that of {other} is "
                f"{next(iter(taxonomies))}", str(file),
            )  # fmt: skip
        taxonomies.setdefault(record.taxonomy_version, file)
        frames[record.mono_ns] = LabelFile(
            mono_ns=record.mono_ns, digest=store.objects.put(content),
            source=record.provenance.source, boxes=_boxes_by_source(labels),
        )  # fmt: skip
    if not frames:
        raise InputError(f"nothing is labelled: {LABEL_FOLDER} holds no .npz", str(folder))
    store.put_clip(clip_id, path)
    source = _source(clip_id, path, manifest)
    return LabelledClip(clip=source, frames=tuple(frames[each] for each in sorted(frames)))


def _boxes_by_source(labels: FrameLabels) -> dict[LabelSource, int]:
    counts: Counter[LabelSource] = Counter(
        (box.provenance or labels.record.provenance).source for box in labels.record.boxes
    )
    return dict(counts)


def _source(clip_id: str, path: Path, manifest: ClipManifest) -> ClipSource:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    specs = {(each.trigger_id, each.trigger_version, each.spec_digest) for each in manifest.causes}
    return ClipSource(
        clip_id=clip_id, content=content, vehicle_id=manifest.event.vehicle_id,
        boot_id=manifest.event.boot_id, drive_id=manifest.drive_id, stream=manifest.stream,
        inclusion_probability=manifest.inclusion_probability,
        lat_deg=manifest.summary.lat_deg, lon_deg=manifest.summary.lon_deg,
        triggers=tuple(
            TriggerRef(trigger_id=name, version=version, spec=spec)
            for name, version, spec in sorted(specs)
        ),
    )  # fmt: skip
