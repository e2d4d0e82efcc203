"""The real learner over a handful of drives: clips on disk, scores, and a whole small study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import acquisition_study
from bench.figures import Figure
from contracts.errors import InputError
from models.data.drives import LabelledFrame
from models.student.cells import cells_of, write_cells
from models.student.heads import HeadRecipe
from models.student.network import new_student
from offline.acquisition.study.clips import Clips, pool_of, read_clips
from offline.acquisition.study.heads import RARE, HeadLearner
from offline.acquisition.study.plot import draw_study
from offline.acquisition.study.run import Plan
from offline.acquisition.study.strategies import STRATEGIES
from tests.models.student_frames import frame_of, labels_of, random_scene, tiny_config

CONFIG = tiny_config()
RECIPE = HeadRecipe(members=2, hidden=8, steps=40, cells=128, near=64, max_rate=0.03)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drives of three frames each, as cells whose features tell what they show."""
    out = tmp_path_factory.mktemp("cells")
    rng, student = np.random.default_rng(0), new_student(CONFIG, 1).eval()
    for drive in range(16):
        scenes = [random_scene(rng, CONFIG) for _ in range(3)]
        frames = [LabelledFrame(frame_of(rng, CONFIG, s), labels_of(CONFIG, s)) for s in scenes]
        cells = cells_of(student, frames, 150)
        features = np.zeros_like(cells.features)
        features[..., : cells.targets.shape[-1]] = 4 * (cells.targets == 1)
        features += rng.normal(0, 0.3, features.shape).astype(np.float16)
        write_cells(out / f"drive-{drive:02}.npz", replace(cells, features=features))
    return out


@pytest.fixture(scope="module")
def clips(folder: Path) -> Clips:
    return read_clips(folder, 2)


def test_drives_are_cut_into_clips(folder: Path, clips: Clips) -> None:
    assert clips.names[:3] == ("drive-00.0", "drive-00.1", "drive-01.0")
    assert clips.drives[:3] == ("drive-00", "drive-00", "drive-01")
    assert clips.rows_of([1, 2]).tolist() == [2, 3, 4]
    fewer = read_clips(folder, 2, every=2)
    assert len(fewer.names) == 16 and fewer.digest != clips.digest
    whole, part = clips.frames.truth_of(2), fewer.frames.truth_of(1)
    np.testing.assert_array_equal(whole[0].centre_m, part[0].centre_m)
    with pytest.raises(InputError, match="no cells"):
        read_clips(folder / "nothing", 2)


def test_a_pool_tells_what_labelling_takes(clips: Clips) -> None:
    pool = pool_of(clips)
    assert pool.frames.tolist() == [2, 1] * 16
    assert pool.boxes.sum() == (~clips.frames.truth_ignored).sum()
    # The scenes hold cyclists and road workers.
    assert pool.rare.any(axis=0).tolist() == [True, False, False, False, True]


def test_the_learner_answers_for_what_it_is_asked(clips: Clips) -> None:
    learner = HeadLearner(clips, clips, CONFIG, RECIPE)
    asked = np.array([3, 8])
    opinion = learner.learned([0, 1, 2], asked, 7)
    again = HeadLearner(clips, clips, CONFIG, RECIPE).learned([0, 1, 2], asked, 7)
    assert opinion.figures == again.figures
    assert {"entropy", "mutual_information"} <= set(opinion.scores)
    for name, score in opinion.scores.items():
        np.testing.assert_array_equal(score, again.scores[name])
        assert not np.delete(score, asked).any()
        assert ((score >= 0) & (score <= 1)).all()
    assert 0 <= opinion.figures[RARE] <= 1


def test_a_small_study_gives_figures_and_a_picture(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(clips)
    # Only the classes that the scenes hold: a start needs one clip of each.
    held = pool.rare[:, pool.rare.any(axis=0)]
    monkeypatch.setattr(
        acquisition_study, "pool_of", lambda _: type(pool)(
            pool.clip_ids, pool.drive_ids, pool.start_ns, pool.end_ns, pool.embeddings,
            pool.frames, pool.boxes, held,
        ),
    )  # fmt: skip
    learner = HeadLearner(clips, clips, CONFIG, RECIPE)
    plan = Plan(turns=2, budget=250, pool_share=0.9, start_common=1)
    runs = [
        acquisition_study.study(clips, clips, learner, "how", tmp_path / "loops", plan, range(3))
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(list((tmp_path / "loops").glob("*.json"))) == 3 * len(STRATEGIES)
    figures = acquisition_study.figures_of(runs[0])
    assert len({one.name for one in figures}) == len(figures)
    assert all(isinstance(one, Figure) and np.isfinite(one.value) for one in figures)
    draw_study(tmp_path / "study.png", runs[0], (RARE,))
    assert (tmp_path / "study.png").stat().st_size > 10_000
