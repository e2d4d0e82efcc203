"""What happens after a commit, put together: steps, scenes, tiers, erasures, webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.background import Loop
from cloud_ingest.erasure.erasures import Erasures
from cloud_ingest.ports import ObjectStore
from cloud_ingest.scenes.book import FleetScenes
from cloud_ingest.scenes.lists import FleetSceneLists
from cloud_ingest.settings import Settings
from cloud_ingest.steps.book import StepBook
from cloud_ingest.steps.chores import Chores
from cloud_ingest.steps.computing import Computing, InProcesses, InThreads
from cloud_ingest.steps.on_ray import OnRay, RayDriver
from cloud_ingest.steps.ports import Captioner, Encoder, ViewStore
from cloud_ingest.steps.progress import StepProgress
from cloud_ingest.steps.runner import StepRunner
from cloud_ingest.steps.table import STEPS
from cloud_ingest.steps.views import open_views
from cloud_ingest.steps.work import Means
from cloud_ingest.stores.opening import open_cold_objects, open_log_objects
from cloud_ingest.tiers.pins import Pins
from cloud_ingest.tiers.storage import Storage
from cloud_ingest.tiers.store import TieredObjects
from cloud_ingest.webhooks.book import WebhookBook
from cloud_ingest.webhooks.sender import WebhookSender
from contracts.clock import Clock


@dataclass(frozen=True, slots=True)
class AfterCommit:
    """What the routes reach, and the loops that run beside them; `close` once these have ended.

    `objects` holds the clips of both tiers, and takes note of who reads which.
    """

    objects: TieredObjects
    views: ViewStore
    book: StepBook
    progress: StepProgress
    runner: StepRunner
    chores: Chores
    scenes: FleetScenes
    scene_lists: FleetSceneLists
    storage: Storage
    pins: Pins
    erasures: Erasures
    webhooks: WebhookBook
    sender: WebhookSender
    computing: Computing
    works: bool

    def loops(self) -> Mapping[str, Loop]:
        """None where this replica leaves the work to others."""
        if not self.works:
            return {}
        loops = {"steps": self.runner.run, "chores": self.chores.run}
        # Strangers' servers are at the other end: they hold up nothing of ours.
        return loops | {"webhooks": self.sender.run}

    async def close(self) -> None:
        """End the processes that compute for steps."""
        await self.computing.close()


def open_after_commit(
    engine: AsyncEngine,
    clock: Clock,
    settings: Settings,
    hot: ObjectStore,
    encoder: Encoder | None = None,
    captioner: Captioner | None = None,
    ray: RayDriver | None = None,
    failed: Callable[[str], None] = lambda _: None,
) -> AfterCommit:
    """Without encoder or captioner their steps are skipped, and say so. Heavy steps go to `ray`.

    `failed` is told of each failure after which the work goes on, by its loop or chore.
    """
    views = open_views(settings)
    cold = open_cold_objects(settings)
    objects, quiet = TieredObjects(hot, cold), TieredObjects(hot, cold)
    book = StepBook(engine, clock, settings.steps_lease_s)
    works = settings.steps_workers > 0
    computing: Computing = InProcesses(settings) if works else InThreads(quiet, views)
    if ray is not None:
        computing = OnRay(ray, computing)
    means = Means(engine, views, clock, computing, encoder, captioner)
    scenes = FleetScenes(engine, clock, settings.scene_quota, settings.upload_expiry_s)
    lists = FleetSceneLists(engine, clock, scenes, settings.scene_list_s)
    storage = Storage(engine, clock, objects, settings.tiers)
    erasures = Erasures(engine, clock, quiet, open_log_objects(settings), views)
    chores = Chores(
        clock,
        settings.steps_poll_s,
        {
            "erasures": erasures.go_on,
            "scene lists": lists.make_when_due,
            "tiers": storage.chore,
        },
        failed,
    )
    workers, poll_s = settings.steps_workers, settings.steps_poll_s
    return AfterCommit(
        objects=objects,
        views=views,
        book=book,
        progress=StepProgress(engine, tuple(STEPS)),
        runner=StepRunner(book, STEPS, means, workers, poll_s, failed),
        chores=chores,
        scenes=scenes,
        scene_lists=lists,
        storage=storage,
        pins=Pins(engine, clock),
        erasures=erasures,
        webhooks=WebhookBook(engine, clock),
        sender=WebhookSender(engine, clock, poll_s, failed),
        computing=computing,
        works=works,
    )
