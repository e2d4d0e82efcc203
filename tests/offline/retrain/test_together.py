"""Several processes train one student: as good as one, and the same again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import InputError, TransientError
from models.recipe import RetrainRecipe
from models.runs import WEIGHTS_FILE, load_student
from models.student.crew import ALONE, Crew
from offline.executor.local_pool import LocalPool
from offline.executor.ray_cluster import RayCluster
from offline.retrain.run import Folders, retrain_run
from offline.retrain.together import retrain_together
from tests.offline.datasets.drives import write_drive
from tests.offline.retrain.world import NIGHT, RECIPE, write_new, write_old, write_run

DROPPED = "lidar", "radar", "cameras", "one_camera"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    write_run(tmp_path / "start")
    write_new(tmp_path / "new")
    old = write_old(tmp_path / "old")
    return Folders(tmp_path / "start", tmp_path / "new" / "dataset", (old,))


def recipe_file(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.model_dump_json(by_alias=True))
    return path


def test_two_processes_train_one_network(folders: Folders, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path)
    told: list[str] = []
    report = retrain_together(folders, recipe, tmp_path / "two", 2, LocalPool(2), told.append)
    assert report.new_frames == 6 and report.epoch_frames >= 6
    epochs = RECIPE.train.epochs
    assert [line.split("  ")[0] for line in told[1:]] == [
        f"epoch {epoch} of {epochs}" for epoch in range(1, epochs + 1)
    ]
    before, _ = load_student(folders.start)
    after, run = load_student(tmp_path / "two")
    assert run.parents["student"] and any(
        not torch.equal(one, two)
        for one, two in zip(before.parameters(), after.parameters(), strict=True)
    )
    assert not list(tmp_path.glob(".*"))
    # A run that is done is left alone.
    told.clear()
    again = retrain_together(folders, recipe, tmp_path / "two", 2, LocalPool(2), told.append)
    assert again == report and len(told) == 1


def test_two_processes_take_the_steps_of_one(folders: Folders, tmp_path: Path) -> None:
    """Where nothing is drawn by each for its own, weights are alike but for the order of sums: a
    process whose frames show nothing does not weigh as the one whose frames show something.
    """
    uneven = tmp_path / "uneven"
    for n in range(6):
        write_drive(uneven / f"u{n}", [n + 1], drive=f"u{n}", boxes=n % 2, tags=NIGHT, x_m=5.0)
    folders = Folders(folders.start, folders.new, (uneven,))
    told = RECIPE.model_dump(mode="json", by_alias=True)
    told["train"] |= {
        "epochs": 1, "batch": 4, "dropout": dict.fromkeys(DROPPED, 0.0),
        "augmentation": dict.fromkeys(("mirror", "contrast", "brightness"), 0.0),
    }  # fmt: skip
    told["replay"]["share"] = 1.0
    told["held"] = ["statistics"]
    recipe = RetrainRecipe.model_validate(told)
    path = tmp_path / "undrawn.yaml"
    path.write_text(recipe.model_dump_json(by_alias=True))
    retrain_together(folders, path, tmp_path / "two", 2, LocalPool(2))
    retrain_run(folders, recipe, tmp_path / "one")
    start, one, two = (
        load_student(folder)[0].state_dict()
        for folder in (folders.start, tmp_path / "one", tmp_path / "two")
    )
    moved = max(float((one[name] - start[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert moved > 1e-4 and apart < 0.001 * moved


@pytest.mark.soak
def test_the_same_crew_trains_the_same_network(folders: Folders, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path)
    found = [
        retrain_together(folders, recipe, tmp_path / name, 2, LocalPool(2))
        for name in ("one", "again")
    ]
    assert found[0] == found[1]
    weights = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("one", "again")]
    assert weights[0] == weights[1]


@pytest.mark.interop
def test_a_cluster_trains_one_network(folders: Folders, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:  # not imported: it reads its settings then
        pytest.skip("Ray is not installed")
    recipe = recipe_file(tmp_path)
    retrain_together(folders, recipe, tmp_path / "ray", 2, RayCluster("local", 2))
    retrain_together(folders, recipe, tmp_path / "pool", 2, LocalPool(2))
    weights = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("ray", "pool")]
    assert weights[0] == weights[1]


def test_a_process_that_is_refused_says_why(folders: Folders, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path)
    with pytest.raises(InputError, match="2 to 256"):
        retrain_together(folders, recipe, tmp_path / "one", 1, LocalPool(1))
    lost = Folders(tmp_path / "nothing", folders.new, folders.replay)
    with pytest.raises((InputError, TransientError)):
        retrain_together(lost, recipe, tmp_path / "lost", 2, LocalPool(2))


def test_every_place_is_somebodys() -> None:
    places = np.arange(10, 21)
    parts = [Crew(rank, 3).part(places) for rank in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == places.tolist()
    assert ALONE.part(places).tolist() == places.tolist()
    few = [Crew(rank, 4).part(places[:2]) for rank in range(4)]
    assert all(part.size == 1 for part in few)
    one, two = (Crew(rank, 2).rng(np.random.default_rng(0), 1, 0, 0) for rank in range(2))
    assert one.random() != two.random()
