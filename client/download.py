"""Downloads what has an id of its bytes, so that it is there whole and verified, or not at all.

Guarantees: bytes gather in `.<name>.part` beside the target, a broken download goes on where
it stopped, and the file gets its name only when its digest is the clip's id. A partial file
that turns out wrong is dropped, and the error says so.
"""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Literal

from client.http import HttpService
from contracts.errors import CorruptError, ExhaustedError, InputError, TransientError
from contracts.ids import digest_file, parse_sha256_hex

_PIECE_BYTES = 1024 * 1024


def partial_path(path: Path) -> Path:
    """Where an unfinished download of `path` gathers."""
    return path.with_name(f".{path.name}.part")


def download(service: HttpService, url: str, clip_id: str, path: Path) -> None:
    """Fetch the clip (or what else has such an id) at `url` into `path`.

    A file that is there and right is left alone. Raises `InputError` for an unknown id,
    `CorruptError` when the bytes are not those of the id,
    `TransientError` when the link keeps breaking, `ExhaustedError` when the disk is full.
    """
    parse_sha256_hex(clip_id, "clip_id")
    if path.exists() and digest_file(path).clip_id() == clip_id:
        return
    partial = partial_path(path)
    _make_folder(path.parent)
    _fetch_all(service, url, clip_id, partial)
    if digest_file(partial).clip_id() != clip_id:
        partial.unlink()
        raise CorruptError("the downloaded bytes are not those of this id; try again", clip_id)
    _publish(partial, path)


def _fetch_all(service: HttpService, url: str, clip_id: str, partial: Path) -> None:
    """Fetch until complete; each break that brought bytes starts the count of attempts anew."""
    attempts = service.retries.attempts
    while True:
        before = _size(partial)
        try:
            _fetch(service, url, clip_id, partial)
            return
        except TransientError:
            attempts = service.retries.attempts if _size(partial) > before else attempts - 1
            if attempts <= 0:
                raise


def _fetch(service: HttpService, url: str, clip_id: str, partial: Path) -> None:
    """One request, from where the partial file ends."""
    start = _size(partial)
    headers = {"Range": f"bytes={start}-", "If-Range": f'"{clip_id}"'} if start else {}
    try:
        with service.open("GET", url, headers=headers) as response:
            goes_on = response.status == HTTPStatus.PARTIAL_CONTENT
            expected = int(response.headers["Content-Length"])
            received = 0
            with _open(partial, "ab" if goes_on else "wb") as file:
                while piece := response.read(_PIECE_BYTES):
                    _write(file.fileno(), piece)
                    received += len(piece)
    except InputError as error:
        # 416: there is nothing behind what we have; the digest will tell whether it is right.
        if start and error.place == "Range":
            return
        raise
    if received < expected:
        raise TransientError(f"the download broke off {expected - received} bytes early", clip_id)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make this folder: {error.strerror}", str(folder)) from error


def _open(partial: Path, mode: Literal["ab", "wb"]) -> BinaryIO:
    try:
        return partial.open(mode)
    except OSError as error:
        raise InputError(f"cannot write here: {error.strerror}", str(partial)) from error


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise ExhaustedError(f"cannot write: {error.strerror}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _publish(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
