"""The step `video`: the fullest camera as a small H.264 film that any browser plays.

Encoded by x264 through PyAV (extra `camera`); without it the step is skipped and says so.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cloud_ingest.steps.answering import Product
from cloud_ingest.steps.computing import Material
from cloud_ingest.steps.pictures import camera_channels, images, pixels, pyav
from cloud_ingest.steps.work import Done, Ending, Skipped, Work
from contracts.errors import CorruptError, InputError

NAME = "preview.mp4"
WIDTH_PX = 640
MOST_FRAMES = 3000
_CODEC = "libx264"
_OPTIONS = {"preset": "veryfast", "crf": "28", "threads": "1"}
_TICK = Fraction(1, 90_000)


async def video(work: Work) -> Ending:
    """`preview.mp4` among the clip's views."""
    if not camera_channels(work.manifest):
        return Skipped("the clip has no camera")
    try:
        product = await work.compute("video")
    except InputError as error:
        return Skipped(error.message)
    return Done(product) if product["frames"] else Skipped("no frame can be decoded")


def film(material: Material) -> Product:
    """Make the view. Raises `InputError` when what it takes is not installed."""
    av = pyav()
    if _CODEC not in av.codecs_available:
        raise InputError(f"this PyAV has no {_CODEC}", "av")
    channel = camera_channels(material.manifest)[0]
    with tempfile.TemporaryDirectory(prefix="longtail-video-") as folder:
        path = Path(folder) / NAME  # its index is moved to the front by writing it twice
        product = _encode(av, material, channel, path)
        if not product["frames"]:
            return product
        content = path.read_bytes()
    material.views.put(material.clip_id, NAME, content)
    return product | {"name": NAME, "channel": channel, "size_bytes": len(content)}


def _encode(av: Any, material: Material, channel: str, path: Path) -> Product:
    stream, frames, broken, first_ns, last_tick = None, 0, 0, 0, -1
    with (
        material.open() as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        for sample in images(source, material.manifest, channel):
            try:
                picture = _fitted(pixels(sample, WIDTH_PX))
            except CorruptError:
                broken += 1
                continue
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stream is None:
                first_ns = sample.mono_ns
                stream = _opened(container, frame)
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            # Times rise strictly, or the container refuses them.
            last_tick = max(last_tick + 1, (sample.mono_ns - first_ns) * 90_000 // 10**9)
            frame.pts, frame.time_base = last_tick, _TICK
            container.mux(stream.encode(frame))
            frames += 1
            if frames == MOST_FRAMES:
                break
        if stream is not None:
            container.mux(stream.encode(None))
    seconds = round(last_tick / 90_000, 3) if frames else 0.0
    return {"frames": frames, "broken": broken, "seconds": seconds}


def _opened(container: Any, frame: Any) -> Any:
    """A stream in the size of the first frame; others are fitted to it."""
    film = container.add_stream(_CODEC, rate=30, options=_OPTIONS)
    film.width, film.height = frame.width, frame.height
    film.pix_fmt = "yuv420p"
    film.time_base = film.codec_context.time_base = _TICK
    return film


def _fitted(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """At most twice `WIDTH_PX` wide, with even sides, as the colour format wants them."""
    step = max(1, picture.shape[1] // WIDTH_PX)
    small = picture[::step, ::step]
    height, width = small.shape[0] // 2 * 2, small.shape[1] // 2 * 2
    if not height or not width:
        raise CorruptError("a picture of less than 2 x 2 pixels")
    return np.ascontiguousarray(small[:height, :width])
