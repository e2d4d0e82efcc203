"""What goes into a selection and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from offline.acquisition.cost import ClipFeatures, CostModel, CostUnit

Stream = Literal["random", "quota", "uncertainty", "coverage"]
STREAMS: tuple[Stream, ...] = ("random", "quota", "uncertainty", "coverage")
Text = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]


class Candidate(Frozen):
    """A clip that may be labelled.

    `start_ns` and `end_ns` are on one clock within a drive. `slices` as `tag=value`. `scores` by
    name, each in 0..1 (`offline.acquisition.scores`). `fleet_stream` and `fleet_probability` are
    the manifest's `stream` and `inclusion_probability`: why the vehicle sent it.
    """

    clip_id: Sha256Hex
    drive_id: Text
    start_ns: int
    end_ns: int
    causes: tuple[Text, ...] = ()
    slices: tuple[Text, ...] = ()
    scores: dict[str, Share]
    features: ClipFeatures
    fleet_stream: Literal["triggered", "random"] = "triggered"
    fleet_probability: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Candidate:
        if self.end_ns < self.start_ns:
            raise ValueError("end_ns: a clip ends after it starts")
        return self


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the pool: candidates and their embeddings [n, d], made by the model whose digest
    is `space`. Embeddings of different models are not comparable.
    """

    candidates: tuple[Candidate, ...]
    embeddings: NDArray[np.floating]
    space: str

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.candidates):
            shape = list(self.embeddings.shape)
            raise InputError(f"have shape {shape} for {len(self.candidates)} clips", "embeddings")


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is labelled already: never chosen again, and covered. `space` as a shard's."""

    clip_ids: frozenset[str]
    embeddings: NDArray[np.floating]
    space: str

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2:
            shape = list(self.embeddings.shape)
            raise InputError(f"have shape {shape}, expected [n, d]", "labelled embeddings")


class Quota(Frozen):
    """At least and at most how many clips of a cause or of a slice one selection holds.

    All streams count towards both; `at_most` does not bind the random stream, whose
    probabilities must hold.
    """

    kind: Literal["cause", "slice"]
    name: Text
    at_least: int = Field(0, ge=0, le=100_000)
    at_most: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _bounds_agree(self) -> Quota:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}")
        return self

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.name}"

    def holds(self, candidate: Candidate) -> bool:
        return self.name in (candidate.causes if self.kind == "cause" else candidate.slices)


class SelectorConfig(Frozen):
    """How one turn chooses.

    Attributes:
        budget: in the cost model's unit; the expected costs never exceed it.
        seed: of the random stream; a new one each turn (`offline.acquisition.draw`).
        random_share: of the budget, at mean cost. Every selection has a random stream.
        random_from: `pool`, or only what the vehicles sent by their own random stream: then the
            clip's probability among all that was driven is the product of both.
        random_most: no more random clips than this, whatever the budget.
        coverage_share: of the budget, kept for coverage whatever the scores say.
        score_weights: the clip's uncertainty is the weighted mean of these scores.
        novelty_exponent, cost_exponent: gain = uncertainty * distance to the nearest centre **
            novelty / expected cost ** cost; coverage's gain is distance / expected cost ** cost.
            Novelty is 0 unless asked for: what lies apart in the student's embedding is odd
            scenery more often than a rare object, and costs what it promises (docs/acquisition.md).
        min_gap_s: directed clips of a drive lie at least so far from all that was chosen of it.
        min_distance: and so far in embedding space from all that is labelled or chosen.
        shortlist: how many of the best by uncertainty and cost are held in memory, and as many
            by lot for coverage.
        quotas: the earlier ones win where the budget does not pay for all.
    """

    schema_version: Literal[1] = 1
    budget: Finite = Field(gt=0)
    seed: int = Field(ge=0)
    random_share: float = Field(0.2, gt=0, le=1)
    random_from: Literal["pool", "fleet_random"] = "pool"
    random_most: int = Field(10_000, ge=1, le=1_000_000)
    coverage_share: Share = 0.2
    score_weights: dict[str, Annotated[Finite, Field(gt=0)]] = Field(
        default_factory=lambda: {"mutual_information": 1.0}, min_length=1
    )
    novelty_exponent: float = Field(0.0, ge=0, le=8)
    cost_exponent: float = Field(0.5, ge=0, le=8)
    min_gap_s: Finite = Field(0.0, ge=0)
    min_distance: Finite = Field(0.0, ge=0)
    shortlist: int = Field(10_000, ge=1, le=1_000_000)
    quotas: tuple[Quota, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> SelectorConfig:
        if self.random_share + self.coverage_share > 1:
            raise ValueError("random_share and coverage_share exceed the budget")
        labels = [quota.label for quota in self.quotas]
        if len(set(labels)) != len(labels):
            raise ValueError("quotas: two for the same cause or slice")
        return self


class Reason(Frozen):
    """One thing that spoke for a clip: its lot, a quota that it fills, a weighted score, or its
    distance to the nearest that was labelled or chosen before (None where nothing was).
    """

    kind: Literal["random", "quota", "score", "coverage"]
    name: str
    value: Finite | None = None


class Selection(Frozen):
    """One clip to label.

    `inclusion_probability` is the random stream's; None for the directed streams, whose clips
    were chosen for what they show and say nothing unbiased of the pool. The main reason is first.
    """

    schema_version: Literal[1] = 1
    clip_id: Sha256Hex
    stream: Stream
    reasons: tuple[Reason, ...] = Field(min_length=1)
    inclusion_probability: float | None = Field(None, gt=0, le=1)
    fleet_probability: float | None = Field(None, gt=0, le=1)
    expected_cost: Finite = Field(gt=0)
    causes: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _random_has_a_probability(self) -> Selection:
        if (self.stream == "random") != (self.inclusion_probability is not None):
            raise ValueError("inclusion_probability: of the random stream, and only of it")
        return self


class Total(Frozen):
    """How many clips, and what they are expected to cost."""

    clips: int
    expected_cost: float


Unmet = Literal["candidates", "shortlist", "blocked", "budget"]


class QuotaOutcome(Frozen):
    """`unmet` tells why too few were chosen: `candidates` (the pool holds no more), `shortlist`
    (it may, out of memory's reach), `blocked` (too close to others, or another quota's limit) or
    `budget`; None when the quota is met.
    """

    quota: Quota
    in_pool: int
    chosen: int
    unmet: Unmet | None = None


class SelectionReport(Frozen):
    """One turn's selection: every clip with why and what it costs, in the order of choice.

    `population` counts the clips that the random stream drew from, `pool` all that could be
    chosen; `already_labelled` were offered and left out. Totals by reason count a clip under its
    main reason; those by cause and slice under each of its own.
    """

    schema_version: Literal[1] = 1
    config: SelectorConfig
    cost_model: CostModel
    unit: CostUnit
    pool: int
    population: int
    already_labelled: int
    inclusion_probability: float
    spent: float
    left: float
    by_stream: dict[str, Total]
    by_reason: dict[str, Total]
    by_cause: dict[str, Total]
    by_slice: dict[str, Total]
    quotas: tuple[QuotaOutcome, ...]
    selections: tuple[Selection, ...]
