"""The turns of one study: made once, kept by what settles them, and found again.

    FOLDER/turns/<way>-<seed>-<turn>-<key>/   choice.json, run/, model/, made.json, measures-*.json
    FOLDER/before/<key>.json, FOLDER/scores/, FOLDER/trials/

A turn's key is the digest of what it is made of: data, settings, seed, way and all turns before;
that of its measures is of what it is measured on, so that other test drives train nothing again. A
run that was stopped goes on where it was: within a turn after the last whole epoch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from bench.loop_change import COUNTS
from bench.loop_choice import AGGREGATION, LOOKED_AT, Asking, Choice, asked_for, by_lot, selected
from bench.loop_labels import COST, Labelling, labelled
from bench.loop_measure import measured
from bench.loop_records import BEFORE, Bought, Measures, Turn, Way
from bench.loop_train import (
    HELD_OUT,
    RANGE_FRAMES,
    Labelled,
    LabelledClip,
    Lesson,
    exported,
    replayed_old,
    retrained,
)
from bench.loop_world import FRAMES_A_CLIP, OLD_TEST, TARGET_TEST, ZOO, LoopData, PoolClip, Say
from contracts.errors import CorruptError
from contracts.geometry import Finite, Frozen
from contracts.ids import sha256_hex
from models.recipe import RetrainRecipe
from sim_fleet.trials import TrialsSpec, run_trials

if TYPE_CHECKING:
    pass

MEASURED_ON = OLD_TEST, TARGET_TEST
STUDENT, SHIPPED = ZOO / "runs" / "student-s", ZOO / "student-s.onnx"
_KEY_DIGITS = 12
Record = TypeVar("Record", bound=BaseModel)


class LoopPlan(Frozen):
    """How a study is run: `budget_s` labeller-seconds are expected to be spent a turn; each seed
    has a pool of its own, `pool_share` of all clips.
    """

    budget_s: Finite = 120_000.0
    pool_share: Finite = 0.7
    epochs: int = 10
    turns: int = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A seed's turns of one way, up to one of them."""

    way: Way
    seed: int
    turn: int

    def earlier(self) -> list[Line]:
        return [Line(self.way, self.seed, turn) for turn in range(1, self.turn)]

    @property
    def before(self) -> Line | None:
        return Line(self.way, self.seed, self.turn - 1) if self.turn > 1 else None


class LoopTurns:
    """Makes turns, each once."""

    def __init__(
        self, data: LoopData, plan: LoopPlan, recipe: RetrainRecipe, trials: TrialsSpec, say: Say
    ) -> None:
        from models.runs import load_student

        self._data, self._plan, self._recipe, self._trials = data, plan, recipe, trials
        self._say = say
        self._shipped, run = load_student(STUDENT)
        shipped = sha256_hex(SHIPPED.read_bytes())
        self.digests = {**data.digests(), "student": run.weights, "shipped": shipped}
        self.settings = {
            "plan": plan.model_dump_json(), "recipe": recipe.digest(),
            "choice": f"{asked_for().model_dump_json()} {AGGREGATION} {LOOKED_AT}",
            "cost": COST.model_dump_json(), "clip": f"{FRAMES_A_CLIP} frames",
            "held_out": f"{HELD_OUT:g} of clips", "ranges": f"{RANGE_FRAMES} frames of either",
        }  # fmt: skip
        self._pool = {clip.clip_id: clip for clip in data.clips()}
        self._along: list[Labelled] = []

    def before(self, trials: bool) -> Measures:
        """The shipped student, as it is shipped."""
        path = self._data.folder / BEFORE / f"{self._measured_on('shipped')}.json"
        made = self._kept(path, Measures, lambda: measured(self._data, SHIPPED))
        return self._tried(made, SHIPPED, "before") if trials else made

    def turn(self, line: Line, trials: bool) -> Turn:
        """One turn; the turns before it are made first."""
        if line.before is not None:
            self.turn(line.before, trials=False)
        folder = self._folder(line)
        made = self._kept(folder / "made.json", _Made, lambda: self._made(line))
        model = folder / "model" / "student-s.onnx"
        kept = folder / f"measures-{self._measured_on()}.json"
        measures = self._kept(kept, Measures, lambda: self._measured(line, made, model))
        if trials:
            measures = self._tried(measures, model, _name(line))
        return Turn(
            way=line.way, seed=line.seed, turn=line.turn, bought=made.bought, measures=measures,
            seconds=made.seconds,
        )  # fmt: skip

    def pool(self, seed: int) -> list[PoolClip]:
        """The clips that a seed may buy, in the pool's order."""
        clips = list(self._pool.values())
        rng = np.random.default_rng([seed, 0])
        count = max(1, round(self._plan.pool_share * len(clips)))
        return [clips[row] for row in np.sort(rng.permutation(len(clips))[:count]).tolist()]

    def _made(self, line: Line) -> _Made:
        began = time.process_time()
        spent: dict[str, float] = {}

        def lap(name: str) -> None:
            spent[name] = round(time.process_time() - began - sum(spent.values()), 1)

        say: Say = lambda text: self._say(f"{_name(line)}: {text}")  # noqa: E731
        choice = self._choice(line, say)
        lap("choice")
        lesson = self._lesson(line, choice)
        folder = self._folder(line)
        along = self._replayed_old()
        learned = retrained(
            self._data, self._start(line), lesson, along, self._recipe, line.seed,
            folder / "run", say,
        )  # fmt: skip
        lap("training")
        exported(
            self._data, folder / "run", lesson, along, line.seed, line.turn + 1,
            folder / "model", say,
        )  # fmt: skip
        lap("export")
        return _Made(bought=_account(lesson.now, choice, learned), seconds=spent)

    def _measured(self, line: Line, made: _Made, model: Path) -> Measures:
        measures = measured(self._data, model)
        errors = sum(COUNTS["errors"](drive.counts) for drive in measures.drives)
        self._say(
            f"{_name(line)}: {len(made.bought.clips)} clips, {made.bought.target_clips} of the "
            f"target, {made.bought.cost_s / 3600:.1f} h; {errors:.0f} critical errors; AP "
            f"{measures.scores.old:.3f} old, {measures.scores.new:.3f} new"
        )
        return measures

    def _choice(self, line: Line, say: Say) -> Choice:
        path = self._folder(line) / "choice.json"
        kept = self._kept(path, _KeptChoice, lambda: self._chosen(line, say))
        return Choice(kept.streams)

    def _chosen(self, line: Line, say: Say) -> _KeptChoice:
        from models.runs import load_student

        pool = self.pool(line.seed)
        bought = frozenset(
            clip for each in line.earlier() for clip in self._choice(each, say).streams
        )
        if line.way == "random":
            spend = self.turn(Line("selector", line.seed, line.turn), False).bought.cost_s
            free = [clip.clip_id for clip in pool if clip.clip_id not in bought]
            drawn = by_lot(
                free, _number(line), spend, lambda clip: self._labels(clip, line.seed).cost_s
            )
            return _KeptChoice(streams=drawn.streams)
        student, run = load_student(self._start(line))
        asking = Asking(self._data, student, run.weights)
        scored = asking.scored(pool, lambda done, of: _sometimes(say, "asked", done, of))
        known = asking.unit_embeddings(frame for frame, _ in self._replayed_old())
        chosen = selected(pool, scored, bought, known, self._plan.budget_s, _number(line))
        return _KeptChoice(streams=chosen.streams)

    def _lesson(self, line: Line, choice: Choice) -> Lesson:
        earlier = [self._choice(each, self._say) for each in line.earlier()]
        return Lesson(
            self._labelled(choice, line.seed),
            tuple(clip for each in earlier for clip in self._labelled(each, line.seed)),
        )

    def _labelled(self, choice: Choice, seed: int) -> tuple[LabelledClip, ...]:
        return tuple(
            LabelledClip(self._pool[clip], self._labels(clip, seed)) for clip in choice.streams
        )

    def _labels(self, clip_id: str, seed: int) -> Labelling:
        clip = self._pool[clip_id]
        frames = self._data.frames(clip.drive)
        return labelled([frames.labels(row) for row in clip.rows], clip_id, seed)

    def _replayed_old(self) -> list[Labelled]:
        self._along = self._along or replayed_old(self._data, self._shipped, self._recipe)
        return self._along

    def _start(self, line: Line) -> Path:
        return STUDENT if line.before is None else self._folder(line.before) / "run"

    def _tried(self, measures: Measures, model: Path, name: str) -> Measures:
        report = run_trials(
            self._trials, model, workers=1, folder=self._data.folder / "trials",
            told=lambda done, of, drive: self._say(f"{name}: {done} of {of} trials, {drive}"),
        )  # fmt: skip
        return measures.model_copy(update={"trials": report})

    def _folder(self, line: Line) -> Path:
        return self._data.folder / "turns" / f"{_name(line)}-{self._key(line)}"

    def _key(self, line: Line) -> str:
        """Data and settings settle a turn, and with them all turns before it."""
        made_of = {name: each for name, each in self.digests.items() if name not in MEASURED_ON}
        told = f"{sorted(made_of.items())} {sorted(self.settings.items())} {_name(line)}"
        return sha256_hex(told.encode())[:_KEY_DIGITS]

    def _measured_on(self, *more: str) -> str:
        told = [self.digests[name] for name in (*MEASURED_ON, *more)]
        return sha256_hex(f"{told}".encode())[:_KEY_DIGITS]

    def _kept(self, path: Path, kind: type[Record], make: Callable[[], Record]) -> Record:
        """What was made before, or now; raises `CorruptError` for a damaged file."""
        if path.exists():
            try:
                return kind.model_validate_json(path.read_bytes())
            except ValidationError as error:
                raise CorruptError(f"this is no {kind.__name__}", str(path)) from error
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_text(made.model_dump_json(indent=1), "utf-8")
        partial.replace(path)
        return made


class _KeptChoice(Frozen):
    streams: dict[str, str]


class _Made(Frozen):
    """A turn before it is measured; CPU seconds by what they were spent on."""

    bought: Bought
    seconds: dict[str, Finite]


def _account(clips: tuple[LabelledClip, ...], choice: Choice, learned: int) -> Bought:
    features = [each.labelling.features for each in clips]
    return Bought(
        clips=tuple(each.clip.clip_id for each in clips),
        frames=sum(each.frames for each in features), boxes=sum(each.boxes for each in features),
        rare_boxes=sum(each.rare_boxes for each in features),
        cost_s=round(sum(each.labelling.cost_s for each in clips), 3),
        target_clips=sum(each.clip.target for each in clips),
        streams=dict(sorted(Counter(choice.streams.values()).items())), trained=learned,
    )  # fmt: skip


def _name(line: Line) -> str:
    return f"{line.way}-{line.seed}-{line.turn}"


def _number(line: Line) -> int:
    """A seed of this turn's own, another one for each way."""
    way = ("selector", "random").index(line.way)
    return int(np.random.SeedSequence([line.seed, line.turn, way]).generate_state(1)[0])


def _sometimes(say: Say, what: str, done: int, of: int) -> None:
    if done % 50 == 0 or done == of:
        say(f"{what} about {done} of {of} clips")
