"""What the local stores share: writes of a size that costs least."""

from __future__ import annotations

import pytest

from cloud_ingest.stores.files import WRITE_BYTES, write_batches

CONTENT = bytes(range(256)) * 12_000


@pytest.mark.parametrize("cut", [100, 65_536, WRITE_BYTES, WRITE_BYTES + 1, len(CONTENT)])
def test_batches_are_all_bytes_and_none_is_too_large(cut: int) -> None:
    chunks = [b"", *(CONTENT[at : at + cut] for at in range(0, len(CONTENT), cut)), b""]
    batches = list(write_batches(chunks))
    assert b"".join(view for batch in batches for view in batch) == CONTENT
    assert all(0 < sum(map(len, batch)) <= WRITE_BYTES for batch in batches)
    assert all(len(batch) <= 1024 and all(map(len, batch)) for batch in batches)


def test_of_nothing_there_is_no_batch() -> None:
    assert list(write_batches([])) == list(write_batches([b"", b""])) == []
