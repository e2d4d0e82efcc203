"""Pictures of a clip: which cameras it has, and single frames by their time.

Frames are found through the file's chunk index, so that a few of them cost a few chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import simplejpeg
from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from numpy.typing import NDArray

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.samples import ImageSample
from kernels.clip import schemas
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import MAX_RECORD_BYTES
from kernels.jpeg import jpeg_pixels, jpeg_size

NEAR_NS = NS_PER_S
MAX_PIXELS = 64_000_000


def camera_channels(manifest: ClipManifest) -> list[str]:
    """Channels of pictures that the clip says it has, the fullest first."""
    found = [each for each in manifest.channels if each.schema_name == schemas.IMAGE]
    return [each.name for each in sorted(found, key=lambda each: (-each.messages, each.name))]


def images(
    stream: IO[bytes],
    manifest: ClipManifest,
    channel: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Iterator[ImageSample]:
    """Frames of a camera in the order of time, between two monotonic times.

    Raises `CorruptError` for a file or frame that cannot be read.
    """
    offset_ns = manifest.utc_minus_mono_ns
    decoder = PayloadDecoder()
    stream.seek(0)
    reader = SeekingReader(stream, record_size_limit=MAX_RECORD_BYTES)
    try:
        for schema, _, message in reader.iter_messages(
            topics=[channel],
            starting_at=None if start_ns is None else max(0, start_ns + offset_ns),
            ending_at=None if end_ns is None else max(0, end_ns + offset_ns),
        ):
            if schema is None:
                raise CorruptError("a message has no schema", channel)
            sample = decoder.decode(schema, channel, message.log_time - offset_ns, message.data)
            if isinstance(sample, ImageSample):
                yield sample
    except (McapError, EOFError, ValueError, OverflowError) as error:
        raise CorruptError(f"cannot be read: {error or type(error).__name__}", channel) from error


def nearest(
    stream: IO[bytes], manifest: ClipManifest, channel: str, at_ns: int
) -> ImageSample | None:
    """The frame nearest to a monotonic time, at most a second away."""
    found = images(stream, manifest, channel, at_ns - NEAR_NS, at_ns + NEAR_NS)
    return min(
        found, key=lambda sample: (abs(sample.mono_ns - at_ns), sample.mono_ns), default=None
    )


def as_jpeg(sample: ImageSample) -> bytes:
    """The frame as JPEG: as it is, where it is one. Raises as `pixels`."""
    if sample.encoding == "jpeg":
        jpeg_size(sample.content, sample.channel)
        return bytes(sample.content)
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels(sample)), quality=88)
    return encoded


def pixels(sample: ImageSample, least_width_px: int = 0) -> NDArray[np.uint8]:
    """The frame as uint8 [h, w, 3] RGB; a JPEG at the smallest eighth of at least that width.

    Raises `CorruptError` for a broken picture, `InputError` for one that needs the extra `camera`.
    """
    if sample.encoding == "png":
        return _png(sample)
    return jpeg_pixels(sample.content, (0, least_width_px), sample.channel)


def _png(sample: ImageSample) -> NDArray[np.uint8]:
    av = pyav()
    try:
        decoder = av.CodecContext.create("png", "r")
        (frame,) = decoder.decode(av.Packet(bytes(sample.content)))
        found: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, ValueError) as error:
        raise CorruptError(f"not a whole PNG: {error}", sample.channel) from error
    return found


def pyav() -> Any:
    """PyAV. Raises `InputError` naming the extra when it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError("PyAV is not installed; add the extra `camera`", "av") from error
    return av
