"""The spool's folder: which file means what, and how it is read without changing it.

```
active/<name>.active      a clip being written
clips/<clip_id>.mcap      a whole clip
clips/<clip_id>.json      its sidecar, written first
quarantine/<file>         bytes that are not what they should be
quarantine/<file>.reason.json
```

Guarantees: reading never writes, so commands may list a spool that a daemon is using; a sidecar
in which any bit has changed is not taken for one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from contracts.canonical import canonical_digest
from contracts.errors import CorruptError, InputError
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
        content = path.read_bytes()
        sidecar = Sidecar.model_validate_json(content)
        seal = seal_of(content)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorruptError(f"cannot be read: {error.strerror}", str(path)) from error
    except ValidationError as error:
        raise CorruptError(f"not a sidecar: {error.errors()[0]['msg']}", str(path)) from error
    except (ValueError, RecursionError, InputError) as error:
        raise CorruptError(f"not a sidecar: {error}", str(path)) from error
    if sidecar.seal != seal and (sidecar.seal or sidecar.schema_version > 1):
        raise CorruptError("its seal does not match: some of it has changed", str(path))
    if sidecar.request.clip_id != path.stem:
        raise CorruptError(f"speaks of clip {sidecar.request.clip_id}", str(path))
    return sidecar


def write_sidecar(disk: Disk, path: Path, sidecar: Sidecar) -> None:
    """Durable and atomic; sealed."""
    content = sidecar.model_dump_json(indent=1).encode()
    sealed = sidecar.model_copy(update={"seal": seal_of(content)})
    replace_file(disk, path, (sealed.model_dump_json(indent=1) + "\n").encode())


def seal_of(content: bytes) -> str:
    """The digest of a sidecar's fields, fields of newer writers included, the seal left out."""
    fields = json.loads(content)
    return canonical_digest({name: value for name, value in fields.items() if name != "seal"})


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
    found = _read_reason(path)
    return "unknown: the reason file is missing" if found is None else str(found.get("reason", ""))


def was_dropped(path: Path) -> bool:
    """Whether a quarantined file of this name has made room, its reason file staying."""
    return "dropped_bytes" in (_read_reason(path) or {})


def _read_reason(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.with_name(path.name + REASON_SUFFIX).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
