"""What people search by, for operators and programs: spaces, pictures, facets, saved searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

from pydantic import ValidationError

from client.http import HttpService, Retries
from contracts.clip import ClipEmbedding
from contracts.clip_search import ClipPage, ClipRow
from contracts.errors import InputError
from contracts.ids import parse_name
from contracts.mining import (
    FacetPage,
    Picture,
    ReembedRequest,
    SavedSearch,
    SavedSearchPage,
    SavedSearchRequest,
    SpacePage,
    SpaceRow,
)

_PAGE = 500


class MiningClient:
    """Calls of one person; arguments and errors as of `CloudClient`."""

    def __init__(
        self,
        base_url: str,
        operator_token: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        self._service = HttpService(base_url, operator_token, timeout_s, retries or Retries())

    def spaces(self) -> tuple[SpaceRow, ...]:
        """All spaces of vectors, and how far each is made."""
        return self._service.get("/v1/spaces", SpacePage).spaces

    def reembed(self, space: str, *, makes_default: bool = True) -> SpaceRow:
        """Start to make all vectors of a space of captions, named by its digest's beginning."""
        wanted = ReembedRequest(makes_default=makes_default)
        return self._service.post(f"/v1/spaces/{parse_name(space)}/reembed", wanted, SpaceRow)

    def put_picture(self, picture: Path | ClipEmbedding) -> Picture:
        """Give a JPEG, or a picture's vector, that a search may name by the answer's id."""
        if isinstance(picture, ClipEmbedding):
            return self._service.post("/v1/pictures", picture, Picture)
        try:
            content = picture.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", str(picture)) from error
        headers = {"Content-Type": "image/jpeg"}
        return self._service.post_bytes("/v1/pictures", content, headers, Picture)

    def facets(self, where: str = "", columns: Sequence[str] = (), *, most: int = 20) -> FacetPage:
        """How many clips have each value of some columns, among those that `where` lets through.

        Args:
            columns: of texts, lists or truth values; the usual ones when none is named.
            most: values of a column.
        """
        query = urlencode([("where", where), ("most", most), *(("column", c) for c in columns)])
        return self._service.get(f"/v1/facets?{query}", FacetPage)

    def saved_searches(self, owner: str | None = None) -> tuple[SavedSearch, ...]:
        """Saved searches by name, of one owner or all."""
        query = {} if owner is None else {"owner": owner}
        return self._service.get("/v1/saved-searches", SavedSearchPage, query).searches

    def save_search(self, name: str, where: str, owner: str, description: str = "") -> SavedSearch:
        """Keep a search under a name, in place of the owner's own of that name."""
        try:
            request = SavedSearchRequest(owner=owner, where=where, description=description)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(first["msg"], str(first["loc"][-1])) from error
        return self._service.put_json(_path(name), request, SavedSearch)

    def forget_search(self, name: str, owner: str) -> None:
        """Forget an owner's search."""
        query = urlencode({"owner": parse_name(owner, "owner")})
        with self._service.open("DELETE", f"{_path(name)}?{query}"):
            pass

    def run_search(self, name: str, limit: int | None = None) -> Iterator[ClipRow]:
        """The clips of a saved search, page by page as they are read; at most `limit`."""
        left, cursor = limit, None
        while left is None or left > 0:
            query: dict[str, str | int] = {"limit": _PAGE if left is None else min(_PAGE, left)}
            if cursor is not None:
                query["cursor"] = cursor
            page = self._service.get(f"{_path(name)}/clips", ClipPage, query)
            yield from page.clips
            cursor = page.cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.clips)


def _path(name: str) -> str:
    return f"/v1/saved-searches/{parse_name(name, 'name')}"
