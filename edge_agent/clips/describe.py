"""What a clip file tells about itself, for a spool that lost its sidecar."""

from __future__ import annotations

from pathlib import Path

from contracts.errors import InputError
from contracts.trigger_spec import parse_spec
from edge_agent.clips.pack import declared_scenes
from edge_agent.clips.packer import clip_value
from edge_agent.spool.entry import PRIORITIES, CellularRule, ClipDescription, Priority
from kernels.clip.reader import read_manifest, read_spec_texts


def describe_clip(path: Path) -> ClipDescription:
    """Read manifest and attached specs. Raises `CorruptError` for a file that is not whole."""
    manifest = read_manifest(path)
    uploads = []
    for name, text in sorted(read_spec_texts(path).items()):
        try:
            uploads.append(parse_spec(text, name).spec.upload)
        except InputError:
            # A spec of a newer agent: its clip is still worth sending, by its causes alone.
            continue
    fallback: Priority = "safety" if manifest.safety else "normal"
    priority = min((u.priority for u in uploads), key=PRIORITIES.index, default=fallback)
    cellular: CellularRule = "forbidden"
    if any(upload.cellular == "allowed" for upload in uploads):
        cellular = "allowed"
    return ClipDescription(
        event=manifest.event,
        window=manifest.actual,
        trigger_ids=tuple(dict.fromkeys(cause.trigger_id for cause in manifest.causes)),
        safety=manifest.safety,
        stream=manifest.stream,
        scene_hash=manifest.scene_hash,
        scenes=declared_scenes(manifest),
        priority=priority,
        cellular=cellular,
        value=clip_value(manifest, priority),
    )
