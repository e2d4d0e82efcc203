"""From the state's releases to a line-up that the runtime can run.

Guarantees: a release is opened from bytes that were verified again by their digest; one whose
files are damaged gives way to the one before, or to what is built in, and is fetched anew; one
that cannot be opened any more is taken back. Nothing is offered before all of it is open.
"""

from __future__ import annotations

import asyncio

import structlog

from contracts.errors import CorruptError, LongtailError
from contracts.ota import Slot
from edge_agent.ota.book import OtaBook
from edge_agent.ota.events import Damaged, Observed
from edge_agent.ota.files import FileStore
from edge_agent.ota.ports import Lineup, ModelRelease, Runtime, SlotFault, SpecRelease
from edge_agent.ota.releases import Loaded, Unfit, open_release
from edge_agent.ota.state import Release, SlotState
from edge_agent.ports import SessionOpener

log = structlog.get_logger(__name__)


def read_contents(files: FileStore, release: Release) -> dict[str, bytes]:
    """A release's verified bytes by path. Raises `CorruptError` for a damaged one, and removes
    the file, so that it is fetched again."""
    contents = {}
    for file in release.files:
        try:
            contents[file.path] = files.read(file)
        except CorruptError:
            files.drop(file)
            raise
    return contents


class LineupKeeper:
    """Opens what the state names and offers it, off the event loop. `opener` opens the networks of
    models, None: the usual one.
    """

    def __init__(
        self, book: OtaBook, files: FileStore, runtime: Runtime,
        opener: SessionOpener | None = None,
    ) -> None:  # fmt: skip
        self._book = book
        self._files = files
        self._runtime = runtime
        self._opener = opener
        self._open: dict[tuple[str, str], Loaded] = {}
        self._lock = asyncio.Lock()

    def add(self, slot: str, digest: str, loaded: Loaded) -> None:
        """A release that was opened and tested already."""
        self._open[slot, digest] = loaded

    async def opened(
        self, slot: Slot, release: Release, contents: dict[str, bytes]
    ) -> Loaded | Unfit:
        """A release, checked and tried."""
        return await asyncio.to_thread(open_release, slot, release, contents, self._opener)

    async def settle(self) -> None:
        """Offer what the state names, when that has changed."""
        async with self._lock:
            while self._book.offer_due:
                self._book.offer_due = False
                for held in self._book.state.slots:
                    await self._open_current(held)
                if not self._book.offer_due:  # else a release gave way to another meanwhile
                    await self._offer()

    async def _open_current(self, held: SlotState) -> None:
        release = held.current
        if release is None or (held.slot, release.digest) in self._open:
            return
        try:
            contents = await asyncio.to_thread(read_contents, self._files, release)
        except LongtailError as error:
            log.error("release_damaged", slot=held.slot, reason=str(error))
            self._book.apply(Damaged(held.slot, release.digest))
            self._book.offer_due = True
            return
        opened = await self.opened(held.parsed, release, contents)
        if isinstance(opened, Unfit):
            log.error("release_unfit", slot=held.slot, reason=opened.reason)
            fault = SlotFault(held.parsed, release.digest, "activate", opened.reason)
            self._book.apply(Observed({}, (fault,)))
            self._book.offer_due = True
            return
        self._open[held.slot, release.digest] = opened

    async def _offer(self) -> None:
        state = self._book.state
        wanted = {
            (held.slot, held.current.digest) for held in state.slots if held.current is not None
        }
        if not wanted <= self._open.keys():
            self._book.offer_due = True  # the state changed while releases were opened
            return
        releases = [self._open[key] for key in sorted(wanted)]
        models = [one for one in releases if isinstance(one, ModelRelease)]
        lineup = Lineup(
            specs=tuple(one for one in releases if isinstance(one, SpecRelease)),
            model=next((one for one in models if not one.slot.shadow), None),
            shadow_model=next((one for one in models if one.slot.shadow), None),
            killed=frozenset(state.killed),
        )
        # The runtime compiles in the thread that offers.
        try:
            await asyncio.to_thread(self._runtime.offer, lineup)
        except BaseException:
            self._book.offer_due = True
            raise
        self._open = {key: self._open[key] for key in wanted}
