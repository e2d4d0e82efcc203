"""Which clips a turn begins with, and when a turn is due."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from client import CloudClient
from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.ids import digest_file
from offline.acquisition.adapters.sources import folder_clips
from offline.pipeline.records import ClipRef, Turn
from offline.pipeline.spec import LoopSpec, Trigger

_NS_PER_H = 3600 * NS_PER_S


def clips_now(spec: LoopSpec, cloud: CloudClient | None) -> tuple[ClipRef, ...]:
    """All clips that the loop's file means, each once, by id.

    Raises `InputError` where there are fewer than the file asks for, or no cloud to look in.
    """
    section = spec.ingest
    found = {each.clip_id: each for each in _in_folders(section.folders)}
    if section.where is not None:
        if cloud is None:
            raise InputError("say where the cloud is: `ingest.url` or LONGTAIL_CLOUD", "ingest")
        for row in cloud.search(section.where):
            found.setdefault(row.clip_id, ClipRef(
                clip_id=row.clip_id, received_utc_ns=row.received_utc_ns
            ))  # fmt: skip
    if len(found) < section.least:
        raise InputError(f"{len(found)} clips, and a turn takes {section.least}", "ingest")
    return tuple(found[clip_id] for clip_id in sorted(found))


def _in_folders(folders: Sequence[Path]) -> Iterable[ClipRef]:
    if not folders:
        return
    for each in folder_clips(folders):
        yield ClipRef(clip_id=digest_file(each.path).clip_id(), path=each.path.resolve())


def due(when: Trigger, last: Turn | None, clips: Sequence[ClipRef], now_utc_ns: int) -> str:
    """Why a turn is due, or nothing. New are clips that the last turn did not have."""
    known = set() if last is None else {each.clip_id for each in last.clips}
    new = sum(each.clip_id not in known for each in clips)
    if not new:
        return ""
    if when.clips is not None and new >= when.clips:
        return f"{new} clips are new"
    if when.every_h is not None:
        if last is None:
            return "no turn has been yet"
        hours = (now_utc_ns - last.begun_utc_ns) / _NS_PER_H
        if hours >= when.every_h:
            return f"the last turn began {hours:.1f} hours ago"
    return ""
