"""Class heads over cells, retrained on one class after another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.errors import InputError
from models.student.cells import CellFrames
from models.student.head_retraining import retrain_heads
from models.student.heads import CellHeads, HeadRecipe, Scale, train_heads
from models.student.retrain import Restraint

WIDE, KEPT, KINDS = 6, 40, 2
FIRST = HeadRecipe(members=1, hidden=8, steps=120, cells=64, near=32, max_rate=0.03)
AGAIN = replace(FIRST, steps=150)
SCALE = Scale(np.ones(WIDE, np.float32))
EVERY = np.arange(8)


def frames_of(kind: int, seed: int) -> CellFrames:
    """Frames with objects of one class, at which one feature is high; another one is high at
    those of either class.
    """
    rng = np.random.default_rng(seed)
    n = len(EVERY)
    features = rng.normal(0, 0.3, (n, KEPT, WIDE)).astype(np.float16)
    targets = np.zeros((n, KEPT, KINDS), np.float16)
    targets[:, :5, kind] = 1
    features[:, :5, kind] += 1
    features[:, :5, KINDS] += 3
    nothing = np.zeros(0, np.int64)
    return CellFrames(
        np.tile(np.arange(KEPT), (n, 1)), features, np.zeros((n, KEPT, 10), np.float16), targets,
        np.ones((n, KEPT), np.bool_), np.zeros((n, 4), np.float32), EVERY.astype(np.int64),
        np.zeros((0, 9)), nothing, nothing, np.zeros(0, np.bool_),
    )  # fmt: skip


OLD, NEW = frames_of(0, 1), frames_of(1, 2)
NONE = (OLD, EVERY[:0])


@pytest.fixture(scope="module")
def before() -> CellHeads:
    return train_heads(OLD, EVERY, EVERY, FIRST, SCALE, 1)


def error(heads: CellHeads, frames: CellFrames, kind: int) -> float:
    """How far the belief in one class is from the truth, in the mean over cells near objects."""
    heat = heads.heat(frames.features.reshape(-1, WIDE))[0].reshape(-1, KEPT, KINDS)
    return float(np.abs(heat - frames.targets)[:, :5, kind].mean())


def test_what_restrains_keeps_the_old_class_and_learns_the_new(before: CellHeads) -> None:
    naive = retrain_heads(before, (NEW, EVERY), NONE, AGAIN, Restraint(), 0.0, 3)
    held = retrain_heads(
        before, (NEW, EVERY), (OLD, EVERY[:2]), AGAIN, Restraint(anchor=1.0), 0.5, 3
    )
    assert error(before, OLD, 0) < 0.3
    assert error(naive, OLD, 0) > 0.6
    assert error(held, OLD, 0) < 0.3
    assert error(naive, NEW, 1) < 0.3 and error(held, NEW, 1) < 0.3


def test_the_pull_keeps_what_mattered_and_needs_no_replay_to_be_taught(before: CellHeads) -> None:
    loose, pulled = (
        retrain_heads(
            before, (NEW, EVERY), (OLD, EVERY), AGAIN, Restraint(elastic=e, fisher_examples=8),
            0.0, 3,
        )
        for e in (0.0, 3e6)
    )  # fmt: skip
    assert error(pulled, OLD, 0) < error(loose, OLD, 0) - 0.1


def test_the_blend_goes_part_of_the_way(before: CellHeads) -> None:
    whole, half, none = (
        retrain_heads(before, (NEW, EVERY), NONE, AGAIN, Restraint(blend=part), 0.0, 3)
        for part in (1.0, 0.5, 0.0)
    )
    for then, now, between in zip(
        before.parameters(), whole.parameters(), half.parameters(), strict=True
    ):
        torch.testing.assert_close(between, (then + now) / 2)
    assert error(none, OLD, 0) == error(before, OLD, 0)
    assert error(half, OLD, 0) < error(whole, OLD, 0)


def test_the_same_seed_gives_the_same_heads_and_leaves_the_old_ones(before: CellHeads) -> None:
    kept = [each.clone() for each in before.parameters()]
    short = replace(AGAIN, steps=3)
    one, two = (
        retrain_heads(
            before, (NEW, EVERY), (OLD, EVERY), short, Restraint(1.0, 1.0, 2), 0.5, 4
        )
        for _ in range(2)
    )  # fmt: skip
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    assert all(map(torch.equal, kept, before.parameters()))


def test_what_cannot_be_taught_is_refused(before: CellHeads) -> None:
    with pytest.raises(InputError, match="nothing new"):
        retrain_heads(before, NONE, NONE, AGAIN, Restraint(), 0.0, 1)
    for part, elastic in ((0.5, 0.0), (0.0, 1.0)):
        with pytest.raises(InputError, match="nothing is replayed"):
            retrain_heads(before, (NEW, EVERY), NONE, AGAIN, Restraint(elastic=elastic), part, 1)
    with pytest.raises(InputError, match=r"0\.\.1"):
        retrain_heads(before, (NEW, EVERY), (OLD, EVERY), AGAIN, Restraint(), 1.0, 1)
