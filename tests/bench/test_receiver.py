"""The receiver's benchmark at a small size, with its peers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.receiver import run

pytestmark = pytest.mark.interop


def test_all_servers_receive_the_same_clips(tmp_path: Path) -> None:
    for program in ("nginx", "node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    figures = run(clips=4, clip_bytes=9 * 2**20, rounds=1, vehicles=500, modules=tmp_path / "npm")
    names = [each.name for each in figures]
    assert sum("clips received" in name or name == "the same" for name in names) == 3
    assert all(each.value > 0 for each in figures if "hashing" not in each.name)
    assert any("500 vehicles" in name for name in names)
