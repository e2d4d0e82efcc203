"""A whole retraining over tiny datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import ConflictError, CorruptError, InputError
from contracts.ids import sha256_hex
from kernels.clip.reader import read_manifest
from kernels.clip.writer import write_clip
from models.recipe import MixSpec
from models.runs import WEIGHTS_FILE, read_run
from offline.datasets.export import MANIFEST_FILE
from offline.retrain.plan import epoch_weights
from offline.retrain.reference import read_reference
from offline.retrain.run import (
    EMBEDDINGS_FILE,
    WORDS_FOLDER,
    Folders,
    RetrainReport,
    read_report,
    retrain_run,
)
from offline.retrain.sources import read_source
from tests.offline.datasets.drives import write_drive
from tests.offline.retrain.world import (
    CONFIG,
    DAY,
    NIGHT,
    RECIPE,
    write_new,
    write_old,
    write_run,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class StopError(Exception):
    """As if the machine had gone down."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrain")
    write_run(folder / "start")
    write_new(folder / "new")
    write_old(folder / "old")
    return folder


def folders(world: Path) -> Folders:
    return Folders(world / "start", world / "new" / "dataset", (world / "old",))


@pytest.fixture(scope="module")
def report(world: Path) -> RetrainReport:
    return retrain_run(folders(world), RECIPE, world / "out")


def test_the_new_mix_agrees_with_the_random_stream(report: RetrainReport) -> None:
    # Label sets weigh 1, 1 and 2, 2, 2, 2; the road is two thirds day.
    assert report.mix.before["tod"] == {"day": pytest.approx(0.4), "night": pytest.approx(0.6)}
    assert report.mix.reference["tod"]["day"] == pytest.approx(2 / 3)
    assert report.mix.after["tod"]["day"] == pytest.approx(2 / 3, abs=1e-3)
    assert not report.mix.missed


def test_the_random_streams_clips_tell_what_is_met_labelled_or_not(
    world: Path, tmp_path: Path
) -> None:
    # A night drawn by 1 % stands for as much as three days by 3 %; what was mined tells nothing.
    for name, tags, chance in (
        ("n", NIGHT, 0.01), ("d0", DAY, 0.03), ("d1", DAY, 0.03), ("d2", DAY, 0.03),
        ("m0", NIGHT, None), ("m1", NIGHT, None),
    ):  # fmt: skip
        clip = write_drive(tmp_path / name, [1], drive=name, tags=tags, inclusion=chance)
        (clip / "clip.mcap").rename(tmp_path / f"{name}.mcap")
    drawn = read_reference(tmp_path, CONFIG)
    assert len(drawn.tags) == 4 and drawn.digest == read_reference(tmp_path, CONFIG).digest
    asked = replace(folders(world), reference=(tmp_path,))
    mix = retrain_run(asked, RECIPE, tmp_path / "out").mix
    assert mix.reference == {"tod": {"day": pytest.approx(0.5), "night": pytest.approx(0.5)}}
    assert mix.after["tod"]["day"] == pytest.approx(0.5, abs=1e-3)


def test_a_tag_that_nothing_tells_weighs_nothing_and_is_named(world: Path, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"mix": MixSpec(tags=("tod", "weather")), "elastic": 0.0})
    mix = retrain_run(folders(world), recipe, tmp_path / "out").mix
    assert mix.untold == ("weather",) and set(mix.reference) == {"tod"}
    assert mix.after["weather"] == {"-": 1.0}


def test_a_random_clip_of_the_reference_tells_its_probability(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "d", [1], tags=DAY, inclusion=0.1)
    manifest = read_manifest(drive / "clip.mcap").model_copy(update={"inclusion_probability": None})
    with (tmp_path / "one.mcap").open("wb") as stream:
        write_clip(stream, manifest, [], {})
    with pytest.raises(InputError, match=r"tells no probability.*one\.mcap|one\.mcap.*probability"):
        read_reference(tmp_path, CONFIG)


def test_some_of_every_old_slice_come_along(report: RetrainReport) -> None:
    assert report.old_frames == 6 and report.new_frames == 6
    assert sum(report.replayed_slices.values()) == len(report.replayed_rows) == 3
    assert set(report.replayed_slices) == {"day", "night"}
    assert report.epoch_frames == 12  # Half of an epoch is replayed.


def test_the_run_tells_what_it_was_made_of(world: Path, report: RetrainReport) -> None:
    run, start = read_run(world / "out"), read_run(world / "start")
    version = sha256_hex((world / "new" / "dataset" / MANIFEST_FILE).read_bytes())
    assert run.dataset == version == read_source(world / "new" / "dataset", CONFIG).digest
    assert run.replayed == {"1": read_source(world / "old", CONFIG).digest}
    assert run.parents == {"student": start.weights} and run.recipe == RECIPE.digest()
    assert run.space() == (start.weights if report.same_space else run.weights)
    left = {path.name for path in (world / "out").iterdir()}
    assert left == {"plan.json", "retrain.json", "mix.png", "run.json", "weights.pt"}
    assert read_report(world / "out") == report


def test_a_stopped_run_goes_on_and_ends_the_same(world: Path, report: RetrainReport) -> None:
    out = world / "stopped"

    def stop(epoch: int, losses: dict[str, float]) -> None:
        assert {"teacher", "elastic"} < set(losses)
        if epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        retrain_run(folders(world), RECIPE, out, progress=stop)
    words = {path: path.stat().st_mtime_ns for path in (out / WORDS_FOLDER).iterdir()}
    assert len(words) == 9
    epochs: list[int] = []

    def go_on(epoch: int, losses: dict[str, float]) -> None:
        assert {path: path.stat().st_mtime_ns for path in (out / WORDS_FOLDER).iterdir()} == words
        epochs.append(epoch)

    assert retrain_run(folders(world), RECIPE, out, progress=go_on) == report
    assert epochs == [2]
    assert (out / WEIGHTS_FILE).read_bytes() == (world / "out" / WEIGHTS_FILE).read_bytes()
    assert (out / "run.json").read_bytes() == (world / "out" / "run.json").read_bytes()
    # Nothing is done again once it is there.
    assert retrain_run(folders(world), RECIPE, out, progress=stop) == report


def test_a_folder_of_another_retraining_is_refused(world: Path, report: RetrainReport) -> None:
    other = RECIPE.model_copy(update={"seed": 2})
    with pytest.raises(ConflictError, match="another retraining"):
        retrain_run(folders(world), other, world / "out")
    with pytest.raises(ConflictError, match="something else"):
        retrain_run(folders(world), RECIPE, world / "start")


def test_a_dataset_is_new_or_replayed(world: Path, tmp_path: Path) -> None:
    new = world / "new" / "dataset"
    with pytest.raises(InputError, match="given twice"):
        retrain_run(Folders(world / "start", new, (new,)), RECIPE, tmp_path / "out")


def test_without_a_random_stream_only_label_sets_weigh(world: Path, tmp_path: Path) -> None:
    plain = RECIPE.model_copy(update={"elastic": 0.0, "anchor": 0.0})
    found = retrain_run(Folders(world / "start", world / "old"), plain, tmp_path / "out")
    assert found.mix.reference == {} and found.mix.after == found.mix.before
    assert found.replayed_rows == () and found.epoch_frames == 6


def test_damaged_files_are_told(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(epoch: int, losses: dict[str, float]) -> None:
        raise StopError

    with pytest.raises(StopError):
        retrain_run(folders(world), RECIPE, out, progress=stop)
    kept = (out / EMBEDDINGS_FILE).read_bytes()
    (out / EMBEDDINGS_FILE).write_bytes(kept[:20])
    with pytest.raises(CorruptError, match="embeddings"):
        retrain_run(folders(world), RECIPE, out)
    (out / EMBEDDINGS_FILE).write_bytes(kept)
    for path in (out / WORDS_FOLDER).iterdir():  # An epoch does not draw every frame.
        path.write_bytes(b"PK")
    with pytest.raises(CorruptError, match="no word"):
        retrain_run(folders(world), RECIPE, out)


def test_a_manifest_that_does_not_fit_is_refused(world: Path, tmp_path: Path) -> None:
    version = json.loads((world / "new" / "dataset" / MANIFEST_FILE).read_text())
    copy = tmp_path / "dataset"
    copy.mkdir()
    (copy / "train").symlink_to(world / "new" / "dataset" / "train")
    (copy / MANIFEST_FILE).write_text("{}")
    with pytest.raises(CorruptError, match="no dataset version"):
        read_source(copy, CONFIG)
    version["groups"] = version["groups"][1:]
    (copy / MANIFEST_FILE).write_text(json.dumps(version))
    with pytest.raises(InputError, match="not in the manifest"):
        read_source(copy, CONFIG)


def test_a_random_clip_tells_its_probability(world: Path, tmp_path: Path) -> None:
    version = json.loads((world / "new" / "dataset" / MANIFEST_FILE).read_text())
    for group in version["groups"]:
        for clip in group["clips"]:
            clip["clip"]["inclusion_probability"] = None
    copy = tmp_path / "dataset"
    copy.mkdir()
    (copy / "train").symlink_to(world / "new" / "dataset" / "train")
    (copy / MANIFEST_FILE).write_text(json.dumps(version))
    with pytest.raises(InputError, match="tells no probability"):
        read_source(copy, CONFIG)


def test_replayed_frames_make_up_their_part() -> None:
    weights = epoch_weights(np.array([0.5, 1.5, 1.0]), 2, 0.4)
    assert weights.tolist() == pytest.approx([0.5, 1.5, 1.0, 1.0, 1.0])
    assert epoch_weights(np.ones(3), 0, 0.4).tolist() == [1, 1, 1]
    with pytest.raises(InputError, match=r"0\.\.1"):
        epoch_weights(np.ones(3), 2, 1.0)
