"""Clip ids and part digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import ids
from contracts.errors import InputError


def test_id_is_the_digest_of_the_part_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "PART_BYTES", 4)
    payload = b"abcdefghij"
    parts = [hashlib.sha256(payload[i : i + 4]).digest() for i in (0, 4, 8)]
    hasher = ids.PartHasher()
    hasher.update(payload)
    assert hasher.part_digests() == parts
    assert hasher.clip_id() == hashlib.sha256(b"".join(parts)).hexdigest()


@given(st.binary(max_size=200), st.lists(st.integers(0, 50), max_size=20))
def test_id_does_not_depend_on_chunking(payload: bytes, cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "PART_BYTES", 16)
        whole = ids.PartHasher()
        whole.update(payload)
        pieces = ids.PartHasher()
        rest = memoryview(payload)
        for cut in cuts:
            pieces.update(rest[:cut])
            rest = rest[cut:]
        pieces.update(rest)
        assert pieces.clip_id() == whole.clip_id()
        assert len(whole.part_digests()) == ids.part_count(len(payload))
        lengths = [ids.part_length(len(payload), i) for i in range(ids.part_count(len(payload)))]
        assert sum(lengths) == len(payload)


def test_file_digest_matches_memory(tmp_path: Path) -> None:
    payload = bytes(range(256)) * 5000
    path = tmp_path / "clip"
    path.write_bytes(payload)
    hasher = ids.PartHasher()
    hasher.update(payload)
    assert ids.digest_file(path).clip_id() == hasher.clip_id()


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 63 + "\n"])
def test_other_text_is_no_digest(text: str) -> None:
    with pytest.raises(InputError, match="not a SHA-256"):
        ids.parse_sha256_hex(text)
