"""Which clips a turn labels: by the published selector, or by lot for the same money.

The candidate itself says what it is unsure of: passes with dropout before its heads
(`models.student.mc_dropout`), at every second labelled instant of a clip. Scores are kept by the
network's weights.

What is asked for was chosen from about sixty settings, by how many clips of a novelty each buys,
on drives of which some are in this bench's pool and some in its test set: how well choosing does is
not clean of that. As it ships (the mutual information of the three most doubtful boxes, over the
root of the cost) the selector bought motorways, which are cheap and have a doubtful box or two like
any other road, and no more of the town of riders than chance. How far the passes' boxes lie apart,
on average over all boxes of a frame and whatever they cost, found three times as much of either
novelty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.loop_labels import COST
from bench.loop_world import LoopData, PoolClip
from contracts.errors import InputError
from contracts.geometry import TAXONOMY
from contracts.ids import sha256_hex
from contracts.samples import Float32s
from offline.acquisition.adapters.scoring import Scored
from offline.acquisition.adapters.store import ScoreStore
from offline.acquisition.cost import ClipFeatures
from offline.acquisition.draw import lot
from offline.acquisition.records import Candidate, Labelled, SelectorConfig, Shard
from offline.acquisition.scores.clip import Aggregation, Rule, clip_scores
from offline.acquisition.selector import Selector

if TYPE_CHECKING:
    from models.student.inputs import StudentFrame
    from models.student.network import Student
    from offline.acquisition.adapters.ensembles import DropoutEnsemble, SeenFrame

LOOKED_AT = 2
"""Every so many of a clip's labelled instants are looked at."""
MIN_GAP_S = 6.0
WEIGHTS = {"disagreement": 1.0}
COST_EXPONENT = 0.0
AGGREGATION = Aggregation(boxes=Rule(kind="mean"))
_RARE = [TAXONOMY.index(name) for name in TAXONOMY.rare_names]


@dataclass(frozen=True, slots=True)
class Choice:
    """Chosen clips by id, with the stream of each."""

    streams: dict[str, str]


class Asking:
    """A network's word on clips, each asked about once."""

    def __init__(self, data: LoopData, student: Student, weights: str) -> None:
        from models.student.mc_dropout import PASSES, RATE

        self._data, self._student, self._weights = data, student, weights
        told = f"{weights} {PASSES} passes at {RATE:g} {LOOKED_AT} {AGGREGATION}"
        self._store = ScoreStore(data.folder / "scores", sha256_hex(told.encode()))
        self._ensemble: DropoutEnsemble | None = None

    def scored(self, clips: Sequence[PoolClip], told: Callable[[int, int], None]) -> list[Scored]:
        """In the order of the clips."""
        found = []
        for number, clip in enumerate(clips, 1):
            scored = self._store.get(clip.clip_id)
            if scored is None:
                scored = self._score(clip)
                self._store.put(clip.clip_id, scored)
            found.append(scored)
            told(number, len(clips))
        return found

    def unit_embeddings(self, frames: Iterable[StudentFrame]) -> Float32s:
        """Float32 [n, d], each of length 1."""
        from models.student.embedding import embeddings_of

        return _unit(embeddings_of(self._student, frames))

    def _score(self, clip: PoolClip) -> Scored:
        frames = self._data.frames(clip.drive)
        rows = clip.rows[::LOOKED_AT]
        seen = [self._seen(frames.frame(row)) for row in rows]
        often = len(clip.rows) / len(rows)
        likely = np.concatenate([each.likely for each in seen])
        features = ClipFeatures(
            frames=len(clip.rows), boxes=round(often * likely.size),
            rare_boxes=round(often * int(np.isin(likely, _RARE).sum())),
        )  # fmt: skip
        embedding = _unit(_unit(np.array([each.embedding for each in seen])).sum(0)[None])[0]
        return Scored(
            clip_scores((each.evidence for each in seen), aggregation=AGGREGATION),
            features,
            embedding,
            self._weights,
        )

    def _seen(self, frame: StudentFrame) -> SeenFrame:
        from models.student.device import device_of, low_precision
        from models.student.mc_dropout import McDropout
        from models.teacher.boxes import TeacherBoxes
        from offline.acquisition.adapters.ensembles import DropoutEnsemble

        if self._ensemble is None:
            self._ensemble = DropoutEnsemble(
                McDropout(self._student), TeacherBoxes(self._student.config), self._weights, {}
            )
        with low_precision(device_of(self._student), True):
            return self._ensemble.seen(frame)


def selected(
    clips: Sequence[PoolClip], scored: Sequence[Scored], bought: frozenset[str], known: Float32s,
    budget_s: float, seed: int,
) -> Choice:  # fmt: skip
    """By the selector: a random fifth, then what is uncertain, then a fifth of coverage.

    Args:
        clips: the pool, what is `bought` already included; `scored` are theirs.
        known: unit embeddings float32 [n, d] of what the candidate learned from first.

    Raises `InputError` when every clip is bought, or the budget pays for no random clip.
    """
    config = asked_for(budget_s, seed)
    wanted = sorted(config.score_weights)
    free = [k for k, clip in enumerate(clips) if clip.clip_id not in bought]
    if not free:
        raise InputError("every clip of it is bought: a larger one, or a smaller budget", "pool")
    candidates = tuple(
        Candidate(
            clip_id=clips[k].clip_id, drive_id=clips[k].drive.name, start_ns=clips[k].start_ns,
            end_ns=clips[k].end_ns, features=scored[k].features,
            scores={name: scored[k].scores[name] for name in wanted},
        )
        for k in free
    )  # fmt: skip
    space = scored[0].space
    held = [scored[k].embedding for k, clip in enumerate(clips) if clip.clip_id in bought]
    labelled = Labelled(bought, np.concatenate([known, *(each[None] for each in held)]), space)
    shard = Shard(candidates, np.array([scored[k].embedding for k in free]), space)
    report = Selector(config, COST, labelled).select([shard])
    return Choice({each.clip_id: each.stream for each in report.selections})


def asked_for(budget_s: float = 1.0, seed: int = 0) -> SelectorConfig:
    """How a turn chooses."""
    return SelectorConfig(
        budget=budget_s, seed=seed, min_gap_s=MIN_GAP_S, score_weights=WEIGHTS,
        cost_exponent=COST_EXPONENT,
    )  # fmt: skip


def by_lot(
    clip_ids: Sequence[str], seed: int, spend_s: float, cost_s: Callable[[str], float]
) -> Choice:
    """Clip by clip by lot, blind to what they show, until as much as `spend_s` is spent: the last
    one is bought where that comes nearer to it.
    """
    spent, chosen = 0.0, dict[str, str]()
    for clip_id in sorted(clip_ids, key=lambda each: lot(seed, "loop", each)):
        cost = cost_s(clip_id)
        if spent + cost / 2 > spend_s:
            break
        chosen[clip_id] = "random"
        spent += cost
    return Choice(chosen)


def _unit(vectors: Float32s) -> Float32s:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
