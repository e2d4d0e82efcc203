"""The step `scene`: a clip that has come counts among the fleet's scenes."""

from __future__ import annotations

from cloud_ingest.scenes.book import FleetScenes
from cloud_ingest.steps.work import Done, Ending, Skipped, Work


async def scene(work: Work) -> Ending:
    """By what the manifest says; clips that are exempt from quotas count as well."""
    if not work.manifest.scenes:
        return Skipped("the clip tells no scene: its place, direction or picture is not known")
    counted = await FleetScenes(work.means.engine, work.means.clock, quota=0, seat_s=0).register(
        work.clip_id, work.manifest.scenes
    )
    if not counted:
        return Skipped("the clip's place is none on Earth")
    return Done({"scenes": list(counted)})
