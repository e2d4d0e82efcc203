"""`longtail clips like`: clips nearest to one, and a trigger spec that looks for more of them."""

from __future__ import annotations

from pathlib import Path

import yaml

from cli.spec_format import format_spec
from client import CloudClient
from contracts.clip_search import LikePage
from contracts.errors import InputError
from offline.acquisition.similar import similar_document

MOST_ROWS = 1000
"""So many clips a search tells at most."""
_RANDOM = "stream = 'random'"


def fitted_threshold(
    client: CloudClient, clip_id: str, space: str, rate: float
) -> tuple[float, int]:
    """The cosine that a share `rate` of the store's random-stream clips reaches, and how many of
    those clips there are. Each counts alike.

    Raises `InputError` when there are too few to tell, or when the threshold would not be above 0.
    """
    page = client.like(clip_id, _RANDOM, MOST_ROWS, space=space)
    wanted = int(rate * page.compared)
    if wanted < 1:
        raise InputError(
            f"{page.compared} random-stream clips have an embedding of this model; a rate of"
            f" {rate:g} needs {-int(-1 // rate)} or more. Give --threshold", "--rate",
        )  # fmt: skip
    if wanted > len(page.clips):
        raise InputError(f"is fitted to the nearest {MOST_ROWS} clips at most", "--rate")
    cosine = page.clips[wanted - 1].cosine
    if cosine <= 0:
        raise InputError(
            f"reaches down to scenes unlike it (cosine {cosine:g}): give a lower one", "--rate"
        )
    return cosine, page.compared


def similar_spec(clip_id: str, page: LikePage, threshold: float, owner: str, why: str) -> str:
    """A `similar_to` spec for scenes like a clip, in canonical form. Raises `InputError`."""
    document = similar_document(
        clip_id, page.reference.model_digest, page.reference.vector, threshold, owner, why
    )
    return format_spec(yaml.safe_dump(document, sort_keys=False), "spec")


def write_spec(
    client: CloudClient, clip_id: str, page: LikePage, out: Path, *,
    threshold: float | None, rate: float, owner: str,
) -> str:  # fmt: skip
    """Write the spec for a clip to `out`; in words where its threshold comes from."""
    why = "The threshold was given."
    if threshold is None:
        threshold, sample = fitted_threshold(client, clip_id, page.reference.model_digest, rate)
        why = (
            f"{rate:.3g} of {sample} random-stream clips reach the threshold with their mean;"
            " single frames scatter more. Try it with spec backtest --in-clips."
        )
    text = similar_spec(clip_id, page, threshold, owner, why)
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(out)) from error
    return f"cosine {threshold:g}. {why}"
