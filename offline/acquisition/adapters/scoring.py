"""One clip: named scores, what its cost is told from, and one embedding.

`EnsembleScorer` opens the clip and asks an ensemble about an instant every `every_s`, the rate
at which it would be labelled. `ToldScorer` takes the vehicle's word from the manifest and opens
nothing: cheap enough for a whole store, but one model alone cannot know what it does not know,
so it has no mutual information.

An embedding is the mean of the frames' unit vectors, scaled to length 1, in the space of the
model that made it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field

from contracts.channels import PERCEPTION_PREFIX
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Finite, Frozen
from contracts.ids import sha256_hex
from contracts.samples import Float32s, Float64s, PerceptionFrame, PoseSample
from kernels.clip import schemas
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from offline.acquisition.adapters.ensembles import Ensemble, SeenFrame
from offline.acquisition.adapters.tracks import tracked
from offline.acquisition.cost import ClipFeatures
from offline.acquisition.scores.clip import Aggregation, FrameEvidence, clip_scores

_HEAD_S = 0.5
"""What lies before the first instant, so that its past is in the clip."""
_OF_SEVERAL = frozenset({"expected_entropy", "mutual_information"})
_VERSION = 1
"""Of what scores mean: another one, and clips are scored anew."""


class ScoringSettings(Frozen):
    """`every_s` between labelled instants; `aggregation` from boxes to the clip."""

    every_s: Finite = Field(0.5, gt=0, le=60)
    aggregation: Aggregation = Aggregation()


@dataclass(frozen=True, slots=True)
class Scored:
    """A clip's scores in 0..1 by name, and its unit embedding float32 [d] in `space`."""

    scores: dict[str, float]
    features: ClipFeatures
    embedding: Float32s
    space: str


class ClipFile(Protocol):
    """A clip that may be looked into."""

    @property
    def manifest(self) -> ClipManifest: ...

    @property
    def path(self) -> Path: ...


class ClipScorer(Protocol):
    """Scores clips. `digest` names all that a score depends on beside the clip."""

    digest: str

    def score(self, clip: ClipFile) -> Scored:
        """Raises `InputError` or `CorruptError` for a clip that cannot be scored."""
        ...


class EnsembleScorer:
    """By an ensemble's opinions, and by how steady the vehicle's own tracks are."""

    def __init__(self, ensemble: Ensemble, settings: ScoringSettings) -> None:
        self._ensemble, self._settings = ensemble, settings
        rare = ensemble.config.taxonomy.rare_names
        self._rare = {ensemble.config.taxonomy.index(name) for name in rare}
        told = f"{_VERSION} {sorted(ensemble.identity.items())} {settings.model_dump_json()}"
        self.digest = sha256_hex(told.encode())

    def score(self, clip: ClipFile) -> Scored:
        from models.data.drives import frames_at

        config, path = self._ensemble.config, clip.path
        manifest = read_manifest(path)
        instants = instants_of(manifest, self._settings.every_s, config.ahead_s)
        if not instants:
            raise InputError("is too short to be looked at", str(path))
        boxes = Counter[int]()
        total = np.zeros(config.embedding_size)

        def evidence() -> Iterator[FrameEvidence]:
            for frame in frames_at(path, instants, config):
                seen = self._ensemble.seen(frame)
                boxes.update(seen.likely.tolist())
                np.add(total, _unit(seen), out=total)
                yield seen.evidence

        tracks = tracked(*_told_by_vehicle(path, manifest))
        scores = clip_scores(evidence(), tracks, self._settings.aggregation)
        if self._ensemble.alone:
            scores = {name: scores[name] for name in scores if name not in _OF_SEVERAL}
        rare = sum(count for kind, count in boxes.items() if kind in self._rare)
        features = ClipFeatures(frames=len(instants), boxes=boxes.total(), rare_boxes=rare)
        return Scored(scores, features, _direction(total, str(path)), self._ensemble.space)


class ToldScorer:
    """By the manifest alone: `uncertainty`, the highest of the vehicle's frames (0 where it saw
    nothing). Boxes are each class's most in one frame, in the share of frames that show it.
    """

    def __init__(self, settings: ScoringSettings) -> None:
        self._every_s = settings.every_s
        self.digest = sha256_hex(f"{_VERSION} told {settings.model_dump_json()}".encode())

    def score(self, clip: ClipFile) -> Scored:
        manifest = clip.manifest
        found = manifest.embedding
        if found is None:
            raise InputError("has no embedding of the vehicle's; let a model score it")
        summary = manifest.summary
        span = manifest.actual.end_mono_ns - manifest.actual.start_mono_ns
        frames = 1 + int(span / NS_PER_S / self._every_s)
        shown = sum(c.messages for c in manifest.channels if c.name.startswith(PERCEPTION_PREFIX))
        boxes = {
            name: math.ceil(seen.max_in_frame * min(1.0, seen.frames / max(shown, 1)) * frames)
            for name, seen in summary.detected_objects.items()
        }
        rare = sum(count for name, count in boxes.items() if name in TAXONOMY.rare_names)
        features = ClipFeatures(frames=frames, boxes=sum(boxes.values()), rare_boxes=rare)
        scores = {"uncertainty": min(1.0, max(0.0, summary.max_uncertainty or 0.0))}
        vector = _direction(np.array(found.vector, dtype=np.float64), "its embedding")
        return Scored(scores, features, vector, found.model_digest)


def instants_of(manifest: ClipManifest, every_s: float, ahead_s: float) -> list[int]:
    """Monotonic times at which a clip is looked at, the past and future that are needed inside."""
    window = manifest.actual
    first = window.start_mono_ns + round(_HEAD_S * NS_PER_S)
    last = window.end_mono_ns - round(ahead_s * NS_PER_S)
    return list(range(first, last + 1, round(every_s * NS_PER_S)))


def _unit(seen: SeenFrame) -> Float64s:
    vector = seen.embedding.astype(np.float64)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def _direction(total: Float64s, place: str) -> Float32s:
    length = float(np.linalg.norm(total))
    if not (math.isfinite(length) and length > 0):
        raise InputError("its embedding has no direction", place)
    return np.asarray(total / length, dtype=np.float32)


def _told_by_vehicle(
    path: Path, manifest: ClipManifest
) -> tuple[list[PerceptionFrame], list[PoseSample]]:
    """What the vehicle's model saw, and its poses; pictures and sweeps stay undecoded."""
    wanted = (schemas.PERCEPTION, schemas.TRANSFORM)
    decoder = PayloadDecoder()
    frames: list[PerceptionFrame] = []
    poses: list[PoseSample] = []
    for message in read_messages(path):
        if message.schema.name not in wanted:
            continue
        mono_ns = message.log_ns - manifest.utc_minus_mono_ns
        sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
        if isinstance(sample, PerceptionFrame):
            frames.append(sample)
        elif isinstance(sample, PoseSample):
            poses.append(sample)
    return frames, poses
