"""Class heads over a frozen student's cells, retrained without their forgetting what they knew.

The same restraint as of a whole network (`models.student.retrain`), in seconds: replayed cells,
the heads' own word of before, an elastic pull by the diagonal Fisher information, the blend. Boxes,
features and embedding are the frozen student's; what is `held` is theirs, and has no meaning here.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s
from models.student.cells import CellFrames
from models.student.heads import CellHeads, HeadRecipe, near_objects, one_thread
from models.student.losses import focal_loss
from models.student.retrain import Restraint, blended
from models.student.train import one_cycle
from models.student.word import SURE

_MAX_GRADIENT = 10.0


@dataclass(frozen=True, slots=True)
class _Cells:
    """All c cells of some frames: `features` [c, d], `targets` [c, classes], `counted` [c];
    `near` int64 [n] those near an object and their cumulative `odds` float64 [n].
    """

    features: Tensor
    targets: Tensor
    counted: Tensor
    near: Int64s
    odds: Float64s

    def drawn(self, count: int, share_near: float, rng: np.random.Generator) -> Tensor:
        """`count` places, int64."""
        close = round(share_near * count)
        places = [
            self.near[np.searchsorted(self.odds, rng.random(close))],
            rng.integers(0, len(self.features), count - close),
        ]
        return torch.from_numpy(np.concatenate(places))


def retrain_heads(
    old: CellHeads, new: tuple[CellFrames, Int64s], replay: tuple[CellFrames, Int64s],
    recipe: HeadRecipe, restraint: Restraint, part: float, seed: int,
) -> CellHeads:  # fmt: skip
    """Heads that learned from new frames; the old ones are left as they are.

    Args:
        new, replay: cells, and which of their frames are used. Replayed frames also tell the
            pull what matters, even where `part` is 0.
        part: of each step's cells, this part is of replayed frames; the rest are new.

    Raises `InputError` without a new frame, for a part that is none, and for a pull or a part
    without replay.
    """
    if not new[1].size:
        raise InputError("nothing new to learn", "heads")
    if not 0 <= part < 1:
        raise InputError(f"a part lies in 0..1, not {part:g}", "heads")
    if not replay[1].size and (part or restraint.elastic):
        raise InputError("nothing is replayed", "heads")
    rng = np.random.default_rng(seed)
    heads = deepcopy(old).train()
    fresh, before = _cells(*new), _cells(*replay) if replay[1].size else None
    with one_thread():
        fisher = _fisher(old, before, recipe, restraint, rng) if before else []
        start = [each.detach().clone() for each in old.parameters()]
        optimiser = torch.optim.AdamW(
            heads.parameters(), lr=recipe.max_rate, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: one_cycle(step, recipe.steps)
        )
        for _ in range(recipe.steps):
            loss = _loss(heads, old, fresh, before, recipe, restraint, part, rng)
            for now, then, matters in zip(heads.parameters(), start, fisher, strict=False):
                loss = loss + 0.5 * restraint.elastic * (matters * (now - then) ** 2).sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(heads.parameters(), _MAX_GRADIENT)
            optimiser.step()
            schedule.step()
    return blended(old, heads, restraint.blend).eval()


def _cells(frames: CellFrames, rows: Int64s) -> _Cells:
    near, odds = near_objects(frames.targets[rows])
    return _Cells(
        torch.from_numpy(frames.features[rows]).flatten(0, 1),
        torch.from_numpy(frames.targets[rows]).flatten(0, 1),
        torch.from_numpy(frames.counted[rows]).flatten(), near, odds,
    )  # fmt: skip


def _loss(
    heads: CellHeads, old: CellHeads, fresh: _Cells, before: _Cells | None, recipe: HeadRecipe,
    restraint: Restraint, part: float, rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    replayed = round(part * recipe.cells)
    drawn = [(fresh, recipe.cells - replayed, True)]
    if before is not None and replayed:
        drawn.append((before, replayed, False))
    total = torch.zeros(())
    for cells, count, is_new in drawn:
        places = cells.drawn(count, recipe.near / recipe.cells, rng)
        features, targets = cells.features[places].float(), cells.targets[places].float()
        counted = cells.counted[places].float()
        logits = heads(features)
        loss = _focal(logits, targets, counted)
        if restraint.anchor:
            with torch.no_grad():
                word = torch.sigmoid(old(features))
            if is_new:
                told = (word > SURE) & (targets < SURE) & (counted > 0)[:, None]
                word = torch.where(told, 0.0, torch.maximum(word, targets))
            loss = loss + restraint.anchor * _away(logits, word)
        total = total + loss * count / recipe.cells
    return total


def _focal(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Of logits [members, c, classes]; cells as the rows of a map with one column."""
    weight = counted.expand(len(logits), -1)
    return focal_loss(
        logits.transpose(1, 2)[..., None], targets.T[None, ..., None], weight[..., None]
    )


def _away(logits: Tensor, word: Tensor) -> Tensor:
    """How far logits are from a word; as `models.student.losses.distillation_loss` has it."""
    apart = functional.binary_cross_entropy_with_logits(logits, word, reduction="none")
    sharp = functional.binary_cross_entropy(word, word, reduction="none")
    care = torch.maximum(torch.sigmoid(logits.detach()), word)
    return ((apart - sharp) * care).sum() / care.sum().clamp(min=1)


def _fisher(
    old: CellHeads, before: _Cells, recipe: HeadRecipe, restraint: Restraint,
    rng: np.random.Generator,
) -> list[Tensor]:  # fmt: skip
    """Mean squared gradient of the loss by parameter, over draws of old cells; none unasked."""
    if not restraint.elastic:
        return []
    network = deepcopy(old)
    total = [torch.zeros_like(each) for each in network.parameters()]
    for _ in range(restraint.fisher_examples):
        places = before.drawn(recipe.cells // 8, recipe.near / recipe.cells, rng)
        logits = network(before.features[places].float())
        loss = _focal(logits, before.targets[places].float(), before.counted[places].float())
        network.zero_grad()
        torch.autograd.backward(loss)
        for place, weights in enumerate(network.parameters()):
            if weights.grad is not None:
                total[place] += weights.grad**2 / restraint.fisher_examples
    return total
