"""A retraining from start to end: a run folder as `models.runs` has it, and what it was made of.

OUT/plan.json      what is retrained on what: a folder of anything else is refused
OUT/embeddings.npy, OUT/words/, OUT/checkpoint.pt   while it trains: what is not computed twice
OUT/retrain.json   the mix, which old frames came along, how far embeddings moved
OUT/mix.png, OUT/losses.png, OUT/history.json, OUT/weights.pt, OUT/run.json

A run that was stopped goes on after its last whole epoch; one that is done is left alone. The
same inputs and recipe give the same weights on the same kind of machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from contracts.canonical import canonical_digest, canonical_json
from contracts.errors import ConflictError, CorruptError, InputError
from contracts.geometry import Finite, Frozen, Int64s
from contracts.ids import Sha256Hex
from contracts.samples import Float32s, Float64s
from offline.retrain.plan import MixReport, epoch_weights, new_weights, replayed_rows
from offline.retrain.plot import draw_mix
from offline.retrain.reference import drawn_frames, read_reference
from offline.retrain.sources import Source, Told, read_source

if TYPE_CHECKING:
    from models.recipe import RetrainRecipe
    from models.runs import TrainingRun
    from models.student.crew import Crew
    from models.student.network import Student
    from models.student.train import Example, Progress

PLAN_FILE, REPORT_FILE, MIX_FILE = "plan.json", "retrain.json", "mix.png"
EMBEDDINGS_FILE, WORDS_FOLDER = "embeddings.npy", "words"
_COMPARED = 64
"""Frames at most by which the embedding spaces are compared."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Folders:
    """The run that is retrained, and datasets: what is new and what is replayed. `reference` are
    clips or datasets whose random stream tells what the fleet meets; where there are none, it is
    looked for among what is new and replayed.
    """

    start: Path
    new: Path
    replay: tuple[Path, ...] = ()
    reference: tuple[Path, ...] = ()


class RetrainPlan(Frozen):
    """What settles a retraining, by digests."""

    kind: Literal["retrain_plan"] = "retrain_plan"
    weights: Sha256Hex
    recipe: Sha256Hex
    new: Sha256Hex
    replay: tuple[Sha256Hex, ...]
    reference: tuple[Sha256Hex, ...]


class RetrainReport(Frozen):
    """What a retraining was made of. `replayed_slices` counts replayed frames by slice, and
    `replayed_rows` tells which they are, one dataset after the other. `embedding_cosine` is the
    median between the embeddings of before and after.
    """

    schema_version: Literal[1] = 1
    kind: Literal["retrain_report"] = "retrain_report"
    plan: Sha256Hex
    new_frames: int = Field(ge=1)
    old_frames: int = Field(ge=0)
    epoch_frames: int = Field(ge=1)
    mix: MixReport
    replayed_rows: tuple[int, ...]
    replayed_slices: dict[str, int]
    embedding_cosine: Finite
    same_space: bool


def retrain_run(
    folders: Folders, recipe: RetrainRecipe, out: Path, say: Say = lambda text: None,
    progress: Progress | None = None, crew: Crew | None = None,
) -> RetrainReport:  # fmt: skip
    """Retrain a student; see the module. Those of a `crew` all call this with the same arguments,
    over files that all see; the leader writes.

    Raises `InputError` for datasets that cannot be trained on, `ConflictError` when `out` is of
    another retraining, `CorruptError` for a damaged file.
    """
    from models.runs import RUN_FILE, load_student
    from models.student.crew import ALONE

    crew = crew or ALONE
    old, run = load_student(folders.start)

    def telling(folder: Path) -> Told:
        return lambda done, of: say(f"{folder.name}: {done} of {of} drives")

    def read(folder: Path) -> Source:
        return read_source(folder, old.config, telling(folder))

    with crew.leader_first():
        new, replay = read(folders.new), [read(folder) for folder in folders.replay]
        reference = [read_reference(each, old.config, telling(each)) for each in folders.reference]
    _check_apart(new, replay)
    plan = RetrainPlan(
        weights=run.weights, recipe=recipe.digest(), new=new.digest,
        replay=tuple(one.digest for one in replay),
        reference=tuple(one.digest for one in reference),
    )  # fmt: skip
    if crew.leads:
        _claim(out, plan)
    crew.wait()
    if (out / RUN_FILE).exists():
        return read_report(out)
    # Where all that is old comes along, nothing has to be chosen.
    embeddings = np.zeros((sum(map(len, replay)), 0), dtype=np.float32)
    if recipe.replay.share < 1:
        with crew.leader_first():
            embeddings = _kept_embeddings(old, replay, out / EMBEDDINGS_FILE, say)
    drawn = reference or [drawn_frames(each) for each in (new, *replay)]
    weights, mix = new_weights(new, recipe.mix, drawn)
    rows, slices = replayed_rows(replay, recipe.replay, embeddings)
    if crew.leads:
        draw_mix(out / MIX_FILE, mix)
    network, size = _trained(old, new, replay, rows, weights, recipe, out, say, progress, crew)
    cosine = _likeness(old, network, new, replay, rows)
    report = RetrainReport(
        plan=canonical_digest(plan), new_frames=len(new), old_frames=sum(map(len, replay)),
        epoch_frames=size, mix=mix, replayed_rows=tuple(rows.tolist()), replayed_slices=slices,
        embedding_cosine=cosine, same_space=cosine >= recipe.same_space_cosine,
    )  # fmt: skip
    crew.wait()
    if crew.leads:
        (out / REPORT_FILE).write_bytes(canonical_json(report))
        _finish(out, network, run, plan, report, recipe)
    crew.wait()
    return report


def read_report(folder: Path) -> RetrainReport:
    """Raises `InputError` where there is none, `CorruptError` for a damaged one."""
    path = folder / REPORT_FILE
    try:
        return RetrainReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"no retraining: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise CorruptError("this tells of no retraining", str(path)) from error


def _check_apart(new: Source, replay: Sequence[Source]) -> None:
    digests = [new.digest, *(one.digest for one in replay)]
    if len(set(digests)) < len(digests):
        raise InputError("a dataset is given twice: what is new is not replayed", new.name)


def _claim(out: Path, plan: RetrainPlan) -> None:
    path, told = out / PLAN_FILE, canonical_json(plan)
    if path.exists():
        if path.read_bytes() != told:
            raise ConflictError("this folder is of another retraining", str(out))
        return
    if out.exists() and any(out.iterdir()):
        raise ConflictError("something else is there already", str(out))
    out.mkdir(parents=True, exist_ok=True)
    path.write_bytes(told)


def _kept_embeddings(old: Student, replay: Sequence[Source], path: Path, say: Say) -> Float32s:
    """Embeddings [n, d] of all old frames by the network of before."""
    from models.student.embedding import embeddings_of

    count = sum(map(len, replay))
    if path.exists():
        try:
            kept = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise CorruptError(f"these are no embeddings: {error}", str(path)) from error
        if len(kept) == count:
            return np.asarray(kept, dtype=np.float32)
        raise CorruptError(f"embeddings of {len(kept)} frames, not {count}", str(path))
    frames = (source.frames.frame(k) for source in replay for k in range(len(source)))
    found = embeddings_of(
        old, frames, lambda done: say(f"embeddings: {done} of {count} old frames")
    )
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as stream:
        np.save(stream, found, allow_pickle=False)
    partial.replace(path)
    return found


def _trained(
    old: Student, new: Source, replay: Sequence[Source], rows: Int64s,
    weights: Float64s, recipe: RetrainRecipe, out: Path, say: Say, progress: Progress | None,
    crew: Crew,
) -> tuple[Student, int]:  # fmt: skip
    """The network, and how many frames an epoch had."""
    from models.data.examples import Examples
    from models.runs import CHECKPOINT_FILE
    from models.student.draws import epoch_size
    from models.student.retrain import retrain_student

    often = epoch_weights(weights, rows.size, recipe.replay.part)
    network = retrain_student(
        old, Examples(new.frames, old.config), _replayed(old, replay, rows),
        recipe.train.recipe(), recipe.restraint(), recipe.seed, progress, weights=often,
        checkpoint=out / CHECKPOINT_FILE, words=out / WORDS_FOLDER,
        told=lambda done, of: say(f"its own word: {done} of {of} frames"), crew=crew,
    )  # fmt: skip
    return network, epoch_size(often)


def _replayed(old: Student, replay: Sequence[Source], rows: Int64s) -> Sequence[Example]:
    """The replayed frames as examples, each unpacked when it is asked for."""
    from models.student.targets import targets_of
    from models.student.train import Example

    class Replayed(Sequence[Example]):
        def __len__(self) -> int:
            return len(places)

        def __getitem__(self, number: int) -> Example:  # type: ignore[override]
            source, place = places[number]
            return Example(source.frames.frame(place), targets[number])

    places = _places(replay, rows)
    targets = [targets_of(old.config, one.frames.labels(place)) for one, place in places]
    return Replayed()


def _places(replay: Sequence[Source], rows: Int64s) -> list[tuple[Source, int]]:
    """Each row as a source and a place in it."""
    ends = np.cumsum([len(one) for one in replay])
    which = np.searchsorted(ends, rows, side="right")
    return [
        (replay[s], row - int(ends[s] - len(replay[s])))
        for s, row in zip(which.tolist(), rows.tolist(), strict=True)
    ]


def _likeness(
    old: Student, network: Student, new: Source, replay: Sequence[Source], rows: Int64s
) -> float:
    """Median cosine between embeddings of before and after, over new and replayed frames."""
    from models.student.embedding import cosines, embeddings_of

    places = [*((new, k) for k in range(len(new))), *_places(replay, rows)]
    spread = np.linspace(0, len(places) - 1, min(_COMPARED, len(places))).astype(int)
    frames = [places[k][0].frames.frame(places[k][1]) for k in spread.tolist()]
    return float(np.median(cosines(embeddings_of(old, frames), embeddings_of(network, frames))))


def _finish(
    out: Path, network: Student, before: TrainingRun, plan: RetrainPlan, report: RetrainReport,
    recipe: RetrainRecipe,
) -> None:  # fmt: skip
    from models.runs import TrainingRun, finish_run, save_weights

    finish_run(
        out,
        TrainingRun(
            kind="student", config=network.config, recipe=plan.recipe, stage="retrain",
            seed=recipe.seed, dataset=plan.new,
            examples=report.new_frames + len(report.replayed_rows),
            parents={"student": plan.weights}, weights=save_weights(out, network),
            replayed={f"{number}": digest for number, digest in enumerate(plan.replay, start=1)},
            embedding_space=before.space() if report.same_space else None,
        ),
    )  # fmt: skip
    shutil.rmtree(out / WORDS_FOLDER, ignore_errors=True)
    (out / EMBEDDINGS_FILE).unlink(missing_ok=True)
