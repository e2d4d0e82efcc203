"""The table of stages: what a turn of the loop does, in its order.

A stage's function is named, not imported, so that the table costs nothing to read and a stage's
key can follow its source. It takes a `Work` and gives a `Result`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

StageName: TypeAlias = Literal[
    "ingest", "acquire", "label", "review", "dataset", "train", "evaluate", "specs", "shadow",
    "rollout",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """One row. `needs` are earlier stages of the turn, `before` stages of the turn before, whose
    products it reads; `version` is raised when a product changes for a reason that the source
    does not show.
    """

    name: StageName
    told: str
    needs: tuple[StageName, ...] = ()
    before: tuple[StageName, ...] = ()
    version: int = 1

    @property
    def function(self) -> str:
        return f"offline.pipeline.stages.{self.name}:{self.name}"


TABLE: tuple[Stage, ...] = (
    Stage("ingest", "fetch the clips of the snapshot"),
    Stage(
        "acquire", "choose what is labelled, within the budget", ("ingest",), ("ingest", "acquire")
    ),
    Stage("label", "label the chosen clips by the teacher", ("acquire",)),
    Stage("review", "let people judge what is unsure", ("label",), ("review",)),
    Stage("dataset", "make an immutable dataset version", ("label", "review")),
    Stage(
        "train", "retrain the student, and export it", ("ingest", "dataset"), ("dataset", "train")
    ),
    Stage("evaluate", "ask the gates that need no vehicle", ("train",), ("train",)),
    Stage(
        "specs", "write trigger specs from what was learned",
        ("ingest", "acquire", "dataset", "train"), ("specs",),
    ),
    Stage(
        "shadow", "run the candidate beside the active model, and sign", ("train", "evaluate"),
        ("train",),
    ),
    Stage("rollout", "send model and specs out, in stages", ("train", "shadow", "specs")),
)  # fmt: skip
STAGES: dict[StageName, Stage] = {stage.name: stage for stage in TABLE}


def check_table(table: tuple[Stage, ...] = TABLE) -> None:
    """Every stage once, and none needs what comes later. Raises `ValueError`."""
    seen: list[StageName] = []
    for stage in table:
        if later := set(stage.needs) - set(seen):
            raise ValueError(f"{stage.name} needs {sorted(later)[0]}, which does not come before")
        seen.append(stage.name)
    if seen != list(get_args(StageName)):
        raise ValueError("the table has every stage once, in the order of `StageName`")
    if unknown := {name for stage in table for name in stage.before} - set(seen):
        raise ValueError(f"no stage {sorted(unknown)[0]}")


check_table()
