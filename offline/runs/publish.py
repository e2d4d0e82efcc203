"""Products of a stage, put where people look for them."""

from __future__ import annotations

from pathlib import Path

from offline.runs.files import write_durably
from offline.runs.folder import WorkFolder
from offline.runs.records import ClipRecord


def publish(folder: WorkFolder, record: ClipRecord, name: str, path: Path) -> None:
    """Put one file of a clip's product where people look for it. A file that holds the same
    already is left alone; one of a clip that failed is of an earlier run and goes.
    """
    if record.output is None:
        path.unlink(missing_ok=True)
        return
    content = folder.objects.get(record.files[name])
    if not path.is_file() or path.read_bytes() != content:
        write_durably(path, content)
