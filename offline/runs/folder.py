"""A work folder: products, records, and the lock of whoever works in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from pydantic import ValidationError

from cloud_ingest.stores.files import disk_errors, make_folder
from contracts.errors import ConflictError
from offline.executor.ports import Product
from offline.runs.files import write_durably
from offline.runs.objects import Objects
from offline.runs.records import ClipRecord, StageRun, output_digest

_log = structlog.get_logger(__name__)


class WorkFolder:
    """Reads and writes one work folder; it is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.objects = Objects(folder / "objects")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time works here. Raises `ConflictError` for a second.

        The lock goes with its process, however that ends. What an earlier one left half-written
        is removed.
        """
        with disk_errors(str(self._folder)):
            make_folder(self._folder)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError("another process works here", str(self._folder)) from None
            for left in self._folder.glob("**/.*.tmp"):
                left.unlink(missing_ok=True)
            yield
        finally:
            os.close(lock)

    def finished(self, key: str) -> ClipRecord | None:
        """The record of a clip's work that was done, with all of its product in place; None
        when it has to be done.
        """
        path = self._clip(key)
        try:
            record = ClipRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            _log.warning("a clip's record is damaged; its work is done again", path=str(path))
            return None
        if record.output is None:
            return None
        if not all(self.objects.holds(digest) for digest in record.files.values()):
            _log.warning("a product is damaged; its work is done again", clip=record.clip)
            return None
        return record

    def keep(self, record: ClipRecord, product: Product) -> ClipRecord:
        """Store a product, then its record, which is returned: the clip is done."""
        files = {name: self.objects.put(content) for name, content in product.files.items()}
        record = ClipRecord(
            **record.model_dump(exclude={"files", "figures", "output", "failure"}),
            output=output_digest(files), files=files, figures=dict(product.figures),
        )  # fmt: skip
        self.write(record)
        return record

    def write(self, record: ClipRecord) -> None:
        write_durably(self._clip(record.key), _text(record))

    def write_run(self, run: StageRun) -> None:
        write_durably(self._folder / "runs" / f"{run.key}.json", _text(run))

    def _clip(self, key: str) -> Path:
        return self._folder / "clips" / f"{key}.json"


def _text(record: ClipRecord | StageRun) -> bytes:
    return record.model_dump_json(indent=1).encode() + b"\n"
