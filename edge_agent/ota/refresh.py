"""Asks both repositories what this vehicle shall hold, and takes up what they agree on.

Guarantees: the director is asked first; its kills act as soon as its word is verified, whatever
becomes of the rest; when its word has not changed the image repository is not asked at all, save
for slots that it did not bear out. A word that is refused changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from edge_agent.ota.book import OtaBook
from edge_agent.ota.events import Assigned, Ordered
from edge_agent.ota.fetcher import MetadataFetcher, OtaHttp
from edge_agent.ota.lineup import LineupKeeper
from edge_agent.ota.repositories import Repositories
from edge_agent.ota.trusted_time import TrustedTime
from edge_agent.ota.verify import Word, agree, check_counter, check_floors, read_word

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Refresher:
    """See the module. One refresh at a time."""

    vehicle_id: str
    http: OtaHttp
    repositories: Repositories
    book: OtaBook
    lineup: LineupKeeper
    time: TrustedTime

    async def refresh(self) -> None:
        """Raises `LongtailError` when the director's word, or the image repository's, is refused
        or cannot be had; kills have acted when only the latter failed."""
        word = await self._ask_director()
        state = self.book.state
        # What the image repository did not bear out may have been published since.
        in_doubt = any(not entry.final for entry in state.rejected)
        if word.counter != state.taken_up_counter or in_doubt:
            await self._ask_image(word)

    async def _ask_director(self) -> Word:
        now = self.time.now()
        found = await self._in_thread(
            lambda fetcher: self.repositories.refresh_director(fetcher, now)
        )
        state = self.book.state
        check_floors(state.floors, found.floors)
        word = read_word(found.note, found.files, self.vehicle_id)
        check_counter(word, state, found.floors)
        self.repositories.keep_director()
        if word.counter != state.release_counter:
            log.info("director_ordered", counter=word.counter, killed=word.killed)
        self.book.apply(Ordered(word.counter, word.content, word.killed, found.floors))
        await self.lineup.settle()
        return word

    async def _ask_image(self, word: Word) -> None:
        now = self.time.now()
        paths = tuple(sorted({one.file.path for one in word.files}))
        found = await self._in_thread(
            lambda fetcher: self.repositories.refresh_image(fetcher, now, paths)
        )
        check_floors(self.book.state.floors, found.floors)
        agreed = agree(word, found.files)
        for refusal in agreed.refused:
            log.error("release_refused", slot=refusal.slot, reason=refusal.reason)
        self.book.apply(
            Assigned(word.counter, agreed.releases, agreed.refused, agreed.kept, found.floors)
        )
        await self.lineup.settle()

    async def _in_thread(self, ask: Callable[[MetadataFetcher], Result]) -> Result:
        fetcher = MetadataFetcher(self.http, asyncio.get_running_loop())
        try:
            return await asyncio.to_thread(ask, fetcher)
        finally:
            # A refresh that was given up must not go on asking.
            fetcher.cancel()


class NoRefresher:
    """Asks nobody: there is nothing to trust an answer by."""

    async def refresh(self) -> None:
        return None
