"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recorded drives, kept beside the checkout and never committed."""
    if not SHARED_DATA.is_dir():
        pytest.skip("recorded drives are not on this machine (../shared/data)")
    return SHARED_DATA
