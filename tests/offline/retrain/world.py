"""A tiny student's run, and datasets of clips without sensors: nothing to see, all else is real."""

from __future__ import annotations

from pathlib import Path

import torch

from contracts.datasets import Makers, SplitRule
from models.recipe import RetrainRecipe
from models.runs import TrainingRun, finish_run, save_weights
from models.student.network import new_student
from offline.datasets.export import export
from offline.datasets.label_sets import label_set_of
from offline.datasets.store import DatasetStore
from offline.datasets.versions import dataset_version
from tests.models.student_frames import tiny_config
from tests.offline.datasets.drives import write_drive

CONFIG = tiny_config(rows=16).model_copy(
    update={"trunk_blocks": (0, 0, 0), "image_blocks": (0, 0, 0)}
)
DAY, NIGHT = {"tod": "day"}, {"tod": "night"}
RECIPE = RetrainRecipe.model_validate({
    "apiVersion": "longtail/retrain/v1", "name": "quick", "seed": 1,
    "train": {"epochs": 2, "batch": 4}, "replay": {"share": 0.5, "slices": ["tod"]},
    "mix": {"tags": ["tod"]}, "elastic": 1.0, "fisher_examples": 2,
})  # fmt: skip


def write_run(folder: Path) -> TrainingRun:
    """An untrained student as a finished run."""
    folder.mkdir(parents=True)
    weights = save_weights(folder, new_student(CONFIG, 3))
    run = TrainingRun(
        kind="student", config=CONFIG, recipe="a" * 64, stage="tests", seed=3, dataset="b" * 64,
        examples=1, weights=weights,
    )  # fmt: skip
    finish_run(folder, run)
    return run


def write_new(folder: Path, *, random: bool = True) -> str:
    """An exported dataset: three nights that were mined, by two label sets of which the second
    counts double, and two days and a night of the random stream. Returns its digest.
    """
    store = DatasetStore(folder / "store")
    chance: float | None = 0.01 if random else None
    mined = [write_drive(folder / f"m{n}", [n + 1], drive=f"m{n}", tags=NIGHT) for n in range(2)]
    more = [write_drive(folder / "m2", [9], drive="m2", tags=NIGHT, source="human")]
    more += [
        write_drive(folder / f"r{n}", [n + 20], drive=f"r{n}", tags=tags, inclusion=chance)
        for n, tags in enumerate([DAY, DAY, NIGHT])
    ]
    sets = [label_set_of(each, Makers(), store) for each in (mined, more)]
    version = dataset_version(
        {each.digest(): each for each in sets}, SplitRule(parts=(("train", 1),)), 0,
        {sets[1].digest(): 2.0},
    )  # fmt: skip
    store.put(version)
    export(version, store, folder / "dataset")
    return version.digest()


def write_old(folder: Path) -> Path:
    """Plain folders of drives: four days and two nights."""
    for n, tags in enumerate([DAY] * 4 + [NIGHT] * 2):
        write_drive(folder / f"o{n}", [n + 1], drive=f"o{n}", tags=tags)
    return folder


def one_thread() -> None:
    torch.set_num_threads(1)
