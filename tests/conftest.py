"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# The machines are shared and kernels compile on first use: time is no part of a property.
settings.register_profile("longtail", deadline=None)
settings.load_profile("longtail")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recorded drives, kept beside the checkout and never committed."""
    if not SHARED_DATA.is_dir():
        pytest.skip("recorded drives are not on this machine (../shared/data)")
    return SHARED_DATA
