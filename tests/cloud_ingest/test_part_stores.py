"""The part stores: what is named never changes, objects appear whole, every outcome is one."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_ingest.ports import (
    DamagedPieceError,
    LostPiecesError,
    ObjectStore,
    PartStore,
    Piece,
    Place,
)
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from cloud_ingest.stores.s3_objects import S3Objects
from cloud_ingest.stores.s3_parts import S3Parts
from contracts.errors import CorruptError, ExhaustedError, InputError, TransientError
from contracts.ids import PART_BYTES
from tests.cloud_ingest.s3_fake import FakeS3
from tests.cloud_ingest.s3_support import bucket_at, s3
from tests.cloud_ingest.support import clip_id_of_bytes

__all__ = ["s3"]
CONTENT = bytes(range(256)) * 70_000
CLIP_ID = clip_id_of_bytes(CONTENT)
A, B, C = ("a1" * 16, "b2" * 16, "c3" * 16)
STORES = ["local", "s3-direct", "s3-staged", "s3-apart"]
Stores = tuple[PartStore, ObjectStore, str | None]


@pytest.fixture(params=STORES)
def stores(request: pytest.FixtureRequest, tmp_path: Path, s3: FakeS3) -> Stores:
    """Parts, objects, and the clip id that is known at the beginning."""
    if request.param == "local":
        objects = LocalObjects(tmp_path / "objects")
        return LocalParts(tmp_path / "parts", objects), objects, CLIP_ID
    options = {"endpoint": s3.url, "client_options": {"allow_http": True}}
    found = S3Objects("s3://clips/a", bucket_at(s3, "s3://clips/a"), "raw/", ".mcap", options)
    buffer = bucket_at(s3, "s3://near") if request.param == "s3-apart" else None
    parts = S3Parts(bucket_at(s3, "s3://clips/a"), buffer)
    return parts, found, None if request.param == "s3-staged" else CLIP_ID


def begin(parts: PartStore, clip_id: str | None, upload_id: str = A) -> Place:
    return Place(upload_id, parts.begin(upload_id, clip_id))


def put(parts: PartStore, place: Place, start: int, content: bytes = CONTENT) -> Piece:
    """One whole part."""
    body = content[start : start + PART_BYTES]
    sha256 = hashlib.sha256(body).digest()
    token = parts.put_part(place, start, [body[:1000], body[1000:]], sha256, [])
    return Piece(start, len(body), token, sha256)


def put_all(parts: PartStore, place: Place) -> list[Piece]:
    return [put(parts, place, start) for start in range(0, len(CONTENT), PART_BYTES)]


def read(objects: ObjectStore) -> bytes:
    with objects.open(CLIP_ID) as stream:
        return stream.read()


def complete(parts: PartStore, place: Place, pieces: list[Piece]) -> str:
    return asyncio.run(parts.complete(place, pieces, CLIP_ID))


def test_parts_become_an_object(stores: Stores) -> None:
    parts, objects, known = stores
    place = begin(parts, known)
    pieces = put_all(parts, place)
    assert parts.held_bytes(place, pieces) == len(CONTENT)
    assert [remains.owner in (A, CLIP_ID) for remains in parts.remains()] == [True]
    assert complete(parts, place, pieces) == "done"
    assert complete(parts, place, pieces) == "exists"
    assert parts.held_bytes(place, pieces) == len(CONTENT)
    parts.abort(place, is_complete=True)
    assert parts.remains() == []
    assert read(objects) == CONTENT


def test_a_tail_grows_into_a_part(stores: Stores) -> None:
    parts, objects, known = stores
    place = begin(parts, known)
    pieces = [put(parts, place, 0)]
    tail = []
    for start, end in ((PART_BYTES, PART_BYTES + 10), (PART_BYTES + 10, PART_BYTES + 5000)):
        token = parts.put_tail(place, start, [CONTENT[start:end]])
        tail.append(Piece(start, end - start, token))
    assert parts.held_bytes(place, [*pieces, *tail]) == PART_BYTES + 5000
    held = parts.read_tail(place, tail)
    assert b"".join(held) == CONTENT[PART_BYTES : PART_BYTES + 5000]
    body = CONTENT[PART_BYTES : 2 * PART_BYTES]
    sha256 = hashlib.sha256(body).digest()
    token = parts.put_part(place, PART_BYTES, [*held, body[5000:]], sha256, tail)
    parts.drop_tail(place, tail)
    pieces.append(Piece(PART_BYTES, len(body), token, sha256))
    pieces.append(put(parts, place, 2 * PART_BYTES))
    assert b"".join(map(bytes, parts.read(place, pieces, 5))) == CONTENT[5:]
    complete(parts, place, pieces)
    assert read(objects) == CONTENT


def test_two_writers_share_an_upload(stores: Stores, tmp_path: Path) -> None:
    """Parts by turns; one that was stored twice, with other bytes the second time, heals."""
    parts, objects, known = stores
    place = begin(parts, known)
    other = LocalParts(tmp_path / "parts", objects) if isinstance(parts, LocalParts) else parts
    pieces = [put(parts, place, 0), put(other, place, PART_BYTES)]
    pieces.append(put(parts, place, 2 * PART_BYTES))
    late = put(parts, place, PART_BYTES, CONTENT[1:] + b"?")
    if isinstance(parts, LocalParts):
        # Its own image has room where bytes of another count; those stay as they are.
        named = {(piece.token, piece.start_bytes) for piece in pieces}
        assert (late.token, late.start_bytes) not in named
    else:
        # The store has only the last one: the row names what is gone, and the part comes again.
        with pytest.raises(LostPiecesError):
            complete(parts, place, pieces)
        assert parts.held_bytes(place, pieces) == PART_BYTES
        pieces[1] = put(other, place, PART_BYTES)
    assert complete(other, place, pieces) == "done"
    assert read(objects) == CONTENT


def test_what_is_given_up_leaves_nothing(stores: Stores) -> None:
    parts, _, known = stores
    place = begin(parts, known)
    put(parts, place, 0)
    parts.put_tail(place, PART_BYTES, [b"abc"])
    parts.abort(place)
    parts.abort(place)
    assert parts.remains() == []
    with pytest.raises(LostPiecesError):
        put(parts, place, 0)
    assert parts.held_bytes(place, [Piece(0, 3, "x", bytes(32))]) == 0


def test_remains_are_cleared_one_by_one(stores: Stores) -> None:
    parts, _, known = stores
    first, second = begin(parts, known), begin(parts, None, B)
    parts.put_tail(first, 0, [b"abc"])
    kept = put(parts, second, 0)
    for remains in parts.remains():
        if remains.owner != B:
            parts.clear(remains)
    assert {remains.owner for remains in parts.remains()} == {B}
    assert parts.held_bytes(second, [kept]) == PART_BYTES


# The local one ------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalParts]:
    yield LocalParts(tmp_path / "parts", LocalObjects(tmp_path / "objects"))


def test_one_process_publishes_without_a_copy(local: LocalParts, tmp_path: Path) -> None:
    place = begin(local, CLIP_ID)
    pieces = put_all(local, place)
    (image,) = (tmp_path / "parts" / A).iterdir()
    inode = image.stat().st_ino
    complete(local, place, pieces)
    (found,) = (tmp_path / "objects").glob("??/*.mcap")
    assert found.stat().st_ino == inode


def test_another_process_reads_and_verifies(local: LocalParts, tmp_path: Path) -> None:
    place = begin(local, CLIP_ID)
    pieces = put_all(local, place)
    (image,) = (tmp_path / "parts" / A).iterdir()
    with image.open("r+b") as file:
        file.seek(PART_BYTES + 7)
        file.write(b"?")
    again = LocalParts(tmp_path / "parts", LocalObjects(tmp_path / "objects"))
    with pytest.raises(DamagedPieceError) as damaged:
        complete(again, place, pieces)
    assert damaged.value.start_bytes == PART_BYTES
    assert list((tmp_path / "objects").glob("??/*.mcap")) == []


def test_files_without_range_copies_are_copied(
    local: LocalParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def refuses(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "copy_file_range", refuses)
    place = begin(local, CLIP_ID)
    other = LocalParts(tmp_path / "parts", LocalObjects(tmp_path / "objects"))
    pieces = [put(local, place, 0), put(other, place, PART_BYTES)]
    pieces.append(put(local, place, 2 * PART_BYTES))
    complete(local, place, pieces)
    assert read(LocalObjects(tmp_path / "objects")) == CONTENT


def test_many_small_pieces_are_written(local: LocalParts) -> None:
    place = begin(local, None)
    token = local.put_tail(place, 0, [bytes([index % 256]) for index in range(5000)])
    found = local.read_tail(place, [Piece(0, 5000, token)])
    assert found == [bytes(index % 256 for index in range(5000))]


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path / "objects")
    parts = LocalParts(tmp_path / "parts", objects, free_bytes_kept=2**60)
    with pytest.raises(ExhaustedError):
        parts.put_tail(begin(parts, None), 0, [b"x"])


@pytest.mark.parametrize("name", ["../a1", "a/b", "", "a.b", "a1", "A1" * 16])
def test_a_path_never_comes_from_a_client(stores: Stores, name: str) -> None:
    with pytest.raises(InputError):
        stores[0].begin(name, None)


# Outcomes of a completion on S3 -------------------------------------------------------------------

Step = Callable[[FakeS3], None]


def nothing(_: FakeS3) -> None:
    pass


def delivered(fake: FakeS3) -> None:
    """Somebody else's upload of the same clip is complete."""
    parts = S3Parts(bucket_at(fake))
    place = begin(parts, CLIP_ID, C)
    complete(parts, place, put_all(parts, place))


def damaged(fake: FakeS3) -> None:
    delivered(fake)
    (key,) = fake.names("clips/raw/")
    fake.objects[key].checksum = fake.objects[key].checksum.replace(
        fake.objects[key].checksum[:4], "AAAA"
    )
    fake.objects[key].etag = '"other"'


@pytest.mark.parametrize(
    ("before", "faults", "outcome"),
    [
        (nothing, [], "done"),
        (delivered, [], "exists"),
        (damaged, [], "done"),
        (nothing, ["conflict", "conflict"], "done"),
        (delivered, ["conflict"], "exists"),
        (nothing, ["conflict"] * 9, TransientError),
        (nothing, ["inside"], "done"),
        (nothing, ["inside"] * 9, TransientError),
        (nothing, ["done_inside"], "exists"),
        (nothing, ["lost"], "exists"),
        (nothing, ["down"], "done"),
        (nothing, ["gone"], LostPiecesError),
        (delivered, ["gone"], "exists"),
    ],
)
@pytest.mark.parametrize("tells_checksums", [True, False])
def test_completions(
    s3: FakeS3, before: Step, faults: list[str], outcome: object, tells_checksums: bool
) -> None:
    if before is damaged and not tells_checksums:
        pytest.skip("its bytes are right; only a checksum can tell")
    s3.tells_checksums = tells_checksums
    before(s3)
    parts = S3Parts(bucket_at(s3))
    place = begin(parts, CLIP_ID)
    pieces = put_all(parts, place)
    s3.faults["CompleteMultipartUpload"] = list(faults)
    if isinstance(outcome, str):
        assert complete(parts, place, pieces) == outcome
        assert [s3.objects[key].content == CONTENT for key in s3.names()] == [True]
        assert s3.multiparts == {}
    else:
        with pytest.raises(outcome):  # type: ignore[call-overload]
            complete(parts, place, pieces)
        assert s3.names() == []
        s3.faults.clear()
        # As the client does it: what is lost comes again.
        if outcome is LostPiecesError:
            place = begin(parts, CLIP_ID)
            pieces = put_all(parts, place)
        assert complete(parts, place, pieces) == "done"


def test_a_part_that_changes_on_its_way_is_not_stored(s3: FakeS3) -> None:
    parts = S3Parts(bucket_at(s3))
    place = begin(parts, CLIP_ID)
    s3.faults["UploadPart"] = ["flip"] * 3
    with pytest.raises(TransientError, match="BadDigest"):
        put(parts, place, 0)
    assert parts.held_bytes(place, [Piece(0, PART_BYTES, "x", bytes(32))]) == 0


@pytest.mark.parametrize("staged", [False, True])
def test_a_completion_that_names_another_clip_makes_none(s3: FakeS3, staged: bool) -> None:
    parts = S3Parts(bucket_at(s3))
    wrong = clip_id_of_bytes(b"wrong")
    place = begin(parts, None if staged else wrong)
    pieces = put_all(parts, place)
    with pytest.raises(CorruptError):
        asyncio.run(parts.complete(place, pieces, wrong))
    assert s3.multiparts == {} or not staged


def test_one_begins_and_the_other_disowns(s3: FakeS3) -> None:
    parts = S3Parts(bucket_at(s3))
    first, second = begin(parts, CLIP_ID), begin(parts, CLIP_ID)
    kept = put(parts, first, 0)
    parts.disown(second)
    assert parts.held_bytes(first, [kept]) == PART_BYTES
    assert len(s3.multiparts) == 1
