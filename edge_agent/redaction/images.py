"""Redaction of images: the port, masks per camera, detected regions, and what applies them.

Guarantees: an image leaves here redacted or not at all. Whatever goes wrong with one (it cannot be
decoded, a detector fails) drops it, and it is counted by reason: a gap is told, a face is not.
Boxes are x0, y0, x1, y1; regions are covered as whole pixels, rounded outwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import simplejpeg
import structlog
from numpy.typing import NDArray

from contracts.errors import CorruptError, LongtailError
from contracts.samples import ImageSample
from edge_agent.perception.pixels import decode_pixels
from edge_agent.ports import ImageModel
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, encode_sample

Box = tuple[float, float, float, float]
Pixels = NDArray[np.uint8]
Style = Literal["fill", "pixelate"]

JPEG_QUALITY = 90
CELLS_ACROSS = 6
"""A pixelated region keeps this many cells along its longer side: no face is known by so few."""

log = structlog.get_logger(__name__)


class Redactor(Protocol):
    """Says which regions of an image are private. Raises `LongtailError` when it cannot tell."""

    def regions(self, image: ImageSample, pixels: Pixels) -> Sequence[Box]:
        """Boxes in pixels of the image. `pixels` is uint8 [h, w, 3] RGB."""
        ...


class CameraMasks:
    """The same regions in every image of a camera: a bonnet, a cabin seen in a mirror.

    Args:
        masks: by channel, boxes in fractions of width and height.
    """

    def __init__(self, masks: Mapping[str, Sequence[Box]]) -> None:
        self._masks = masks

    def regions(self, image: ImageSample, pixels: Pixels) -> Sequence[Box]:
        height, width = pixels.shape[:2]
        return [
            (x0 * width, y0 * height, x1 * width, y1 * height)
            for x0, y0, x1, y1 in self._masks.get(image.channel, ())
        ]


class DetectedRegions:
    """What a detector finds: faces, plates, whatever classes it was trained for.

    Args:
        detector: an `ImageModel`; a detector's manifest and file are checked as any model's.
        classes: those that are private; empty means all that the detector knows.
        min_probability: from where on a detection counts. Low: a false one costs a blur.
        grow_ratio: how much a box is widened on each side, of its own size.
    """

    def __init__(
        self,
        detector: ImageModel,
        classes: frozenset[str],
        min_probability: float,
        grow_ratio: float,
    ) -> None:
        self._detector = detector
        self._classes = classes or frozenset(detector.class_names)
        self._min_probability = min_probability
        self._grow_ratio = grow_ratio

    def regions(self, image: ImageSample, pixels: Pixels) -> Sequence[Box]:
        frame = self._detector.detect(image, pixels)
        return [
            self._grown(found.box_px)
            for found in frame.detections
            if found.box_px is not None
            and found.class_name in self._classes
            and found.probability >= self._min_probability
        ]

    def _grown(self, box: Box) -> Box:
        x0, y0, x1, y1 = box
        dx, dy = (x1 - x0) * self._grow_ratio, (y1 - y0) * self._grow_ratio
        return x0 - dx, y0 - dy, x1 + dx, y1 + dy


def cover(pixels: Pixels, box: Box, style: Style) -> None:
    """Make a region unrecognisable, in place. What lies outside of the image is left out."""
    height, width = pixels.shape[:2]
    x0, y0 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x0 >= x1 or y0 >= y1:
        return
    region = pixels[y0:y1, x0:x1]
    if style == "fill":
        region[:] = 0
        return
    side = max(1, -(-max(region.shape[:2]) // CELLS_ACROSS))
    for top in range(0, region.shape[0], side):
        for left in range(0, region.shape[1], side):
            cell = region[top : top + side, left : left + side]
            cell[:] = cell.reshape(-1, 3).mean(axis=0).astype(np.uint8)


class ImageRedaction:
    """Applies redactors to the images of a clip, before it is packed. Serves one thread.

    Attributes:
        counts: images by what became of them: `redacted`, `unchanged`, and `dropped: REASON`.
    """

    def __init__(self, redactors: Sequence[Redactor], style: Style, utc_minus_mono_ns: int) -> None:
        self._redactors = tuple(redactors)
        self._style: Style = style
        self._offset_ns = utc_minus_mono_ns
        self._decoder = OwnDecoder()
        self.counts: Counter[str] = Counter()

    def __call__(self, messages: Sequence[EncodedMessage]) -> Sequence[EncodedMessage]:
        """The messages, with each image redacted or left out."""
        if not self._redactors:
            return messages
        kept = []
        for message in messages:
            if message.schema_name != schemas.IMAGE:
                kept.append(message)
            elif (redacted := self._redacted(message)) is not None:
                kept.append(redacted)
        return kept

    def _redacted(self, message: EncodedMessage) -> EncodedMessage | None:
        try:
            sample = self._decoder.decode(message)
            if not isinstance(sample, ImageSample):
                raise CorruptError("an image's payload is another one", message.channel)
            pixels = decode_pixels(sample)
            boxes = [box for each in self._redactors for box in each.regions(sample, pixels)]
            if not np.isfinite(np.array(boxes, np.float64)).all():
                raise CorruptError("a detected box is not finite", message.channel)
            if not boxes:
                self.counts["unchanged"] += 1
                return message
            return self._covered(sample, pixels, boxes)
        except LongtailError as error:
            self._drop(message, "cannot be judged", str(error))
        except Exception as error:
            # Fail closed: whatever a detector does, what it has not judged does not leave.
            log.exception("an image could not be redacted", channel=message.channel)
            self._drop(message, "the redactor failed", type(error).__name__)
        return None

    def _covered(self, sample: ImageSample, pixels: Pixels, boxes: Sequence[Box]) -> EncodedMessage:
        pixels = np.array(pixels, order="C")  # the decoder's own may be read-only
        for box in boxes:
            cover(pixels, box, self._style)
        content = simplejpeg.encode_jpeg(pixels, quality=JPEG_QUALITY)
        height, width = pixels.shape[:2]
        redacted = ImageSample(
            sample.channel, sample.mono_ns, "jpeg", content, width, height, sample.frame_id
        )
        self.counts["redacted"] += 1
        return encode_sample(redacted, self._offset_ns)

    def _drop(self, message: EncodedMessage, reason: str, why: str) -> None:
        name = f"dropped: {reason}"
        self.counts[name] += 1
        # The first of a kind is news; after that every power of ten is.
        if str(self.counts[name]).strip("0") == "1":
            log.warning(
                "image dropped", channel=message.channel, mono_ns=message.mono_ns, reason=reason,
                why=why, count=self.counts[name],
            )  # fmt: skip
