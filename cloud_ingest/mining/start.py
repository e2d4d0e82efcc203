"""Puts the mining index together for one service process."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.catalog import Catalog
from cloud_ingest.embeddings import Embeddings
from cloud_ingest.mining.bert import installed_encoder, open_encoder
from cloud_ingest.mining.captioner import Captioner
from cloud_ingest.mining.desk import Mining
from cloud_ingest.mining.facets import Facets
from cloud_ingest.mining.matrix_index import MatrixIndex
from cloud_ingest.mining.picture_encoder import PictureEncoder
from cloud_ingest.mining.pictures import Pictures
from cloud_ingest.mining.saved import SavedSearches
from cloud_ingest.mining.similar import SimilarClips
from cloud_ingest.mining.spaces import Spaces, caption_space
from cloud_ingest.mining.targets import Targets
from cloud_ingest.mining.text_ports import TextEncoder
from cloud_ingest.settings import Settings
from contracts.clock import Clock


def text_encoders(settings: Settings) -> tuple[TextEncoder, ...]:
    """The model that the settings name, then the wheel's; none when neither is there.

    Raises `InputError` for one that cannot be run.
    """
    installed = installed_encoder()
    named = None if settings.text_model is None else open_encoder(settings.text_model.resolve())
    return tuple(encoder for encoder in (named, installed) if encoder is not None)


def picture_encoder(settings: Settings) -> PictureEncoder | None:
    """The model that the settings name. Raises `InputError` for one that cannot be run."""
    return None if settings.picture_model is None else PictureEncoder(settings.picture_model)


def open_mining(
    engine: AsyncEngine, clock: Clock, folder: Path, catalog: Catalog,
    encoders: tuple[TextEncoder, ...], pictures: PictureEncoder | None,
) -> Mining:  # fmt: skip
    """The parts over one database; files lie under `folder`."""
    index = MatrixIndex(engine, folder)
    similar = SimilarClips(engine, index)
    embeddings = Embeddings(engine, similar)
    spaces = Spaces(engine, clock, {caption_space(encoder): encoder for encoder in encoders})
    return Mining(
        engine=engine,
        catalog=catalog,
        index=index,
        similar=similar,
        embeddings=embeddings,
        targets=Targets(engine, embeddings, spaces.encoders),
        spaces=spaces,
        captioner=Captioner(engine, clock, spaces),
        pictures=Pictures(engine, clock, spaces, pictures),
        facets=Facets(engine),
        saved=SavedSearches(engine, clock),
    )
