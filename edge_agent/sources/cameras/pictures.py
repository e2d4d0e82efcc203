"""The pictures of one opened video, as JPEG with their presentation times.

Guarantees: a packet that cannot be decoded, a picture that the decoder calls damaged, a JPEG that
is cut off: each is counted and left out, and the next one is tried. Motion JPEG is never decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from contracts.errors import CorruptError, InputError, TransientError
from edge_agent.sources.address import optional_module, without_password
from edge_agent.sources.cameras.jpeg import NotAPictureError, encode, passed_through

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer


@dataclass(frozen=True, slots=True)
class Picture:
    """`ticks` of `base` seconds: when it is shown, None where the stream does not say."""

    content: Callable[[], bytes]
    ticks: int | None
    base: Fraction | None
    width: int
    height: int


class Video:
    """An opened video. Close it.

    Attributes: `rate`: pictures a second, `length_ns`: of all of it, as the file tells; None
    where it does not.

    Args:
        live: what cannot be opened now may be there later.

    Raises `InputError` when it cannot be opened or holds no video, `TransientError` when it may
    be opened later.
    """

    def __init__(
        self,
        target: str,
        *,
        container_format: str | None = None,
        options: dict[str, str] | None = None,
        timeout_s: tuple[float, float] | None = None,
        live: bool = False,
    ) -> None:
        self._av = optional_module("av", "camera")
        self._target = without_password(target)
        try:
            self._container: InputContainer = self._av.open(
                target, format=container_format, options=options or {}, timeout=timeout_s
            )
        except (self._av.FFmpegError, OSError) as error:
            why = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
            if live and not isinstance(error, self._av.error.ProtocolNotFoundError):
                raise TransientError(why, self._target) from error
            raise InputError(why, self._target) from error
        streams = self._container.streams.video
        if not streams:
            self.close()
            raise InputError("holds no video", self._target)
        self._stream: VideoStream = streams[0]
        self._stream.codec_context.thread_count = 1
        self.rate: Fraction | None = self._stream.average_rate
        micros = self._container.duration
        self.length_ns: int | None = micros * 1000 if micros is not None and micros > 0 else None

    def close(self) -> None:
        self._container.close()

    def presentation_times(self) -> list[int]:
        """Ticks of all pictures, rising; reads the file without decoding it.

        Raises `InputError` where a packet has none.
        """
        found = []
        for packet in self._packets():
            if packet.size == 0:
                continue
            if packet.pts is None:
                raise InputError("a packet has no presentation time", self._target)
            found.append(packet.pts)
        return sorted(found)

    def pictures(self, counts: Counter[str]) -> Iterator[Picture]:
        """Raises `CorruptError` where reading fails; the end of the file is no failure."""
        is_mjpeg = self._stream.codec_context.name == "mjpeg"
        for packet in self._packets():
            yield from self._passed(packet, counts) if is_mjpeg else self._decoded(packet, counts)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (self._av.FFmpegError, OSError) as error:
                raise CorruptError(f"reading failed: {error}", self._target) from error
            if packet is None:
                return
            yield packet

    def _passed(self, packet: Packet[Any], counts: Counter[str]) -> Iterator[Picture]:
        if packet.size == 0:
            return  # the demuxer's sign of the end
        try:
            content, width, height = passed_through(bytes(packet))
        except NotAPictureError as error:
            counts[f"pictures left out: {error}"] += 1
            return
        ticks = packet.pts if packet.pts is not None else packet.dts
        yield Picture(lambda: content, ticks, packet.time_base, width, height)

    def _decoded(self, packet: Packet[VideoStream], counts: Counter[str]) -> Iterator[Picture]:
        try:
            frames = packet.decode()
        except self._av.EOFError:
            return
        except (self._av.FFmpegError, ValueError):
            counts["packets left out: cannot be decoded"] += 1
            return
        for frame in frames:
            if frame.is_corrupt:
                counts["pictures left out: damaged"] += 1
                continue
            ticks = frame.pts if frame.pts is not None else frame.dts
            base = frame.time_base or self._stream.time_base
            yield Picture(_encoder(frame), ticks, base, frame.width, frame.height)


def _encoder(frame: VideoFrame) -> Callable[[], bytes]:
    return lambda: encode(frame)
