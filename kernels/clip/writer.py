"""Write a clip: MCAP, uncompressed 4 MB chunks of payloads that are already compressed.

Guarantees: the same messages and manifest give the same bytes, whatever the time of packing,
so that the same event packed twice has one `clip_id`. Digests of the parts are computed while
writing, so nothing is read twice. Durability (fsync, rename) is the spool's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import SEEK_CUR
from typing import BinaryIO

import foxglove
from foxglove.mcap import MCAPWriteOptions

from contracts.clip import CLIP_METADATA_NAME, SPEC_ATTACHMENT_PREFIX, ClipManifest
from contracts.errors import InputError
from contracts.ids import PartHasher
from kernels.clip.encoding import EncodedMessage
from kernels.clip.schemas import schema_bytes

CHUNK_BYTES = 4 * 1024 * 1024
PROFILE = "longtail"


@dataclass(frozen=True, slots=True)
class WrittenClip:
    """What was written: the id over its bytes, their count and the digest of each part."""

    clip_id: str
    size_bytes: int
    part_digests: tuple[str, ...]


class _HashingStream:
    """A forward-only stream that digests what passes through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.hasher = PartHasher()
        # foxglove-sdk logs a failing sink and goes on: the first cause is kept here.
        self.failure: OSError | None = None

    def write(self, data: bytes | bytearray) -> int:
        view = memoryview(data)
        try:
            while view:
                written = self._stream.write(view)
                view = view[written:]
        except OSError as error:
            self.failure = self.failure or error
            raise
        self.hasher.update(data)
        return len(data)

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def seek(self, offset: int, whence: int = 0) -> int:
        position = self.hasher.size_bytes
        if (whence == SEEK_CUR and offset == 0) or (whence == 0 and offset == position):
            return position
        raise InputError("a clip is written forwards only")

    def flush(self) -> None:
        self._stream.flush()


def write_clip(
    stream: BinaryIO,
    manifest: ClipManifest,
    messages: Iterable[EncodedMessage],
    spec_texts: Mapping[str, str],
) -> WrittenClip:
    """Write one clip to `stream` (opened for writing, at its start).

    Args:
        messages: in order of time, latched ones first at the clip's start time.
        spec_texts: file name of each trigger spec that fired, and its YAML.

    Raises:
        OSError: from the stream, such as a full disk; what was written is then worthless.
    """
    hashing = _HashingStream(stream)
    context = foxglove.Context()
    writer = foxglove.open_mcap(
        hashing,
        context=context,
        writer_options=MCAPWriteOptions(
            compression=None, chunk_size=CHUNK_BYTES, profile=PROFILE, disable_seeking=True
        ),
    )
    channels: dict[str, foxglove.Channel] = {}
    try:
        for message in messages:
            channel = channels.get(message.channel)
            if channel is None:
                channel = _open_channel(context, message)
                channels[message.channel] = channel
            channel.log(message.payload, log_time=message.mono_ns + manifest.utc_minus_mono_ns)
            hashing.raise_failure()
        for name, text in sorted(spec_texts.items()):
            writer.attach(
                log_time=manifest.start_utc_ns,
                create_time=manifest.start_utc_ns,
                name=SPEC_ATTACHMENT_PREFIX + name,
                media_type="application/yaml",
                data=text.encode(),
            )
        writer.write_metadata(CLIP_METADATA_NAME, _metadata(manifest))
    finally:
        _close(writer, hashing)
    hasher = hashing.hasher
    digests = tuple(digest.hex() for digest in hasher.part_digests())
    return WrittenClip(hasher.clip_id(), hasher.size_bytes, digests)


def _close(writer: foxglove.MCAPWriter, hashing: _HashingStream) -> None:
    try:
        writer.close()
    except RuntimeError as error:
        raise hashing.failure or OSError(f"the clip could not be closed: {error}") from error
    hashing.raise_failure()


def _open_channel(context: foxglove.Context, message: EncodedMessage) -> foxglove.Channel:
    schema = foxglove.Schema(
        name=message.schema_name, encoding="protobuf", data=schema_bytes(message.schema_name)
    )
    return foxglove.Channel(
        message.channel, schema=schema, message_encoding="protobuf", context=context
    )


def _metadata(manifest: ClipManifest) -> dict[str, str]:
    """The manifest whole, beside the few values that a person looks for in a viewer."""
    return {
        "manifest": manifest.model_dump_json(),
        "schema_version": str(manifest.schema_version),
        "event": manifest.event.text(),
        "causes": ", ".join(cause.trigger_id for cause in manifest.causes),
        "software_version": manifest.software_version,
    }
