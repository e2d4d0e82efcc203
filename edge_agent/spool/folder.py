"""The spool's folder: which file means what, and how it is read without changing it.

```
active/<name>.active      a clip being written
clips/<clip_id>.mcap      a whole clip
clips/<clip_id>.json      its sidecar, written first
quarantine/<file>         bytes that are not what they should be
quarantine/<file>.reason.json
index.sqlite              cache of the sidecars
```

Guarantees: reading never writes, so commands may list a spool that a daemon is using.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from contracts.errors import CorruptError
from edge_agent.disk import Disk, replace_file
from edge_agent.spool.entry import Entry, Sidecar, entry_of

ACTIVE_SUFFIX = ".active"
CLIP_SUFFIX = ".mcap"
SIDECAR_SUFFIX = ".json"
REASON_SUFFIX = ".reason.json"
_CLIP_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SpoolPaths:
    """The folders of a spool."""

    root: Path

    @property
    def active(self) -> Path:
        return self.root / "active"

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def clip(self, clip_id: str) -> Path:
        return self.clips / f"{clip_id}{CLIP_SUFFIX}"

    def sidecar(self, clip_id: str) -> Path:
        return self.clips / f"{clip_id}{SIDECAR_SUFFIX}"


@dataclass(frozen=True, slots=True)
class SpoolRow:
    """A line of `spool ls`: a clip, one being written, or a quarantined file."""

    name: str
    kind: str
    size_bytes: int
    entry: Entry | None = None
    reason: str = ""


def is_clip_id(text: str) -> bool:
    return _CLIP_NAME.fullmatch(text) is not None


def size_of(path: Path) -> int | None:
    """Size in bytes, None for a file that is not there (any more)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def read_sidecar(path: Path) -> Sidecar:
    """Raises `CorruptError` for a file that is not the sidecar its name says."""
    try:
        sidecar = Sidecar.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorruptError(f"not a sidecar: {error.errors()[0]['msg']}", str(path)) from error
    if sidecar.request.clip_id != path.stem:
        raise CorruptError(f"speaks of clip {sidecar.request.clip_id}", str(path))
    return sidecar


def write_sidecar(disk: Disk, path: Path, sidecar: Sidecar) -> None:
    """Durable and atomic."""
    replace_file(disk, path, (sidecar.model_dump_json(indent=1) + "\n").encode())


def list_spool(root: Path) -> tuple[SpoolRow, ...]:
    """What a spool holds, read from its files alone: clips by commit, then the others."""
    paths = SpoolPaths(root)
    clips: list[SpoolRow] = []
    for path in sorted(paths.clips.glob(f"*{CLIP_SUFFIX}")):
        size_bytes = size_of(path)
        if size_bytes is None:
            continue
        try:
            entry = entry_of(read_sidecar(path.with_suffix(SIDECAR_SUFFIX)))
            clips.append(SpoolRow(path.stem, "clip", size_bytes, entry))
        except (CorruptError, FileNotFoundError) as error:
            clips.append(SpoolRow(path.stem, "orphan", size_bytes, reason=str(error)))
    clips.sort(key=lambda row: (row.entry is None, row.entry.sequence if row.entry else 0))
    active = [
        SpoolRow(path.name, "active", size_of(path) or 0)
        for path in sorted(paths.active.glob(f"*{ACTIVE_SUFFIX}"))
    ]
    quarantined = [
        SpoolRow(path.name, "quarantined", size_of(path) or 0, reason=reason_of(path))
        for path in sorted(paths.quarantine.glob("*"))
        if not path.name.endswith(REASON_SUFFIX)
    ]
    return (*clips, *active, *quarantined)


def reason_of(path: Path) -> str:
    """Why a file was quarantined."""
    try:
        found = json.loads(path.with_name(path.name + REASON_SUFFIX).read_bytes())
    except (FileNotFoundError, ValueError):
        return "unknown: the reason file is missing"
    return str(found.get("reason", "")) if isinstance(found, dict) else ""
