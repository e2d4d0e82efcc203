"""What one turn of acquisition is asked for, as a file, and what it answers.

The file is YAML written by hand, so unknown keys are errors:

    apiVersion: longtail/acquisition/v1
    unit: labeller_s            # or boxes; cost_model: {...} instead of the defaults
    every_s: 0.5                # between labelled instants
    aggregation: {frames: {kind: top_mean, k: 5}}
    select: {budget: 40000, seed: 7, quotas: [{kind: slice, name: tod=night, at_least: 5}]}
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from offline.acquisition.adapters.pool import LeftOut, ScoredClips
from offline.acquisition.adapters.scoring import ScoringSettings
from offline.acquisition.adapters.sources import ClipSource
from offline.acquisition.cost import DEFAULTS, CostModel, CostUnit
from offline.acquisition.records import Labelled, SelectionReport, SelectorConfig
from offline.acquisition.scores.clip import Aggregation
from offline.acquisition.selector import Selector


class AcquisitionRequest(Frozen):
    """How clips are scored, what they cost and how one turn chooses among them."""

    apiVersion: Literal["longtail/acquisition/v1"] = "longtail/acquisition/v1"
    unit: CostUnit = "boxes"
    cost_model: CostModel | None = None
    every_s: float = Field(0.5, gt=0, le=60)
    aggregation: Aggregation = Aggregation()
    select: SelectorConfig

    @model_validator(mode="after")
    def _units_agree(self) -> AcquisitionRequest:
        if self.cost_model is not None and self.cost_model.unit != self.unit:
            raise ValueError(f"cost_model is in {self.cost_model.unit}, unit is {self.unit}")
        return self

    @property
    def scoring(self) -> ScoringSettings:
        return ScoringSettings(every_s=self.every_s, aggregation=self.aggregation)

    @property
    def costs(self) -> CostModel:
        return self.cost_model or DEFAULTS[self.unit]


def read_request(path: Path) -> AcquisitionRequest:
    """A request from its file. Raises `InputError` with line and column."""
    return validate_located(AcquisitionRequest, parse_yaml(read_text(path), str(path)))


class AcquisitionReport(Frozen):
    """One turn: the selection, by which scorer and model, where the chosen clips are, and the
    clips that could not be used.
    """

    schema_version: Literal[1] = 1
    request: AcquisitionRequest
    scorer: Sha256Hex
    space: Sha256Hex
    scored: int
    reused: int
    places: dict[Sha256Hex, str]
    left_out: tuple[LeftOut, ...]
    selection: SelectionReport


def acquire(
    request: AcquisitionRequest,
    clips: ScoredClips,
    pool: Iterable[ClipSource],
    labelled: Iterable[ClipSource] = (),
) -> AcquisitionReport:
    """Score what has not been scored, and choose.

    Raises:
        InputError: a labelled clip or all of the pool cannot be used, embeddings of different
            models meet, or the selector refuses (`offline.acquisition.selector`).
    """
    known = clips.labelled(labelled)
    shards = clips.shards(pool)
    first = next(shards, None)
    if first is None:
        why = "; ".join(f"{one.place}: {one.reason}" for one in clips.left_out[:3])
        raise InputError(f"no clip can be chosen{': ' + why if why else ''}", "pool")
    if known is None:
        width = first.embeddings.shape[1]
        known = Labelled(frozenset(), np.zeros((0, width), np.float32), first.space)
    selection = Selector(request.select, request.costs, known).select(chain([first], shards))
    chosen = [one.clip_id for one in selection.selections]
    return AcquisitionReport(
        request=request, scorer=clips.scorer.digest, space=known.space, scored=clips.scored,
        reused=clips.reused, places={name: clips.places[name] for name in chosen},
        left_out=tuple(clips.left_out), selection=selection,
    )  # fmt: skip
