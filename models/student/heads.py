"""Class heads retrained over a frozen student's cells: small, several at once, in seconds.

A head is two layers on a cell's features. Several members are trained side by side, each from
first weights of its own and on its own draw of the clips (with replacement, so that each clip
counts as often as it was drawn; after Breiman's bagging), so that they disagree where the
labels do not decide. The loss is that of the student's heat maps.

Each step looks at cells of which half lie near an object, classes alike as often as the square
root of how many cells they have: a rare class is seen often enough to be learned, and a common
one is not forgotten. The same cells, recipe and seed give the same weights on one machine.

Does not do: boxes. Their channels are the frozen student's (`models.student.cells`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float32s, Float64s
from models.student.cells import CellFrames, Halves
from models.student.losses import focal_loss
from models.student.train import one_cycle

_RARE_LOGIT = -4.0
_NEAR = 0.3
"""Target from which on a cell counts as near an object of a class."""
_MAX_GRADIENT = 10.0
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """How heads are trained: `cells` a step, of which `near` lie near an object."""

    members: int = 6
    hidden: int = 48
    steps: int = 150
    cells: int = 1024
    near: int = 512
    max_rate: float = 1e-2
    weight_decay: float = 1e-3


@dataclass(frozen=True, slots=True)
class Scale:
    """What features [n, d] are divided by: their spread over the cells, float32 [d]."""

    divisor: Float32s


def scale_of(features: Halves) -> Scale:
    """The scale of features [n, k, d]."""
    spread = features.reshape(-1, features.shape[-1])[:: max(1, features.shape[1] // 8)]
    return Scale((spread.astype(np.float32).std(axis=0) + 1e-3).astype(np.float32))


class CellHeads(nn.Module):
    """`members` heads over features [n, d]; logits [members, n, classes]."""

    divisor: Tensor

    def __init__(self, scale: Scale, classes: int, members: int, hidden: int) -> None:
        super().__init__()
        width = scale.divisor.size
        self.first = nn.Parameter(torch.randn(width, members * hidden) * (2 / width) ** 0.5)
        self.first_bias = nn.Parameter(torch.zeros(members * hidden))
        self.second = nn.Parameter(torch.randn(members, hidden, classes) * (1 / hidden) ** 0.5)
        self.second_bias = nn.Parameter(torch.full((members, 1, classes), _RARE_LOGIT))
        self.register_buffer("divisor", torch.from_numpy(scale.divisor))
        self._members, self._hidden = members, hidden

    def forward(self, features: Tensor) -> Tensor:
        inner = torch.relu(features / self.divisor @ self.first + self.first_bias)
        by_member = inner.reshape(-1, self._members, self._hidden).transpose(0, 1)
        return torch.bmm(by_member, self.second) + self.second_bias

    def heat(self, features: Halves) -> Float32s:
        """Probabilities float32 [members, n, classes] of features float16 [n, d]."""
        with torch.no_grad():
            parts = [
                torch.sigmoid(self(torch.from_numpy(features[k : k + _AT_ONCE]).float()))
                for k in range(0, max(1, len(features)), _AT_ONCE)
            ]
        return np.asarray(torch.cat(parts, dim=1).numpy())


def train_heads(
    frames: CellFrames, rows: Int64s, clip_of_frame: Int64s, recipe: HeadRecipe, scale: Scale,
    seed: int,
) -> CellHeads:  # fmt: skip
    """Heads that learned from some frames.

    Args:
        rows: which frames, int64 [f].
        clip_of_frame: the clip of each of these, int64 [f]; members draw clips.

    Raises `InputError` when there is no frame, or none with an object.
    """
    if not rows.size:
        raise InputError("no frame to learn from", "heads")
    rng = np.random.default_rng(seed)
    near, odds = near_objects(frames.targets[rows])
    learned = _Labelled(
        torch.from_numpy(frames.features[rows]).flatten(0, 1),
        torch.from_numpy(frames.targets[rows]).flatten(0, 1),
        torch.from_numpy(frames.counted[rows]).flatten(),
        torch.from_numpy(np.repeat(clip_of_frame, frames.cells.shape[1])),
        _drawn_clips(clip_of_frame, recipe.members, rng), near, odds,
    )  # fmt: skip
    heads = _new_heads(scale, frames.targets.shape[-1], recipe, seed)
    with one_thread():
        _fit(heads, learned, recipe, rng)
    return heads.eval()


@dataclass(frozen=True, slots=True)
class _Labelled:
    """All c cells of the labelled frames: `features` [c, d], `targets` [c, classes], `counted`
    and `clip` [c]; `drawn` [members, clips] how often each member drew a clip; `near` int64 [n]
    cells near an object and their cumulative `odds` float64 [n].
    """

    features: Tensor
    targets: Tensor
    counted: Tensor
    clip: Tensor
    drawn: Tensor
    near: Int64s
    odds: Float64s


def _fit(
    heads: CellHeads, learned: _Labelled, recipe: HeadRecipe, rng: np.random.Generator
) -> None:
    optimiser = torch.optim.AdamW(
        heads.parameters(), lr=recipe.max_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: one_cycle(k, recipe.steps))
    for _ in range(recipe.steps):
        places = torch.from_numpy(
            np.concatenate([
                learned.near[np.searchsorted(learned.odds, rng.random(recipe.near))],
                rng.integers(0, len(learned.features), recipe.cells - recipe.near),
            ])
        )  # fmt: skip
        logits = heads(learned.features[places].float())
        weight = learned.drawn[:, learned.clip[places]] * learned.counted[places]
        # Cells as the rows of a map with one column.
        loss = focal_loss(
            logits.transpose(1, 2)[..., None],
            learned.targets[places].float().T[None, ..., None], weight[..., None],
        )  # fmt: skip
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(heads.parameters(), _MAX_GRADIENT)
        optimiser.step()
        schedule.step()


@contextmanager
def one_thread() -> Iterator[None]:
    """The products are too small to share: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _new_heads(scale: Scale, classes: int, recipe: HeadRecipe, seed: int) -> CellHeads:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return CellHeads(scale, classes, recipe.members, recipe.hidden)


def _drawn_clips(clip_of_frame: Int64s, members: int, rng: np.random.Generator) -> Tensor:
    """How often each member drew each clip, float32 [members, highest clip + 1]."""
    clips = np.unique(clip_of_frame)
    drawn = np.zeros((members, int(clips[-1]) + 1), dtype=np.float32)
    drawn[:, clips] = rng.multinomial(clips.size, np.full(clips.size, 1 / clips.size), members)
    return torch.from_numpy(drawn)


def near_objects(targets: Halves) -> tuple[Int64s, Float64s]:
    """Cells near an object, and their cumulative odds: classes by the root of their cells."""
    by_class = targets.reshape(-1, targets.shape[-1]) >= _NEAR
    count = by_class.sum(axis=0)
    near = np.flatnonzero(by_class.any(axis=1))
    if not near.size:
        raise InputError("no object to learn from", "heads")
    share = by_class[near] / np.sqrt(np.maximum(count, 1))
    cumulative = np.cumsum(share.max(axis=1))
    # The last edge is 1 exactly, so that no draw falls off it.
    return near, np.append(cumulative[:-1] / cumulative[-1], 1.0)
