"""All of the mining index's parts, put together: what the routes reach."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.background import Loop
from cloud_ingest.catalog import Catalog, shown_clips
from cloud_ingest.embeddings import Embeddings
from cloud_ingest.mining.captioner import Captioner
from cloud_ingest.mining.facets import Facets
from cloud_ingest.mining.matrix_index import MatrixIndex
from cloud_ingest.mining.pictures import Pictures
from cloud_ingest.mining.saved import SavedSearches
from cloud_ingest.mining.similar import Match, SimilarClips
from cloud_ingest.mining.spaces import Spaces
from cloud_ingest.mining.targets import Targets
from cloud_ingest.query.pages import SIMILARITY, Cursor, parse_cursor, search_digest
from cloud_ingest.query.parser import parse_query
from cloud_ingest.query.tree import Query, Similarity
from contracts.clip_search import ClipPage
from contracts.errors import InputError, LongtailError

_POLL_S = 2.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mining:
    """Searches of all kinds. `loops` for as long as the service runs, then `close`."""

    engine: AsyncEngine
    catalog: Catalog
    index: MatrixIndex
    similar: SimilarClips
    embeddings: Embeddings
    targets: Targets
    spaces: Spaces
    captioner: Captioner
    pictures: Pictures
    facets: Facets
    saved: SavedSearches

    def loops(self, *, is_captioning: bool = True) -> Mapping[str, Loop]:
        """The mining index's own work: durable files, captions, spaces made anew.

        Not `is_captioning`: captions and spaces are left to other replicas.
        """
        return {"mining index": self.index.run, "captions": partial(self._caption, is_captioning)}

    async def _caption(self, is_captioning: bool) -> None:
        is_registered = False
        while True:
            try:
                if not is_registered:
                    await self.spaces.register_all()
                    is_registered = True
                    if not is_captioning:
                        return
                    await asyncio.sleep(_POLL_S)
                worked = await self.captioner.new_clips() or await self.captioner.job_step()
            except (LongtailError, SQLAlchemyError) as error:
                _log.warning("captions wait", error=str(error))
                worked = False
            if not worked:
                await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        """Make the index durable and give its folder free."""
        await self.index.close()

    async def search(
        self, where: str, limit: int, cursor_text: str | None, include_quarantined: bool
    ) -> ClipPage:
        """One page of a search; see `Catalog.search`, and `SimilarClips` for likeness."""
        query = parse_query(where)
        if not isinstance(query.order, Similarity):
            return await self.catalog.search(where, limit, cursor_text, include_quarantined)
        if include_quarantined:
            raise InputError("clips that are set aside are like nothing", "include_quarantined")
        digest = search_digest(where, include_quarantined)
        return await self._alike(query, query.order, digest, limit, cursor_text)

    async def _alike(
        self, query: Query, order: Similarity, digest: str, limit: int, cursor_text: str | None
    ) -> ClipPage:
        left, behind = query.limit, None
        if cursor_text is not None:
            cursor = parse_cursor(cursor_text, digest, SIMILARITY)
            if not isinstance(cursor.value, (int, float)):
                raise InputError("not a cursor of this service", "cursor")
            left, behind = cursor.left, Match(cursor.clip_id, float(cursor.value))
        take = limit if left is None else min(limit, left)
        target = await self.targets.target(order)
        found = await self.similar.nearest(target, take + 1, query.where, behind=behind)
        page = found.clips[:take]
        left = None if left is None else left - take
        following = None
        if len(found.clips) > take and page and left != 0:
            following = Cursor(digest, page[-1].cosine, page[-1].clip_id, left).text()
        shown = await shown_clips(self.engine, [match.clip_id for match in page])
        rows = tuple(
            shown[match.clip_id].model_copy(update={"similarity": match.cosine})
            for match in page
            if match.clip_id in shown
        )
        return ClipPage(clips=rows, cursor=following)
