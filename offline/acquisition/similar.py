"""A trigger spec of the kind `similar_to` for scenes like a clip, as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.embedding import embedding_text
from contracts.ids import parse_name


def similar_document(
    clip_id: str, space: str, vector: Sequence[float], threshold: float, owner: str, why: str
) -> dict[str, Any]:
    """`space` is the digest of the model that made `vector`; `threshold` the least cosine."""
    return {
        "apiVersion": "longtail/v1",
        "kind": "similar_to",
        "id": parse_name(f"like-{clip_id[:12]}"),
        "version": 1,
        "owner": owner,
        "description": f"Scenes like clip {clip_id[:12]}. {why}",
        "when": {
            "space": space, "reference": embedding_text(vector), "similarity": threshold,
        },
    }  # fmt: skip
