"""The snapshot's clips, on this machine: product/clips/ID.mcap."""

from __future__ import annotations

import os

from client import CloudClient
from contracts.errors import CorruptError, InputError
from contracts.ids import digest_file
from offline.datasets.export import place_file
from offline.pipeline.cloud import cloud_url
from offline.pipeline.work import Result, Work

CLIPS = "clips"


def ingest(work: Work) -> Result:
    """Fetch what is not here. Raises `CorruptError` for a clip that is not what its id says."""
    out, kept = work.product / CLIPS, work.shared / CLIPS
    for folder in (out, kept):
        folder.mkdir(parents=True, exist_ok=True)
    size_bytes, fetched = 0, 0
    for number, clip in enumerate(work.turn.clips, start=1):
        path = kept / f"{clip.clip_id}.mcap"
        if not path.is_file():
            if clip.path is not None:
                place_file(clip.path, path)
            else:
                _cloud(work).pull(clip.clip_id, kept)
                fetched += 1
        if digest_file(path).clip_id() != clip.clip_id:
            raise CorruptError("the clip is not what its id says", str(path))
        place_file(path, out / path.name)
        size_bytes += path.stat().st_size
        work.say(f"{number} of {len(work.turn.clips)} clips")
    return Result({"clips": len(work.turn.clips), "bytes": size_bytes, "fetched": fetched})


def _cloud(work: Work) -> CloudClient:
    url = cloud_url(work.spec.ingest.url)
    if url is None:
        raise InputError("say where the cloud is: `ingest.url` or LONGTAIL_CLOUD", work.turn.name)
    return CloudClient(url, os.environ.get("LONGTAIL_OPERATOR_TOKEN"))
