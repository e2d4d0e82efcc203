"""The journal of review: every decision as one line, in the order in which it was taken.

Guarantees: what `add` was given is on disk when it returns. A process that is killed leaves whole
lines, and perhaps a torn last one, which nobody was told of and which is cut off when the journal
is opened. No task's round is there twice. One process at a time holds it. All that is known of
annotators, thresholds and agreement is told from these lines and kept nowhere else, so it cannot
disagree with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cloud_ingest.folder_lock import folder_lock
from cloud_ingest.stores.files import disk_errors, sync_folder
from contracts.errors import ConflictError
from offline.labels.formats.files import json_of, validated
from offline.labels.review.records import Settled

JOURNAL_FILE = "journal.jsonl"


class Journal:
    """An open journal. `lines` are those that are there, oldest first."""

    def __init__(self, path: Path, lines: Sequence[Settled]) -> None:
        self._path = path
        self.lines = list(lines)
        self._keys = {line.key for line in lines}

    def find(self, task_id: str, round_number: int) -> Settled | None:
        """What was decided about a task's round."""
        if (task_id, round_number) not in self._keys:
            return None
        return next(one for one in self.lines if one.key == (task_id, round_number))

    def add(self, lines: Sequence[Settled]) -> None:
        """Add decisions; they are on disk when this returns.

        Raises `ConflictError` for a round that is decided; nothing is added then.
        """
        keys = [line.key for line in lines]
        if len(set(keys)) < len(keys) or self._keys & set(keys):
            raise ConflictError("a task's round is decided once", str(self._path))
        text = "".join(line.model_dump_json() + "\n" for line in lines)
        with disk_errors(str(self._path)), self._path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        self.lines += lines
        self._keys |= set(keys)


@contextmanager
def opened_journal(folder: Path) -> Iterator[Journal]:
    """The journal of a folder, which is made. Raises `ConflictError` while another process has
    it, `InputError` with the line for a damaged one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        path = folder / JOURNAL_FILE
        with disk_errors(str(path)), path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                file.truncate(len(whole))
                os.fsync(file.fileno())
        sync_folder(folder)
        yield Journal(path, _lines(whole, path))


def read_journal(folder: Path) -> list[Settled]:
    """The decisions of a folder, oldest first; none where there is no journal."""
    path = folder / JOURNAL_FILE
    return read_lines(path) if path.is_file() else []


def read_lines(path: Path) -> list[Settled]:
    """The decisions of a journal's file, oldest first."""
    with disk_errors(str(path)):
        content = path.read_bytes()
    return _lines(content[: content.rfind(b"\n") + 1], path)


def _lines(content: bytes, path: Path) -> list[Settled]:
    return [
        validated(Settled, json_of(line, f"{path}:{number}"), f"{path}:{number}")
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1)
    ]
