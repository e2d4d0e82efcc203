"""The steps `embedding` and `caption`: what searches find a clip by.

Both take what is there already: a clip brings its vehicle's embedding. The rest comes from the
ports; without them the steps are skipped.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from cloud_ingest.schema import embeddings
from cloud_ingest.steps.work import Done, Ending, Skipped, Work

MOST_FRAMES = 8


async def embedding(work: Work) -> Ending:
    """The clip's own vector, else one by the encoder from the key frames."""
    query = sa.select(embeddings.c.model_digest).where(embeddings.c.clip_id == work.clip_id)
    async with work.means.engine.connect() as connection:
        spaces = sorted((await connection.execute(query)).scalars())
    encoder = work.means.encoder
    if encoder is None:
        if spaces:
            return Done({"spaces": list(spaces), "by": "vehicle"})
        return Skipped("the clip brings no embedding, and no encoder is set up")
    frames = await asyncio.to_thread(_frames, work)
    if not frames:
        return Skipped("there are no key frames to encode")
    digest = await encoder.embed(work.clip_id, frames)
    return Done({"spaces": sorted({*spaces, digest}), "by": encoder.name})


async def caption(work: Work) -> Ending:
    """By the captioner, which keeps it."""
    if work.means.captioner is None:
        return Skipped("no captioner is set up")
    text = await work.means.captioner.caption(work.clip_id, work.manifest)
    return Done({"caption": text, "by": work.means.captioner.name})


def _frames(work: Work) -> list[bytes]:
    names = [name for name in work.means.views.names(work.clip_id) if name.endswith(".jpg")]
    found = (work.means.views.read(work.clip_id, name) for name in names[:MOST_FRAMES])
    return [content for content in found if content is not None]
