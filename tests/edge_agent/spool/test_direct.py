"""Files written around the page cache: the same bytes as any other, and failures told."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from edge_agent.direct import ALIGN_BYTES, BUFFER_BYTES, open_direct
from edge_agent.disk import RealDisk


@pytest.mark.parametrize(
    "size_bytes",
    [0, 1, ALIGN_BYTES - 1, ALIGN_BYTES, BUFFER_BYTES - 1, BUFFER_BYTES, 2 * BUFFER_BYTES + 12_345],
)
@pytest.mark.parametrize("piece", [1000, ALIGN_BYTES, 3 * BUFFER_BYTES])
def test_any_bytes_in_any_pieces_arrive(tmp_path: Path, size_bytes: int, piece: int) -> None:
    content = random.Random(size_bytes).randbytes(size_bytes)
    path = tmp_path / "clip"
    with RealDisk().create(path) as stream:
        for offset in range(0, size_bytes, piece):
            view = memoryview(content)[offset : offset + piece]
            assert stream.write(view) == len(view)
    assert path.read_bytes() == content


def test_a_file_begun_anew_is_empty_first(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(b"old" * 10_000)
    with RealDisk().create(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_failing_disk_is_told_once_and_the_file_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_direct(tmp_path / "clip")
    if stream is None:
        pytest.skip("this file system has no O_DIRECT")

    def full(descriptor: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="full"):
            stream.write(bytes(BUFFER_BYTES))
        stream.close()
    assert stream.closed


def test_what_fails_at_the_end_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_direct(tmp_path / "clip")
    if stream is None:
        pytest.skip("this file system has no O_DIRECT")
    stream.write(b"x" * 10)

    def full(descriptor: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="full"):
            stream.close()


def test_a_file_system_without_it_is_written_the_usual_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path, flags: int, mode: int = 0o777) -> int:
        raise OSError(errno.EINVAL, "no O_DIRECT here")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuses)
        assert open_direct(tmp_path / "clip") is None
    with pytest.raises(FileNotFoundError):
        open_direct(tmp_path / "absent" / "clip")
