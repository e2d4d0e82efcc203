"""One database for all turns of a session: making one takes seconds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _service_folder() -> Iterator[None]:
    """Not in pytest's folder, which a second pytest closes to the database's account."""
    folder = Path(tempfile.mkdtemp(prefix="lt-pg-"))
    folder.chmod(0o711)  # else the database's start warns where JSON is read
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGTAIL_FOLDER", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)
