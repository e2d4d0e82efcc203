"""Read a clip: its manifest, its messages, its samples.

Guarantees: any bytes give either what they hold or a `CorruptError` with its place; a
truncated file is recovered up to its last whole chunk, which the plain MCAP reader cannot do.
Record sizes are bounded before they are allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from pydantic import ValidationError

from contracts.clip import CLIP_METADATA_NAME, SPEC_ATTACHMENT_PREFIX, ClipManifest
from contracts.errors import CorruptError
from contracts.samples import PerceptionFrame, Sample
from kernels.clip.decoding import PayloadDecoder

MAX_RECORD_BYTES = 256 * 1024 * 1024

_FOREIGN_ERRORS = (
    McapError, struct.error, ValueError, EOFError, KeyError, IndexError, OverflowError, TypeError,
)  # fmt: skip

Source = Path | IO[bytes]


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as it lies in the file. `log_ns` is its log time (wall clock)."""

    schema: Schema
    channel: str
    log_ns: int
    payload: bytes


@contextmanager
def _opened(source: Source) -> Iterator[tuple[IO[bytes], str]]:
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield stream, str(source)
    else:
        source.seek(0)
        yield source, getattr(source, "name", "clip")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except _FOREIGN_ERRORS as error:
        raise CorruptError(
            f"not a whole MCAP file: {error or type(error).__name__}", name
        ) from error


def read_manifest(source: Source) -> ClipManifest:
    """The clip's manifest. Raises `CorruptError` when the file or the manifest is damaged."""
    with _opened(source) as (stream, name):
        with _translated(name):
            reader = SeekingReader(stream, validate_crcs=True, record_size_limit=MAX_RECORD_BYTES)
            found = [m for m in reader.iter_metadata() if m.name == CLIP_METADATA_NAME]
        if not found:
            raise CorruptError(f"no metadata record {CLIP_METADATA_NAME!r}: not a clip", name)
        text = found[0].metadata.get("manifest", "")
        try:
            return ClipManifest.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(step) for step in first["loc"])
            raise CorruptError(f"clip manifest: {field}: {first['msg']}", name) from error


def read_spec_texts(source: Source) -> dict[str, str]:
    """Trigger specs attached to the clip: file name to YAML text."""
    with _opened(source) as (stream, name), _translated(name):
        reader = SeekingReader(stream, validate_crcs=True, record_size_limit=MAX_RECORD_BYTES)
        return {
            a.name.removeprefix(SPEC_ATTACHMENT_PREFIX): a.data.decode()
            for a in reader.iter_attachments()
            if a.name.startswith(SPEC_ATTACHMENT_PREFIX)
        }


def read_messages(source: Source) -> Iterator[RawMessage]:
    """All messages in the order of the file, which is the order of time.

    Yields what is whole and then raises `CorruptError` where the file breaks off.
    """
    with _opened(source) as (stream, name):
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        whole = 0
        records = StreamReader(stream, record_size_limit=MAX_RECORD_BYTES).records
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except _FOREIGN_ERRORS as error:
                raise CorruptError(
                    f"breaks off after {whole} whole messages, near byte {_tell(stream)}: "
                    f"{error or type(error).__name__}",
                    name,
                ) from error
            match record:
                case Schema(id=schema_id):
                    schemas[schema_id] = record
                case Channel(id=channel_id):
                    channels[channel_id] = record
                case Message():
                    channel = channels.get(record.channel_id)
                    schema = schemas.get(channel.schema_id) if channel else None
                    if channel is None or schema is None:
                        raise CorruptError(f"message {whole} has no known channel", name)
                    yield RawMessage(schema, channel.topic, record.log_time, record.data)
                    whole += 1


def _tell(stream: IO[bytes]) -> int:
    try:
        return stream.tell()
    except (OSError, ValueError):
        return -1


def read_samples(
    source: Source, utc_minus_mono_ns: int | None = None
) -> Iterator[Sample | PerceptionFrame]:
    """Decoded messages in the order of time, viewers' channels left out.

    `utc_minus_mono_ns` restores monotonic time; None reads it from the manifest, which a
    truncated file no longer has. Raises `CorruptError` after what is whole has been yielded.
    """
    if utc_minus_mono_ns is None:
        utc_minus_mono_ns = read_manifest(source).utc_minus_mono_ns
    decoder = PayloadDecoder()
    for message in read_messages(source):
        sample = decoder.decode(
            message.schema, message.channel, message.log_ns - utc_minus_mono_ns, message.payload
        )
        if sample is not None:
            yield sample
