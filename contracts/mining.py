"""What people search by beside a condition: spaces, pictures, saved searches, facets.

| call                                            | answer                                       |
|-------------------------------------------------|----------------------------------------------|
| GET /v1/spaces                                  | `SpacePage`                                  |
| POST /v1/spaces/{space}/reembed                 | `SpaceRow`, for a `ReembedRequest`           |
| POST /v1/pictures                               | `Picture`, for a JPEG or a `ClipEmbedding`   |
| GET /v1/facets?column=&where=                   | `FacetPage`                                  |
| PUT, DELETE /v1/saved-searches/{name}           | `SavedSearch`, for a `SavedSearchRequest`    |
| GET /v1/saved-searches?owner=                   | `SavedSearchPage`                            |
| GET /v1/saved-searches/{name}/clips             | `ClipPage`                                   |
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.clip import Wire
from contracts.ids import Name, Sha256Hex

MAX_WHERE = 10_000


class Reembedding(Wire):
    """How far the making of a space's vectors has come: clips done of all there were at start."""

    done: int
    total: int
    embedded: int
    started_utc_ns: int
    finished_utc_ns: int | None = None


class SpaceRow(Wire):
    """A space: vectors of one encoder, compared with each other only.

    `kind` is `caption` (sentences find clips there), `picture`, or `model` (embeddings of a
    vehicle's or a student's network). `is_default`: searches of its kind use it unless they name
    another. `can_embed`: this service has its encoder.
    """

    space: Sha256Hex
    kind: Literal["caption", "picture", "model"]
    encoder: str
    vectors: int
    is_default: bool = False
    can_embed: bool = False
    reembedding: Reembedding | None = None


class SpacePage(Wire):
    spaces: tuple[SpaceRow, ...]


class ReembedRequest(Wire):
    """`makes_default`: searches turn to the space once all clips are in it."""

    makes_default: bool = True


class Picture(Wire):
    """A picture that a search may name: `ORDER BY similarity TO picture('<picture_id>')`."""

    picture_id: Sha256Hex
    space: Sha256Hex


class FacetValue(Wire):
    """`value` is None for the clips that do not know it."""

    value: str | bool | None
    clips: int


class Facet(Wire):
    """How many clips have each value of a column, the most frequent first.

    `others` counts the values that are left out, with all their clips; a clip with a list counts
    once for each of its values.
    """

    column: str
    values: tuple[FacetValue, ...]
    other_values: int = 0
    other_clips: int = 0


class FacetPage(Wire):
    clips: int
    facets: tuple[Facet, ...]


class SavedSearchRequest(Wire):
    """A search to be kept under a name, by its owner only."""

    owner: Name
    where: str = Field(max_length=MAX_WHERE)
    description: str = Field("", max_length=1000)


class SavedSearch(Wire):
    name: Name
    owner: Name
    where: str
    description: str = ""
    saved_utc_ns: int


class SavedSearchPage(Wire):
    searches: tuple[SavedSearch, ...]
