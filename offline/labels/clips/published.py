"""Labelled clips as folders of drives, to train on: NAME/{clip.mcap,labels/MONO_NS.npz}."""

from __future__ import annotations

import shutil
from pathlib import Path

from offline.runs.folder import WorkFolder
from offline.runs.publish import publish
from offline.runs.records import ClipRecord

LABEL_FOLDER, CLIP_FILE = "labels", "clip.mcap"


def publish_drive(folder: WorkFolder, record: ClipRecord, clip: Path, out: Path) -> None:
    """Put a drive's labels where people look for them, and the clip beside them."""
    drive = out / record.clip
    labels = drive / LABEL_FOLDER
    for stale in {path.name for path in labels.glob("*.npz")} - set(record.files):
        (labels / stale).unlink()
    if record.output is None:
        return
    labels.mkdir(parents=True, exist_ok=True)
    for name in record.files:
        publish(folder, record, name, labels / name)
    beside = drive / CLIP_FILE
    if beside.exists() and beside.samefile(clip):
        return
    partial = drive / f".{CLIP_FILE}"
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(clip)
    except OSError:  # another file system
        shutil.copyfile(clip, partial)
    partial.replace(beside)
