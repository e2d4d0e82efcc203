"""Brings ordered releases onto the vehicle: fetched, verified, tested beside what runs.

Guarantees: a model is fetched on links without cost only, and says that it waits; a release that
nobody wants any more is not fetched on; its self-test is noted on the disk before it begins, so
that one which takes the process down is not tried for ever. What runs is not touched before the
test has passed and the state that names the release is durable.
"""

from __future__ import annotations

import asyncio

import structlog

from contracts.errors import LongtailError
from contracts.ota import parse_slot
from edge_agent.ota.book import OtaBook
from edge_agent.ota.download import Downloader
from edge_agent.ota.events import TestBegun, Tested
from edge_agent.ota.files import FileStore
from edge_agent.ota.lineup import LineupKeeper, read_contents
from edge_agent.ota.releases import Unfit
from edge_agent.ota.state import Release
from edge_agent.ota.step import pending
from edge_agent.ports import LinkMonitor
from edge_agent.upload.payload import StoppedError
from edge_agent.upload.policy import is_metered

WAITS_FOR_FREE_LINK = "waits for an unmetered link"

log = structlog.get_logger(__name__)


class Stager:
    """One pass at a time (`stage`). `reasons` tells, by slot, why a release is not here yet."""

    def __init__(
        self,
        book: OtaBook,
        files: FileStore,
        downloader: Downloader,
        lineup: LineupKeeper,
        links: LinkMonitor,
    ) -> None:
        self._book = book
        self._files = files
        self._downloader = downloader
        self._lineup = lineup
        self._links = links
        self.reasons: dict[str, str] = {}

    async def stage(self) -> bool:
        """Try all that is pending once. False when some of it has to be tried again."""
        self._book.fetch_due = False
        self._collect()
        for slot, release in pending(self._book.state):
            reason = self._reason_to_leave(slot, release)
            try:
                if reason is None:
                    await self._stage(slot, release)
            except LongtailError as error:
                reason = str(error)
            if reason is None:
                self.reasons.pop(slot, None)
            elif self.reasons.get(slot) != reason:
                self.reasons[slot] = reason
                log.info("release_not_staged", slot=slot, path=release.path, reason=reason)
        left = {slot for slot, _ in pending(self._book.state)}
        self.reasons = {slot: why for slot, why in self.reasons.items() if slot in left}
        self._collect()
        return not left

    async def _stage(self, slot: str, release: Release) -> None:
        def gate() -> None:
            reason = self._reason_to_leave(slot, release)
            if reason is not None:
                raise StoppedError(reason)

        for file in release.files:
            await self._downloader.fetch(file, gate)
        contents = await asyncio.to_thread(read_contents, self._files, release)
        gate()
        self._book.apply(TestBegun(slot), required=True)
        opened = await self._lineup.opened(parse_slot(slot), release, contents)
        if isinstance(opened, Unfit):
            log.error("release_rejected", slot=slot, path=release.path, reason=opened.reason)
            self._book.apply(
                Tested(slot, release.digest, release.attempt, opened.stage, opened.reason)
            )
            return
        self._lineup.add(slot, release.digest, opened)
        self._book.apply(Tested(slot, release.digest, release.attempt), required=True)
        log.info("release_ready", slot=slot, path=release.path, digest=release.digest)
        await self._lineup.settle()

    def _reason_to_leave(self, slot: str, release: Release) -> str | None:
        if (slot, release) not in pending(self._book.state):
            return "not wanted any more"
        if parse_slot(slot).kind == "model" and is_metered(self._links.link()):
            return WAITS_FOR_FREE_LINK
        return None

    def _collect(self) -> None:
        """Remove files that neither the state in memory nor the one on the disk names."""
        if not self._book.collect_due:
            return
        try:
            self._files.collect(self._book.needed_files())
            self._book.collect_due = False
        except LongtailError as error:
            log.warning("files_not_collected", reason=str(error))
