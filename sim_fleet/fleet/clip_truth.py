"""The truth of clips that a fleet sent: of each the instants that it holds, its recording beside.

    OUT/<clip>/labels/<mono_ns>.npz
    OUT/<clip>/clip.mcap

A folder is called as the clip's file is, or as the folder that a `clip.mcap` lies in: so does
whoever labels clips, and so truth and labels of a clip have one name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError
from kernels.clip.reader import read_manifest
from sim_fleet.fleet.trip_source import LABEL_FOLDER

CLIP_FILE = "clip.mcap"


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """A clip's folder, and how many instants of it are told."""

    folder: Path
    instants: int


def truth_of_clips(clips: Sequence[Path], truth: Path, out: Path) -> list[ClipTruth]:
    """Write the truth of clips, or of all below folders; what is there already is left alone.

    Args:
        truth: what `sim run --truth` wrote.

    Raises `InputError` for a clip of a drive whose truth is not there, `CorruptError` for a file
    that is no clip.
    """
    return [_truth_of(clip, truth, out) for clip in _below(clips)]


def _below(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        here = [path] if path.is_file() else sorted(path.rglob("*.mcap"))
        here = [clip for clip in here if not clip.name.startswith(".")]
        if not here:
            raise InputError("no clip: no *.mcap anywhere below", str(path))
        found += here
    return list(dict.fromkeys(found))


def _truth_of(clip: Path, truth: Path, out: Path) -> ClipTruth:
    manifest = read_manifest(clip)
    known = truth / manifest.drive_id / LABEL_FOLDER
    if not known.is_dir():
        raise InputError(f"no truth of its drive {manifest.drive_id!r} in {truth}", str(clip))
    window = manifest.actual
    name = clip.parent.resolve().name if clip.name == CLIP_FILE else clip.stem
    labels = out / name / LABEL_FOLDER
    labels.mkdir(parents=True, exist_ok=True)
    inside = [
        path for path in sorted(known.glob("[0-9]*.npz"))
        if window.start_mono_ns <= int(path.stem) <= window.end_mono_ns
    ]  # fmt: skip
    for path in inside:
        _place(path, labels / path.name)
    _place(clip, out / name / CLIP_FILE)
    return ClipTruth(out / name, len(inside))


def _place(source: Path, to: Path) -> None:
    """Link a file, or copy it where there are no links; there whole or not at all."""
    if to.exists():
        return
    partial = to.with_name(f".{to.name}")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(source.resolve())
    except OSError:  # another file system
        shutil.copyfile(source, partial)
    partial.replace(to)
