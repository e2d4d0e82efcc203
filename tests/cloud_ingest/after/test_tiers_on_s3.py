"""Tiers on S3: a move between them and the sweep of any replica are in each other's way nowhere."""

from __future__ import annotations

import httpx

from contracts.clock import VirtualClock
from tests.cloud_ingest.after.test_tiers import RULES, days, settle, uploaded
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.s3_fake import FakeS3
from tests.cloud_ingest.s3_support import clip, cloud_on, enrolled, s3

__all__ = ["s3"]


def test_a_sweep_leaves_a_clip_that_is_coming_back(start_cloud: StartCloud, s3: FakeS3) -> None:
    clock = VirtualClock()
    adapters = {"clock": clock}
    server = cloud_on(start_cloud, s3, adapters=adapters, tiers=RULES)
    other = cloud_on(start_cloud, s3, adapters=adapters, tiers=RULES)
    sweeps: list[str] = []

    def sweep_between(operation: str, key: str) -> None:
        """Another replica sweeps when the clip's parts are about to come, and to be completed."""
        if operation in ("UploadPart", "CompleteMultipartUpload") and "/raw/" in key:
            sweeps.append(operation)
            other.run(other.app.state.collector.sweep())

    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id, content = uploaded(enrolled(http), 1)
        days(server, clock, 31)
        settle(server)
        assert s3.names() == [f"clips/fleet/cold/{clip_id[:2]}/{clip_id}.mcap"]
        assert clip(http, clip_id) == content
        # What a replica left that was killed while it moved this clip, and one that is nobody's.
        s3.create(f"clips/fleet/raw/{clip_id[:2]}/{clip_id}.mcap")
        s3.create(f"clips/fleet/raw/00/{'0' * 64}.mcap")
        s3.before = sweep_between
        settle(server)
        s3.before = lambda operation, key: None
        assert sweeps == ["UploadPart", "CompleteMultipartUpload"]
        assert s3.names() == [f"clips/fleet/raw/{clip_id[:2]}/{clip_id}.mcap"]
        assert clip(http, clip_id) == content
        assert len(s3.multiparts) == 1
        other.run(other.app.state.collector.sweep())
        assert s3.multiparts == {}
