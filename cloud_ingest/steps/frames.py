"""The step `frames`: key frames of each camera as JPEG, at begin, fires and end."""

from __future__ import annotations

from pydantic import JsonValue

from cloud_ingest.steps.answering import Product
from cloud_ingest.steps.computing import Material
from cloud_ingest.steps.pictures import as_jpeg, camera_channels, nearest
from cloud_ingest.steps.work import Done, Ending, Skipped, Work
from contracts.clip import ClipManifest
from contracts.errors import CorruptError, InputError

MOST_FIRES = 4
MOST_CAMERAS = 12


def moments(manifest: ClipManifest) -> list[tuple[str, int]]:
    """(what, monotonic time) of the key frames, in the order of time."""
    window = manifest.actual
    fires = sorted({cause.fired_mono_ns for cause in manifest.causes})[:MOST_FIRES]
    inside = [at for at in fires if window.start_mono_ns < at < window.end_mono_ns]
    return [
        ("begin", window.start_mono_ns),
        *(("fire", at) for at in inside),
        ("end", window.end_mono_ns),
    ]


async def frames(work: Work) -> Ending:
    """Camera by camera, the fullest first."""
    if not camera_channels(work.manifest):
        return Skipped("the clip has no camera")
    try:
        return Done(await work.compute("frames"))
    except InputError as error:
        return Skipped(error.message)


def make(material: Material) -> Product:
    """Make the views. Raises `InputError` when what it takes is not installed."""
    manifest = material.manifest
    made: list[JsonValue] = []
    broken = 0
    with material.open() as stream:
        for number, channel in enumerate(camera_channels(manifest)[:MOST_CAMERAS]):
            taken: set[int] = set()
            for what, at_ns in moments(manifest):
                sample = nearest(stream, manifest, channel, at_ns)
                if sample is None or sample.mono_ns in taken:
                    continue
                taken.add(sample.mono_ns)
                try:
                    content = as_jpeg(sample)
                except CorruptError:
                    broken += 1  # one bad picture of a good clip is counted, not hidden
                    continue
                name = f"frame-{number:02d}-{len(taken):02d}.jpg"
                material.views.put(material.clip_id, name, content)
                made.append(
                    {"name": name, "channel": channel, "mono_ns": sample.mono_ns, "at": what}
                )
    return {"frames": made, "broken": broken}
